//! Gain and a high-pass for a source whose user asks for them. Real-time safe; whoever asks for
//! neither has no preamplifier, and samples as they came.

use std::str::FromStr;

use crate::section::Section;
use crate::{Error, ErrorKind, Result};

/// The quality of a Butterworth filter of second order: 3 dB down at the corner, 12 dB an octave.
const BUTTERWORTH: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// The most that [`Gain`] and [`Settings::highpass`] may be.
const MOST_DB: f64 = 60.0;
pub const HIGHEST_HZ: u32 = 1000;

/// How much louder; in hundredths of a decibel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gain(i16);

impl Gain {
    /// `db` decibels, rounded to a hundredth.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: not within 60 dB.
    pub fn new(db: f64) -> Result<Self> {
        // Also false for NaN.
        if db.abs() <= MOST_DB {
            return Ok(Self((db * 100.0).round() as i16));
        }
        let message = format!("not between -{MOST_DB} and {MOST_DB} dB");
        Err(Error::new(ErrorKind::Invalid, message))
    }

    /// Decibels.
    pub fn db(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// What samples are multiplied by.
    pub fn factor(self) -> f32 {
        10f64.powf(self.db() / 20.0) as f32
    }
}

impl FromStr for Gain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let db = text.parse().map_err(|_| {
            let message = format!("{text:?} is no number of decibels: write 6, or -2.5");
            Error::new(ErrorKind::Invalid, message)
        })?;
        Self::new(db)
    }
}

/// What was asked for; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    pub gain: Gain,
    /// Hz below which a high-pass attenuates; 0: none does.
    pub highpass: u32,
}

/// A preamplifier at work.
#[derive(Clone, Debug)]
pub struct Preamp {
    settings: Settings,
    factor: f32,
    highpass: Option<Section>,
    /// Audio begins: to the high-pass it is as if its first sample had been there for ever,
    /// so that DC doesn't begin with a thump.
    begins: bool,
}

impl Preamp {
    /// `None` where nothing is to be done.
    pub fn new(settings: Settings) -> Option<Self> {
        (settings != Settings::default()).then(|| Self {
            settings,
            factor: settings.gain.factor(),
            highpass: None,
            begins: true,
        })
    }

    /// Audio of `rate` samples per second begins, or goes on behind a loss.
    pub fn begin(&mut self, rate: u32) {
        let corner = f64::from(self.settings.highpass);
        let wanted = self.settings.highpass > 0;
        self.highpass = wanted.then(|| Section::highpass(corner, BUTTERWORTH, rate));
        self.begins = true;
    }

    /// Writes what becomes of `samples` into `out`, which is as long.
    ///
    /// # Panics
    /// If it is longer.
    pub fn process<'a>(&mut self, samples: &[f32], out: &'a mut [f32]) -> &'a [f32] {
        let factor = self.factor;
        let Some(highpass) = &mut self.highpass else {
            for (out, sample) in out.iter_mut().zip(samples) {
                *out = factor * sample;
            }
            return out;
        };
        // What is no number would stay in the filter for ever.
        let usable = |sample: f32| f64::from(if sample.is_finite() { sample } else { 0.0 });
        if let Some(&first) = samples.first()
            && std::mem::take(&mut self.begins)
        {
            highpass.settle(usable(first));
        }
        for (n, out) in out.iter_mut().enumerate() {
            *out = factor * highpass.filter(usable(samples[n])) as f32;
        }
        highpass.flush();
        out
    }
}
