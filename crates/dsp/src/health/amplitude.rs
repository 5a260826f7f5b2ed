//! How often the source's samples have which size: where a signal is cut off, they pile up.
//!
//! The summit of a wave is a parabola. So it spends more time between its height and a
//! little below than in the next stretch of the same width, but at most by the square
//! root's measure: 1 to 0.41 if all summits are equally high, as a tone's are. Where peaks
//! are cut off they lie in one place however high they were. That shows at any level and
//! after a resampler, which rounds the corners off and leaves a ripple.

/// Bins per doubling: 4 to 6 % wide. Wider than a step of µ-law, so that its steps are no piles.
const PER_OCTAVE: usize = 16;
const SHIFT: u32 = 23 - PER_OCTAVE.ilog2();
/// The lowest bin begins at -42 dBFS, where a step of 16 bits is less than a tenth of a bin.
const LOWEST: i32 = -7;
/// A number's exponent and the upper bits of its mantissa, of the lowest bin: bins are that
/// of any number, less this.
const FIRST: u32 = ((127 + LOWEST) as u32) << PER_OCTAVE.ilog2();
/// The highest one ends at +6 dBFS.
const BINS: usize = PER_OCTAVE * 8;
/// What was counted fades to 1/e in 125 windows: four seconds.
const FADING: f32 = 1.0 - 1.0 / 125.0;

/// A pile lies at most 15 dB below the highest samples: where sibilants were cut off, what
/// a resampler leaves of them rings far above it.
const REACH: usize = 40;
/// A share of samples so small is no part of the signal: a click.
const STRAY: f32 = 1e-4;
/// Fewer samples than these (2.5 ms) are no pile.
const ENOUGH: f32 = 40.0;
/// And less than this share of all samples is not worth a word.
const SHARE: f32 = 1e-3;
/// Bins below a pile that are looked at, and how many of them must not be empty: a signal
/// that passes through all values, not a tone of a few.
const BELOW: usize = 12;
const FILLED: usize = 8;
/// In the denominator, so that a few samples more or less decide nothing.
const PRIOR: f32 = 4.0;

/// A place where samples pile up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pile {
    /// How many times more samples lie there than just below it, for the same width.
    pub(super) steepness: f32,
    /// Where: of full scale.
    pub(super) level: f32,
}

/// Counts of the last seconds, positive samples and negative ones.
#[derive(Debug)]
pub(super) struct Amplitudes {
    counts: Box<[[f32; BINS]; 2]>,
    all: f32,
}

impl Amplitudes {
    pub(super) fn new() -> Self {
        Self {
            counts: Box::new([[0.0; BINS]; 2]),
            all: 0.0,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Counts samples by their distance to `center`.
    pub(super) fn add(&mut self, samples: &[f32], center: f32) {
        for count in self.counts.as_flattened_mut() {
            *count *= FADING;
        }
        self.all = self.all * FADING + samples.len() as f32;
        for sample in samples {
            let bits = (sample - center).to_bits();
            let bin = ((bits & 0x7fff_ffff) >> SHIFT).wrapping_sub(FIRST) as usize;
            if let Some(count) = self.counts[(bits >> 31) as usize].get_mut(bin) {
                *count += 1.0;
            }
        }
    }

    /// The steepest pile at the upper end of the positive or the negative samples.
    pub(super) fn pile(&self) -> Option<Pile> {
        let [positive, negative] = &*self.counts;
        let piles = [positive, negative]
            .into_iter()
            .filter_map(|counts| pile(counts, self.all));
        piles.max_by(|one, other| one.steepness.total_cmp(&other.steepness))
    }
}

fn pile(counts: &[f32; BINS], all: f32) -> Option<Pile> {
    let stray = PRIOR.max(STRAY * all);
    let mut above = 0.0;
    let top = (0..BINS).rev().find(|&bin| {
        above += counts[bin];
        above > stray
    })?;
    let mut steepest: Option<Pile> = None;
    for bin in (top.saturating_sub(REACH).max(3)..=top).rev() {
        // A pile may lie on the border of two bins; the bin below it is left out, where
        // the rounded corners are.
        let here = counts[bin] + counts.get(bin + 1).unwrap_or(&0.0);
        let just_below = counts[bin - 2] + counts[bin - 3] + PRIOR;
        let widths = (width(bin - 2) + width(bin - 3)) / (width(bin) + width(bin + 1));
        let steepness = here / just_below * widths;
        let below = &counts[bin.saturating_sub(BELOW)..bin];
        let filled = below.iter().filter(|&&count| count >= 1.0).count();
        if here > ENOUGH.max(SHARE * all)
            && filled >= FILLED
            && steepest.is_none_or(|pile| pile.steepness < steepness)
        {
            let level = f32::from_bits((FIRST + bin as u32 + 1) << SHIFT);
            steepest = Some(Pile { steepness, level });
        }
    }
    steepest
}

/// Of a bin, in widths of the lowest: they double with each octave.
fn width(bin: usize) -> f32 {
    (1 << (bin / PER_OCTAVE)) as f32
}
