//! The waveform as the monitor keeps it: how far each 8 ms of audio went up and
//! down, and how loud they were. Everything on the screen is put together from these.

use std::collections::VecDeque;

/// Samples that one bin sums up: 8 ms.
pub(crate) const BIN: u64 = 128;
/// Bins kept: 5 min.
const KEPT: usize = 37_500;
/// The same in samples.
pub(crate) const KEPT_SAMPLES: u64 = KEPT as u64 * BIN;

/// A stretch of samples in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bin {
    pub(crate) low: f32,
    pub(crate) high: f32,
    squares: f32,
    samples: u32,
}

impl Bin {
    const EMPTY: Self = Self {
        low: f32::INFINITY,
        high: f32::NEG_INFINITY,
        squares: 0.0,
        samples: 0,
    };

    fn add(&mut self, sample: f32) {
        // What no microphone can send would make everything beside it invisible.
        let sample = if sample.is_finite() { sample } else { 0.0 };
        self.low = self.low.min(sample);
        self.high = self.high.max(sample);
        self.squares += sample * sample;
        self.samples += 1;
    }

    fn merge(self, other: &Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            squares: self.squares + other.squares,
            samples: self.samples + other.samples,
        }
    }

    pub(crate) fn peak(&self) -> f32 {
        self.high.abs().max(self.low.abs())
    }

    pub(crate) fn rms(&self) -> f32 {
        (self.squares / self.samples.max(1) as f32).sqrt()
    }
}

/// Bins of consecutive audio, the newest [`KEPT`] of them.
#[derive(Debug)]
pub(crate) struct Wave {
    bins: VecDeque<Bin>,
    /// Number of the first bin kept; bin n is the samples from n · [`BIN`] on.
    first: u64,
    /// Position after the newest sample.
    end: u64,
}

impl Wave {
    /// Nothing yet; the next sample is the one at `position`.
    pub(crate) fn new(position: u64) -> Self {
        Self {
            bins: VecDeque::new(),
            first: position / BIN,
            end: position,
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The oldest position that can be shown.
    pub(crate) fn start(&self) -> u64 {
        self.first * BIN
    }

    pub(crate) fn push(&mut self, samples: &[f32]) {
        for &sample in samples {
            let at = (self.end / BIN - self.first) as usize;
            if at == self.bins.len() {
                self.bins.push_back(Bin::EMPTY);
            }
            self.bins[at].add(sample);
            self.end += 1;
            if self.bins.len() > KEPT {
                self.bins.pop_front();
                self.first += 1;
            }
        }
    }

    /// The samples of `[from, to)` in short, as far as they are kept; None if none is.
    pub(crate) fn between(&self, from: u64, to: u64) -> Option<Bin> {
        let index = |position: u64| (position.div_ceil(BIN)).saturating_sub(self.first) as usize;
        let (from, to) = (index(from), index(to).min(self.bins.len()));
        let bins = self.bins.range(from.min(to)..to);
        bins.copied().reduce(|sum, bin| sum.merge(&bin))
    }

    /// The newest `samples` in short.
    pub(crate) fn newest(&self, samples: u64) -> Option<Bin> {
        self.between(self.end.saturating_sub(samples), self.end)
    }
}

/// A level in dBFS: 0 for full scale (a sample of 1, or a square wave of it).
pub(crate) fn dbfs(level: f32) -> f32 {
    20.0 * level.log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_aligned_whatever_the_pieces() {
        let samples: Vec<f32> = (0..1000).map(|n| n as f32).collect();
        let mut whole = Wave::new(40);
        whole.push(&samples);
        let mut pieces = Wave::new(40);
        for piece in samples.chunks(37) {
            pieces.push(piece);
        }
        assert_eq!(whole.bins, pieces.bins);
        assert_eq!((whole.start(), whole.end()), (0, 1040));
        let bin = whole.between(128, 384).unwrap();
        assert_eq!((bin.low, bin.high), (88.0, 343.0));
        assert_eq!(whole.between(1152, 2000), None);
        assert_eq!(whole.between(0, 2000).unwrap().samples, 1000);
    }

    #[test]
    fn what_is_too_old_is_forgotten() {
        let mut wave = Wave::new(0);
        let samples = vec![0.5; BIN as usize * 1000];
        for _ in 0..40 {
            wave.push(&samples);
        }
        assert_eq!(wave.bins.len(), KEPT);
        assert_eq!(wave.start(), (40_000 - KEPT as u64) * BIN);
        assert_eq!(wave.between(0, wave.start()), None);
        assert!(wave.between(0, wave.start() + BIN).is_some());
    }

    #[test]
    fn levels_are_in_decibels_of_full_scale() {
        let mut wave = Wave::new(0);
        wave.push(&[0.5, -0.5].repeat(640));
        let newest = wave.newest(1280).unwrap();
        assert!((dbfs(newest.rms()) + 6.02).abs() < 0.01);
        assert!((dbfs(newest.peak()) + 6.02).abs() < 0.01);
        wave.push(&[f32::NAN, f32::INFINITY, -0.25]);
        assert_eq!(wave.newest(3).map(|bin| bin.peak()), Some(0.25));
        assert_eq!(dbfs(0.0), f32::NEG_INFINITY);
    }
}
