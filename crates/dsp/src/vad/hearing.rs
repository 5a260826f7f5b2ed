//! What lets a network hear more than it does by itself: a copy of the audio without DC and
//! rumble, at a level that it knows, and a memory that fades.
//!
//! A window's probability depends on the audio since the last reset up to the window's end,
//! and on nothing else: not on when the audio came, or in what pieces.

use std::str::FromStr;

use super::{LARGEST_SAMPLE, Model, SAMPLE_RATE, WINDOW};
use crate::section::Section;
use crate::{Error, ErrorKind, Result};

/// Corner of the high-pass in Hz, just below the lowest voices: hum of 50 Hz comes out 16 dB
/// weaker, rumble of 20 Hz 48 dB.
const CORNER: f64 = 80.0;
/// Quality factors of the two sections of a Butterworth filter of fourth order.
const SECTIONS: [f64; 2] = [0.541_196_100_146_197, 1.306_562_964_876_377];

/// RMS of a window from which on nothing is amplified: -36 dBFS. The network begins to miss
/// voices whose loudest windows are below that.
const ENOUGH: f64 = 0.015_848_931_924_611_1;
/// 60 dB, which takes a voice with peaks of -80 dBFS to where -20 dBFS is.
const HIGHEST_GAIN: f64 = 1000.0;
/// What is left of the level after a window that is quieter: 6 dB less after a second.
const RELEASE: f64 = 0.978_137_5;

/// The LSTM's cells lose half of what they hold in 4.4 s of audio. Without that they count
/// the windows of sounds that go on, music above all, until nothing moves them any more.
pub const RETENTION: f32 = 0.995;

/// How a detector hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hearing {
    /// The audio through [`Conditioner`], and the network forgets.
    #[default]
    Enhanced,
    /// The audio as it is, which gives Silero's own probabilities.
    Plain,
}

impl Hearing {
    /// `model`, hearing like this.
    pub fn apply(self, model: Box<dyn Model>) -> Box<dyn Model> {
        match self {
            Self::Enhanced => Box::new(Enhanced::new(model)),
            Self::Plain => model,
        }
    }

    /// What is said of a model that hears like this.
    pub fn model_name(self, model: &str) -> String {
        match self {
            Self::Enhanced => format!("{model}, enhanced"),
            Self::Plain => model.into(),
        }
    }

    /// As it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enhanced => "enhanced",
            Self::Plain => "plain",
        }
    }
}

impl FromStr for Hearing {
    type Err = Error;

    /// Errors: [`ErrorKind::Invalid`], naming what there is.
    fn from_str(text: &str) -> Result<Self> {
        [Self::Enhanced, Self::Plain]
            .into_iter()
            .find(|hearing| hearing.name() == text)
            .ok_or_else(|| {
                let message = format!("{text:?} is no way of hearing: write enhanced or plain");
                Error::new(ErrorKind::Invalid, message)
            })
    }
}

/// A model that hears through a [`Conditioner`] and forgets.
pub struct Enhanced {
    model: Box<dyn Model>,
    conditioner: Conditioner,
    name: String,
}

impl Enhanced {
    /// Around a `model` that has heard nothing yet.
    pub fn new(mut model: Box<dyn Model>) -> Self {
        model.set_retention(RETENTION);
        let name = Hearing::Enhanced.model_name(model.name());
        Self {
            model,
            conditioner: Conditioner::new(SAMPLE_RATE),
            name,
        }
    }
}

impl Model for Enhanced {
    fn probability(&mut self, window: &[f32; WINDOW]) -> Result<f32> {
        let mut heard = *window;
        self.conditioner.condition(&mut heard);
        self.model.probability(&heard)
    }

    fn reset(&mut self) {
        self.conditioner.reset();
        self.model.reset();
    }

    fn set_retention(&mut self, retention: f32) {
        self.model.set_retention(retention);
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn unusable_samples(&self) -> u64 {
        self.conditioner.unusable
    }
}

/// Makes of each window what the network hears best: no DC, no rumble, and weak audio at the
/// level of ordinary audio.
///
/// The level is that of the loudest window, which counts for 6 dB less with every second that
/// has passed. A voice amplifies itself and a louder one takes the gain back at once, in its
/// first window; in the pauses of a voice that is loud enough nothing rises for seconds.
#[derive(Clone, Debug)]
pub struct Conditioner {
    rate: u32,
    highpass: [Section; 2],
    /// RMS; `None` before the first window.
    level: Option<f64>,
    unusable: u64,
}

impl Conditioner {
    /// Before the first window of audio of `rate` samples per second.
    pub fn new(rate: u32) -> Self {
        Self {
            rate,
            highpass: SECTIONS.map(|quality| Section::highpass(CORNER, quality, rate)),
            level: None,
            unusable: 0,
        }
    }

    /// The samples that follow those of the last call, 32 ms of them, as the network is to hear them. What is
    /// no usable number becomes silence.
    pub fn condition(&mut self, window: &mut [f32]) {
        let samples = window.len() as f64;
        for x in &mut *window {
            // Also false for NaN.
            let usable = x.abs() <= LARGEST_SAMPLE;
            self.unusable += u64::from(!usable);
            *x = if usable { *x } else { 0.0 };
        }
        if self.level.is_none() {
            // As if it had always been like this, so that DC doesn't begin with a bang.
            let sum: f64 = window.iter().map(|&x| f64::from(x)).sum();
            self.highpass[0].settle(sum / samples);
        }
        let mut energy = 0.0;
        for x in &mut *window {
            let [first, second] = &mut self.highpass;
            let y = second.filter(first.filter(f64::from(*x)));
            energy += y * y;
            *x = y as f32;
        }
        self.highpass.iter_mut().for_each(Section::flush);

        let rms = (energy / samples).sqrt();
        // Beyond full scale there is only what is no audio; it may not count for minutes.
        let level = (RELEASE * self.level.unwrap_or(0.0)).max(rms.min(1.0));
        self.level = Some(level);
        let gain = (ENOUGH / level).clamp(1.0, HIGHEST_GAIN) as f32;
        for x in window {
            *x *= gain;
        }
    }

    /// Samples so far that were no usable number and became silence.
    pub fn unusable_samples(&self) -> u64 {
        self.unusable
    }

    /// Forgets the audio, as after a gap.
    pub fn reset(&mut self) {
        *self = Self {
            unusable: self.unusable,
            ..Self::new(self.rate)
        };
    }
}
