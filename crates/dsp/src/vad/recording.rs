//! A recording through the model: samples in, at 16 or 8 kHz and in pieces of any
//! length, a probability for every 512 samples at 16 kHz out.

use super::hearing::{Conditioner, Hearing, RETENTION};
use super::native::Native;
use super::{Model, SAMPLE_RATE, WINDOW};
use crate::error::{Error, ErrorKind, Result};
use crate::resample::Resampler;

/// The rate that is resampled.
pub const HALF_RATE: u32 = SAMPLE_RATE / 2;

/// One recording on its way through the model. Doesn't need ONNX Runtime.
pub struct Recording {
    model: Native,
    /// For [`Hearing::Enhanced`].
    conditioner: Option<Conditioner>,
    /// For [`HALF_RATE`].
    resampler: Option<Resampler>,
    /// At 16 kHz: less than a window, between two calls.
    rest: Vec<f32>,
    /// Samples at 16 kHz that are owed for those given, and that were made of them.
    due: u64,
    made: u64,
    scratch: Vec<f32>,
}

impl Recording {
    /// A recording of `rate` samples per second, heard as Silero does.
    ///
    /// Errors: [`ErrorKind::Invalid`] for any but 16000 and 8000.
    pub fn new(rate: u32) -> Result<Self> {
        Self::with_hearing(rate, Hearing::Plain)
    }

    /// A recording of `rate` samples per second.
    ///
    /// Errors: [`ErrorKind::Invalid`] for any but 16000 and 8000.
    pub fn with_hearing(rate: u32, hearing: Hearing) -> Result<Self> {
        let resampler = match rate {
            SAMPLE_RATE => None,
            HALF_RATE => Some(Resampler::new(rate, SAMPLE_RATE)?),
            other => {
                let message = format!(
                    "a sample rate of {other} Hz: speech is found at {SAMPLE_RATE} Hz, or at {HALF_RATE} Hz, which is resampled; convert the audio to one of them"
                );
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        };
        let mut model = Native::new();
        let conditioner = match hearing {
            Hearing::Plain => None,
            Hearing::Enhanced => {
                model.set_retention(RETENTION);
                Some(Conditioner::new())
            }
        };
        Ok(Self {
            model,
            conditioner,
            resampler,
            rest: Vec::new(),
            due: 0,
            made: 0,
            scratch: Vec::new(),
        })
    }

    /// Samples per second of what is given.
    pub fn rate(&self) -> u32 {
        match self.resampler {
            None => SAMPLE_RATE,
            Some(_) => HALF_RATE,
        }
    }

    /// Takes what follows; appends the probabilities of the windows that are full by it.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.due += samples.len() as u64 * u64::from(SAMPLE_RATE / self.rate());
        self.convert(samples);
        self.judge(out);
    }

    /// The recording ends: its last window is filled up with silence, if there is a part
    /// of one. As new from then on.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        // What the resampler still holds back.
        let zeros = [0.0; WINDOW];
        while self.made < self.due {
            self.convert(&zeros);
        }
        self.rest
            .truncate(self.rest.len() - (self.made - self.due) as usize);
        if !self.rest.is_empty() {
            let full = self.rest.len().next_multiple_of(WINDOW);
            self.rest.resize(full, 0.0);
        }
        self.judge(out);
        self.reset();
    }

    /// Forgets what was given.
    pub fn reset(&mut self) {
        self.model.reset();
        if let Some(conditioner) = &mut self.conditioner {
            conditioner.reset();
        }
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
        self.rest.clear();
        (self.due, self.made) = (0, 0);
    }

    fn convert(&mut self, samples: &[f32]) {
        let before = self.rest.len();
        match &mut self.resampler {
            None => self.rest.extend_from_slice(samples),
            Some(resampler) => {
                self.scratch
                    .resize(resampler.max_output(samples.len()), 0.0);
                let made = resampler.process(samples, &mut self.scratch);
                self.rest.extend_from_slice(&self.scratch[..made]);
            }
        }
        self.made += (self.rest.len() - before) as u64;
    }

    fn judge(&mut self, out: &mut Vec<f32>) {
        let (windows, _) = self.rest.as_chunks_mut::<WINDOW>();
        if let Some(conditioner) = &mut self.conditioner {
            windows.iter_mut().for_each(|w| conditioner.condition(w));
        }
        let first = out.len();
        out.resize(first + windows.len(), 0.0);
        self.model.probabilities(windows, &mut out[first..]);
        let judged = windows.len() * WINDOW;
        self.rest.drain(..judged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Speech-like enough to move the model: a buzz whose loudness comes and goes.
    fn buzz(samples: usize, rate: f32) -> Vec<f32> {
        let at = |n: usize| n as f32 / rate;
        let tone = |t: f32, hz: f32| (t * hz * std::f32::consts::TAU).sin();
        (0..samples)
            .map(at)
            .map(|t| 0.2 * (tone(t, 140.0) + tone(t, 700.0)) * tone(t, 2.0).max(0.0))
            .collect()
    }

    fn whole(rate: u32, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        let mut recording = Recording::new(rate).expect("a rate it knows");
        recording.push(samples, &mut out);
        recording.finish(&mut out);
        out
    }

    #[test]
    fn pieces_make_the_same_recording() {
        for rate in [SAMPLE_RATE, HALF_RATE] {
            let samples = buzz(20_000, rate as f32);
            let expected = whole(rate, &samples);
            let windows = samples.len() * (SAMPLE_RATE / rate) as usize;
            assert_eq!(expected.len(), windows.div_ceil(WINDOW));
            let mut recording = Recording::new(rate).expect("a rate it knows");
            // Twice: as new after the end.
            for _ in 0..2 {
                let mut out = Vec::new();
                for piece in samples.chunks(333) {
                    recording.push(piece, &mut out);
                }
                recording.finish(&mut out);
                assert_eq!(out.len(), expected.len());
                for (a, b) in out.iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-5, "{a} and {b} at {rate} Hz");
                }
            }
        }
    }

    #[test]
    fn every_sample_counts() {
        for (samples, windows) in [(0, 0), (1, 1), (512, 1), (513, 2)] {
            assert_eq!(whole(SAMPLE_RATE, &vec![0.1; samples]).len(), windows);
        }
        for (samples, windows) in [(0, 0), (1, 1), (256, 1), (257, 2)] {
            assert_eq!(whole(HALF_RATE, &vec![0.1; samples]).len(), windows);
        }
    }

    #[test]
    fn other_rates_are_refused() {
        for rate in [0, 11_025, 44_100, u32::MAX] {
            let error = Recording::new(rate).err().expect("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("16000 Hz, or at 8000 Hz"));
        }
    }
}
