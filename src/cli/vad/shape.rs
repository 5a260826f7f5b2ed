//! A waveform of bounded size, whatever the length: the least and the largest sample of each
//! of some thousand stretches, which double as the recording goes on.

use v2m_dsp::vad::corpus::Source;
use v2m_error::Result;

/// Stretches that are kept at most.
const MOST: usize = 4096;

#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Samples of a stretch.
    each: usize,
    /// Of the last one.
    filled: usize,
    ranges: Vec<(f32, f32)>,
}

impl Shape {
    pub(super) fn new() -> Self {
        Self {
            each: 1,
            filled: 0,
            ranges: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, mut samples: &[f32]) {
        while !samples.is_empty() {
            if self.ranges.is_empty() || self.filled == self.each {
                if self.ranges.len() == MOST {
                    self.halve();
                }
                self.ranges.push((f32::INFINITY, f32::NEG_INFINITY));
                self.filled = 0;
            }
            let (now, later) = samples.split_at(samples.len().min(self.each - self.filled));
            if let Some((least, most)) = self.ranges.last_mut() {
                for &x in now {
                    (*least, *most) = (least.min(x), most.max(x));
                }
            }
            self.filled += now.len();
            samples = later;
        }
    }

    fn halve(&mut self) {
        let joined = |pair: &[(f32, f32)]| {
            let all = pair.iter().copied();
            all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        };
        self.ranges = self.ranges.chunks(2).filter_map(joined).collect();
        self.each *= 2;
    }

    /// The range in each of so many equal parts of all that was given.
    pub(super) fn columns(&self, count: usize) -> Vec<(f32, f32)> {
        let full = self.ranges.len().saturating_sub(1) as f64;
        let length = full + self.filled as f64 / self.each as f64;
        let at = |n: usize| (n as f64 / count as f64 * length) as usize;
        (0..count)
            .filter_map(|n| {
                let last = self.ranges.len().checked_sub(1)?;
                let from = at(n).min(last);
                let part = &self.ranges[from..at(n + 1).clamp(from + 1, last + 1)];
                part.iter()
                    .copied()
                    .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            })
            .collect()
    }
}

/// A source whose shape is kept as it is read.
pub(super) struct Seen<S> {
    pub(super) source: S,
    /// Where the shape goes at the end.
    pub(super) keep: Box<dyn Fn(Shape) + Send>,
    pub(super) shape: Shape,
}

impl<S: Source> Source for Seen<S> {
    fn named(&self, error: v2m_error::Error) -> v2m_error::Error {
        self.source.named(error)
    }

    fn rate(&self) -> u32 {
        self.source.rate()
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        let before = out.len();
        let goes_on = self.source.read(out)?;
        self.shape.push(&out[before..]);
        if !goes_on {
            (self.keep)(std::mem::replace(&mut self.shape, Shape::new()));
        }
        Ok(goes_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_stay_where_they_are_however_long_it_gets() {
        for length in [1, 7, 4096, 4097, 100_000, 3_000_000] {
            let mut shape = Shape::new();
            let peak = length * 3 / 4;
            let samples: Vec<f32> = (0..length)
                .map(|n| f32::from(u8::from(n == peak)))
                .collect();
            samples.chunks(999).for_each(|piece| shape.push(piece));
            assert!(shape.ranges.len() <= MOST);
            let columns = shape.columns(100);
            assert_eq!(columns.len(), 100);
            let found: Vec<_> = (0..100).filter(|&n| columns[n].1 == 1.0).collect();
            assert!(!found.is_empty(), "{length}");
            if length > 1000 {
                assert!(
                    found.iter().all(|n| (74..=76).contains(n)),
                    "{length}: {found:?}"
                );
            }
        }
    }
}
