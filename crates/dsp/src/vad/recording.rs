//! A recording through the model: samples in, in pieces of any length, a probability for
//! every 32 ms out. [`Windows`] is what comes before the network, which may be shared with
//! other recordings; [`Recording`] is one alone.

use super::hearing::{Conditioner, Hearing, RETENTION};
use super::native::{Memory, Network, Part, Recordings};
use super::{SAMPLE_RATE, WINDOW};
use crate::error::{Error, ErrorKind, Result};
use crate::resample::Resampler;

/// The rate that has a network of its own.
pub const HALF_RATE: u32 = SAMPLE_RATE / 2;

/// Beyond this, 20 dB above full scale, float samples are of another scale, not loud.
pub const LARGEST_PEAK: f32 = 10.0;

/// Whether `samples`, of which the first is number `first`, are audio of full scale 1.0.
///
/// Errors: [`ErrorKind::Invalid`], naming the sample that isn't, and what to do.
pub fn check(samples: &[f32], first: u64) -> Result<()> {
    // Also false for NaN; without a branch per sample, which most audio never takes.
    let peak = |peak: bool, x: &f32| peak & (x.abs() <= LARGEST_PEAK);
    if samples.iter().fold(true, peak) {
        return Ok(());
    }
    let bad = |x: &f32| x.is_nan() || x.abs() > LARGEST_PEAK;
    let at = samples.iter().position(bad).unwrap_or(0);
    let (sample, at) = (samples[at], first + at as u64);
    let message = if sample.is_finite() {
        format!(
            "audio far beyond full scale: sample {at} is {sample}, and full scale is 1.0; \
             divide audio of 16 bit scale by 32768, or give it as int16"
        )
    } else {
        format!(
            "audio that is no audio: sample {at} is {sample}; \
             mend what computed it, or replace it by 0"
        )
    };
    Err(Error::new(ErrorKind::Invalid, message))
}

/// The windows of one recording, as the network is to hear them.
pub struct Windows {
    network: Network,
    /// For [`Hearing::Enhanced`].
    conditioner: Option<Conditioner>,
    /// For rates that have no network.
    resampler: Option<Resampler>,
    rate: u32,
    /// At the network's rate; whole windows first, which are conditioned up to `ready`.
    waiting: Vec<f32>,
    ready: usize,
    /// Samples given, and made of them.
    given: u64,
    made: u64,
    scratch: Vec<f32>,
}

impl Windows {
    /// Of a recording of `rate` samples per second. 16000 and 8000 are heard by the network
    /// for that rate, others, 8000 to 384000, are resampled to 16000.
    ///
    /// Errors: [`ErrorKind::Invalid`] for other rates.
    pub fn new(rate: u32, hearing: Hearing) -> Result<Self> {
        let network = match rate {
            HALF_RATE => Network::embedded_8k(),
            _ => Network::embedded(),
        };
        let resampler = match rate {
            SAMPLE_RATE | HALF_RATE => None,
            other => Some(Resampler::new(other, SAMPLE_RATE)?),
        };
        Ok(Self {
            conditioner: (hearing == Hearing::Enhanced).then(|| Conditioner::new(network.rate())),
            network,
            resampler,
            rate,
            waiting: Vec::new(),
            ready: 0,
            given: 0,
            made: 0,
            scratch: Vec::new(),
        })
    }

    /// Samples per second of what is given.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// What hears them.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What the network remembers of a recording that begins and is heard like this one.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::new();
        if self.conditioner.is_some() {
            memory.set_retention(RETENTION);
        }
        memory
    }

    /// Samples given so far, converted to 16 kHz: where the recording ends.
    pub fn end(&self) -> u64 {
        at_model_rate(self.given, self.rate)
    }

    /// Takes what follows.
    pub fn push(&mut self, samples: &[f32]) {
        self.given += samples.len() as u64;
        self.convert(samples);
        self.condition();
    }

    /// The recording ends: its last window is filled up with silence, if there is a part
    /// of one.
    pub fn finish(&mut self) {
        // What the resampler still holds back.
        let due = match self.resampler {
            None => self.given,
            Some(_) => self.end(),
        };
        let zeros = [0.0; WINDOW];
        while self.made < due {
            self.convert(&zeros);
        }
        let beyond = (self.made - due) as usize;
        self.waiting
            .truncate(self.waiting.len().saturating_sub(beyond));
        let full = self.waiting.len().next_multiple_of(self.network.window());
        self.waiting.resize(full, 0.0);
        self.condition();
    }

    /// Whole windows that wait to be judged.
    pub fn ready(&self) -> &[f32] {
        &self.waiting[..self.ready]
    }

    /// Those were judged.
    pub fn judged(&mut self) {
        self.waiting.drain(..self.ready);
        self.ready = 0;
    }

    /// As new.
    pub fn reset(&mut self) {
        if let Some(conditioner) = &mut self.conditioner {
            conditioner.reset();
        }
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
        self.waiting.clear();
        self.ready = 0;
        (self.given, self.made) = (0, 0);
    }

    fn convert(&mut self, samples: &[f32]) {
        let made = match &mut self.resampler {
            None => {
                self.waiting.extend_from_slice(samples);
                samples.len()
            }
            Some(resampler) => {
                self.scratch
                    .resize(resampler.max_output(samples.len()), 0.0);
                let made = resampler.process(samples, &mut self.scratch);
                self.waiting.extend_from_slice(&self.scratch[..made]);
                made
            }
        };
        self.made += made as u64;
    }

    fn condition(&mut self) {
        let window = self.network.window();
        let whole = self.waiting.len() / window * window;
        if let Some(conditioner) = &mut self.conditioner {
            let fresh = &mut self.waiting[self.ready..whole];
            let windows = fresh.chunks_exact_mut(window);
            windows.for_each(|window| conditioner.condition(window));
        }
        self.ready = whole;
    }
}

/// So many samples at `rate`, in samples at 16 kHz.
pub fn at_model_rate(samples: u64, rate: u32) -> u64 {
    let all = u128::from(samples) * u128::from(SAMPLE_RATE);
    all.div_ceil(u128::from(rate.max(1))) as u64
}

/// One recording on its way through the model. Doesn't need ONNX Runtime.
pub struct Recording {
    windows: Windows,
    memory: Memory,
    network: Recordings,
}

impl Recording {
    /// A recording of `rate` samples per second, heard as Silero does.
    ///
    /// Errors: those of [`Windows::new`].
    pub fn new(rate: u32) -> Result<Self> {
        Self::with_hearing(rate, Hearing::Plain)
    }

    /// A recording of `rate` samples per second.
    ///
    /// Errors: those of [`Windows::new`].
    pub fn with_hearing(rate: u32, hearing: Hearing) -> Result<Self> {
        let windows = Windows::new(rate, hearing)?;
        Ok(Self {
            memory: windows.memory(),
            network: Recordings::new(windows.network().clone()),
            windows,
        })
    }

    /// Samples per second of what is given.
    pub fn rate(&self) -> u32 {
        self.windows.rate()
    }

    /// Takes what follows; appends the probabilities of the windows that are full by it.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.windows.push(samples);
        self.judge(out);
    }

    /// The recording ends: its last window is filled up with silence, if there is a part
    /// of one. As new from then on.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        self.windows.finish();
        self.judge(out);
        self.reset();
    }

    /// Forgets what was given.
    pub fn reset(&mut self) {
        self.windows.reset();
        self.memory.reset();
    }

    fn judge(&mut self, out: &mut Vec<f32>) {
        let samples = self.windows.ready();
        let memory = &mut self.memory;
        self.network.advance(&mut [Part {
            memory,
            samples,
            out,
        }]);
        self.windows.judged();
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

    fn whole(rate: u32, hearing: Hearing, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        let mut recording = Recording::with_hearing(rate, hearing).expect("a rate it knows");
        recording.push(samples, &mut out);
        recording.finish(&mut out);
        out
    }

    #[test]
    fn pieces_make_the_same_recording() {
        for rate in [SAMPLE_RATE, HALF_RATE, 44_100, 11_025] {
            for hearing in [Hearing::Plain, Hearing::Enhanced] {
                let samples = buzz(20_000, rate as f32);
                let expected = whole(rate, hearing, &samples);
                let windows = at_model_rate(samples.len() as u64, rate);
                assert_eq!(expected.len() as u64, windows.div_ceil(WINDOW as u64));
                let mut recording = Recording::with_hearing(rate, hearing).expect("it knows it");
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
    }

    #[test]
    fn every_sample_counts() {
        let count = |rate, samples| whole(rate, Hearing::Plain, &vec![0.1; samples]).len();
        for (samples, windows) in [(0, 0), (1, 1), (512, 1), (513, 2)] {
            assert_eq!(count(SAMPLE_RATE, samples), windows);
        }
        for (samples, windows) in [(0, 0), (1, 1), (256, 1), (257, 2)] {
            assert_eq!(count(HALF_RATE, samples), windows);
        }
        for (samples, windows) in [(0, 0), (1, 1), (1536, 1), (1537, 2)] {
            assert_eq!(count(48_000, samples), windows);
        }
    }

    #[test]
    fn other_rates_are_refused() {
        for rate in [0, 7999, 384_001, u32::MAX] {
            let error = Recording::new(rate).err().expect("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn what_is_no_audio_is_named() {
        assert!(check(&[0.0, -1.5, LARGEST_PEAK], 7).is_ok());
        for (bad, what) in [
            (f32::NAN, "sample 9 is NaN"),
            (f32::NEG_INFINITY, "sample 9 is -inf"),
            (9000.0, "sample 9 is 9000, and full scale is 1.0"),
            (-10.1, "sample 9 is -10.1"),
        ] {
            let error = check(&[0.0, 1.0, bad, bad], 7).expect_err("it isn't audio");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
