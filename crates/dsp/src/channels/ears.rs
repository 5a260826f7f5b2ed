//! Speech, channel by channel, by the network that finds it in what is heard.

use super::choice::ALIVE;
use super::meter::ChannelMeter;
use super::{MAX_CHANNELS, Measure};
use crate::error::Result;
use crate::resample::Resampler;
use crate::vad::native::Native;
use crate::vad::{Model, SAMPLE_RATE, WINDOW};

/// Rumble and hum below some 60 Hz are taken off.
const HIGH_PASS: f32 = 0.977;
/// What is listened to is raised to this level, by so much at most: the network needs it.
const LEVEL: f32 = 0.05;
const MOST_GAIN: f32 = 100.0;
/// The level is followed with a time constant of 2 s.
const FOLLOW: f32 = 1.0 / 62.0;
/// Minutes of music make the network deaf. After so many windows (8 s) without speech it
/// begins anew.
const DEAF: u32 = 250;

struct Ear {
    resampler: Option<Resampler>,
    network: Native,
    /// At 16 kHz: less than a window between two calls.
    rest: Vec<f32>,
    /// The high-pass: its last input and output.
    before: (f32, f32),
    /// Mean square, followed.
    level: f32,
    without_speech: u32,
    probability: f32,
}

/// One ear for each channel.
pub(super) struct Ears {
    ears: Vec<Ear>,
    scratch: Vec<f32>,
}

impl Ears {
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a rate that can't be resampled.
    pub(super) fn new(channels: usize, rate: u32) -> Result<Self> {
        let resampler = match rate {
            SAMPLE_RATE => None,
            rate => Some(Resampler::new(rate, SAMPLE_RATE)?),
        };
        let ear = || Ear {
            resampler: resampler.clone(),
            network: Native::new(),
            rest: Vec::with_capacity(2 * WINDOW),
            before: (0.0, 0.0),
            level: 0.0,
            without_speech: 0,
            probability: 0.0,
        };
        Ok(Self {
            ears: (0..channels.min(MAX_CHANNELS)).map(|_| ear()).collect(),
            scratch: Vec::new(),
        })
    }

    /// Adds the probability of speech to each channel of the window that is full now.
    pub(super) fn listen(&mut self, meter: &ChannelMeter, window: &mut [Measure]) {
        for (channel, (ear, measure)) in self.ears.iter_mut().zip(window).enumerate() {
            if measure.power > ALIVE {
                ear.listen(meter.samples(channel), &mut self.scratch);
            } else {
                ear.probability = 0.0;
            }
            measure.speech = Some(ear.probability);
        }
    }
}

impl Ear {
    fn listen(&mut self, samples: &[f32], scratch: &mut Vec<f32>) {
        let at_16k = match &mut self.resampler {
            None => samples,
            Some(resampler) => {
                scratch.resize(resampler.max_output(samples.len()), 0.0);
                let made = resampler.process(samples, scratch);
                &scratch[..made]
            }
        };
        for &sample in at_16k {
            let sample = if sample.abs() < 1e6 { sample } else { 0.0 };
            let (input, output) = self.before;
            self.before = (sample, sample - input + HIGH_PASS * output);
            self.rest.push(self.before.1);
        }
        while let Some(window) = self.rest.first_chunk::<WINDOW>() {
            let square = window.iter().map(|s| s * s).sum::<f32>() / WINDOW as f32;
            self.level = match self.level {
                0.0 => square,
                level => (level + FOLLOW * (square - level)).max(square * FOLLOW),
            };
            let gain = (LEVEL / self.level.max(1e-12).sqrt()).clamp(1.0, MOST_GAIN);
            self.probability = self.network.step(&window.map(|sample| sample * gain));
            self.without_speech = match self.probability > 0.5 {
                true => 0,
                false => self.without_speech + 1,
            };
            if self.without_speech == DEAF {
                self.without_speech = 0;
                self.network.reset();
            }
            self.rest.drain(..WINDOW);
        }
    }
}
