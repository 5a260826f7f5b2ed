//! A window's figures, and those of the last seconds.

use std::collections::VecDeque;

use super::{Moment, WINDOW};
use crate::percentile;

/// Windows that are remembered: ten seconds.
pub(super) const MEMORY: usize = 312;

/// A converter's noise is more than this, peak to peak: eight steps of 24 bits. What the
/// resampler makes of a constant by rounding is less.
const CONSTANT: f32 = 1.0 / (1 << 20) as f32;
/// Samples in a row near full scale that no peak of speech has by itself.
const FLAT_RUN: usize = 3;
/// Near full scale: the resampler leaves a ripple of this on a flat top.
const FULL_SCALE: f32 = 0.985;
/// Below everything that is measured.
pub(super) const NOTHING_DB: f32 = -200.0;

/// What a window of samples comes to. Levels in dBFS: 0 is a square wave of full scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// Of the first sample.
    pub(super) moment: Moment,
    /// The mean: DC.
    pub(super) mean: f32,
    /// Smallest sample.
    pub(super) low: f32,
    /// Largest sample.
    pub(super) high: f32,
    /// The level without DC.
    pub(super) level_db: f32,
    /// The level above some 200 Hz: without rumble, which fluctuates even where nothing
    /// happens.
    pub(super) high_db: f32,
    /// It holds speech, as the detector says.
    pub(super) speech: bool,
    /// Runs of samples at full scale.
    pub(super) flat_runs: u32,
}

impl Figures {
    pub(super) fn of(
        samples: &[f32; WINDOW],
        speech: bool,
        moment: Moment,
        high_pass: &mut HighPass,
    ) -> Self {
        // By the distance to one sample: nothing small is lost beside a large DC.
        let first = samples[0];
        let (mut sum, mut squares, mut highs) = (0.0, 0.0, 0.0);
        let (mut low, mut high) = (first, first);
        for &sample in samples {
            let distance = sample - first;
            sum += distance;
            squares += distance * distance;
            highs += high_pass.next(sample).powi(2);
            low = low.min(sample);
            high = high.max(sample);
        }
        let count = WINDOW as f32;
        let mean = sum / count;
        let mut figures = Self {
            moment,
            mean: first + mean,
            low,
            high,
            level_db: decibels(squares / count - mean * mean),
            high_db: decibels(highs / count),
            speech,
            flat_runs: 0,
        };
        if !figures.is_constant() && figures.peak() >= FULL_SCALE {
            figures.flat_runs = flat_runs(samples);
        }
        figures
    }

    /// The largest absolute value.
    pub(super) fn peak(&self) -> f32 {
        self.high.max(-self.low)
    }

    /// Nothing but one value.
    pub(super) fn is_constant(&self) -> bool {
        self.high - self.low <= CONSTANT
    }
}

/// Of first order, -3 dB at 200 Hz.
#[derive(Debug, Default)]
pub(super) struct HighPass {
    /// The newest sample and what became of it.
    newest: Option<(f32, f32)>,
}

impl HighPass {
    fn next(&mut self, sample: f32) -> f32 {
        // The first one is taken for what was there all the time: no step.
        let (before, passed) = self.newest.unwrap_or((sample, 0.0));
        let passes = 0.92 * passed + (sample - before);
        self.newest = Some((sample, passes));
        passes
    }
}

fn flat_runs(samples: &[f32]) -> u32 {
    let runs = samples.chunk_by(|a, b| {
        a.abs() >= FULL_SCALE && a.signum() == b.signum() && b.abs() >= FULL_SCALE
    });
    runs.filter(|run| run.len() >= FLAT_RUN).count() as u32
}

/// Of a mean square.
fn decibels(power: f32) -> f32 {
    if power > 0.0 {
        (10.0 * power.log10()).max(NOTHING_DB)
    } else {
        NOTHING_DB
    }
}

/// The figures of the last windows, oldest first.
#[derive(Debug)]
pub(super) struct FigureHistory(VecDeque<Figures>);

impl FigureHistory {
    pub(super) fn new() -> Self {
        Self(VecDeque::with_capacity(MEMORY))
    }

    pub(super) fn push(&mut self, figures: Figures) {
        if self.0.len() == MEMORY {
            self.0.pop_front();
        }
        self.0.push_back(figures);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The last `count` windows, if there were as many.
    pub(super) fn last(
        &self,
        count: usize,
    ) -> Option<impl DoubleEndedIterator<Item = &Figures> + Clone> {
        let first = self.0.len().checked_sub(count)?;
        Some(self.0.range(first..))
    }

    /// All of them.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Figures> + Clone {
        self.0.iter()
    }
}

/// The value that `share` of all of them are at or below; [`NOTHING_DB`] of none.
pub(super) fn percentile_of(values: impl Iterator<Item = f32>, share: f32) -> f32 {
    let mut values: Vec<f32> = values.collect();
    if values.is_empty() {
        return NOTHING_DB;
    }
    let rank = percentile::rank(f64::from(share), values.len() as u64) as usize;
    *values.select_nth_unstable_by(rank - 1, f32::total_cmp).1
}
