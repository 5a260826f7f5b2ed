//! How loud audio is, to say where it is quietest: what a probability, which follows the sound
//! by a window or two and knows no silence shorter than that, can't say.

use std::collections::VecDeque;
use std::ops::Range;

use super::super::SAMPLE_RATE;

/// Levels in a second: one for 4 ms.
const BLOCKS: u64 = 250;
/// Samples at 16 kHz that a level is of.
const BLOCK: u64 = SAMPLE_RATE as u64 / BLOCKS;
/// Levels that a stretch must have to be quiet: 24 ms, and so any silence of 28 ms has one.
const QUIET: usize = 6;
/// In a place that is quiet the power is this part of the mean: 20 dB less. Where it falls less
/// it is the speech that is weak, or other sound is beneath it.
const LESS: f32 = 0.01;
/// As quiet as the quietest is what has no more than 6 dB more,
const ALIKE: f32 = 4.0;
/// and whatever is below -90 dBFS: silence, with or without dither.
const SILENCE: f32 = 1e-9;
/// Squares that are summed up side by side.
const LANES: usize = 8;

/// The levels of audio that comes in pieces. Positions are samples at 16 kHz.
#[derive(Clone, Debug)]
pub struct Levels {
    rate: u64,
    /// Mean squares, of the blocks from number `first` on.
    blocks: VecDeque<f32>,
    first: u64,
    /// Samples of the block that is not full yet, and where they end at the audio's own rate.
    part: Vec<f32>,
    given: u64,
}

impl Levels {
    /// Those of audio of `rate` samples per second, before its first sample.
    pub fn new(rate: u32) -> Self {
        Self {
            rate: u64::from(rate),
            blocks: VecDeque::new(),
            first: 0,
            part: Vec::new(),
            given: 0,
        }
    }

    /// Takes what follows. The levels don't depend on how it is cut, to the bit.
    pub fn push(&mut self, mut samples: &[f32]) {
        while !samples.is_empty() {
            let number = self.first + self.blocks.len() as u64;
            let end = ((number + 1) * self.rate).div_ceil(BLOCKS);
            let missing = samples.len().min((end - self.given) as usize);
            let (now, later) = samples.split_at(missing);
            self.given += now.len() as u64;
            samples = later;
            let whole = self.given == end;
            if whole && self.part.is_empty() {
                self.blocks.push_back(mean_square(now));
                continue;
            }
            self.part.extend_from_slice(now);
            if whole {
                self.blocks.push_back(mean_square(&self.part));
                self.part.clear();
            }
        }
    }

    /// What lies before `position` is not asked for any more.
    pub fn forget(&mut self, position: u64) {
        let old = (position / BLOCK).saturating_sub(self.first);
        let old = old.min(self.blocks.len() as u64);
        self.blocks.drain(..old as usize);
        self.first += old;
    }

    /// The middle of the longest stretch within `range` that is as quiet as any, the last of
    /// several; None where nothing is quiet in comparison with the rest.
    pub fn quietest(&self, range: Range<u64>) -> Option<u64> {
        let number = |position: u64| {
            let number = (position / BLOCK).saturating_sub(self.first);
            number.min(self.blocks.len() as u64) as usize
        };
        let start = number(range.start.next_multiple_of(BLOCK));
        let blocks: Vec<f32> = self
            .blocks
            .range(start..number(range.end).max(start))
            .copied()
            .collect();
        let mean = |blocks: &[f32]| blocks.iter().sum::<f32>() / blocks.len() as f32;
        let stretches: Vec<f32> = blocks.windows(QUIET).map(mean).collect();
        let least = stretches.iter().copied().reduce(f32::min)?;
        // Nor if there is NaN.
        let stands_out = least <= LESS * mean(&blocks);
        stands_out.then_some(())?;

        let quiet = |power: &f32| *power <= (ALIKE * least).max(SILENCE);
        let mut longest = 0..0;
        let mut at = 0;
        for run in stretches.chunk_by(|a, b| quiet(a) == quiet(b)) {
            if quiet(&run[0]) && run.len() >= longest.len() {
                longest = at..at + run.len();
            }
            at += run.len();
        }
        // The last of its stretches ends QUIET blocks after it began.
        let blocks = longest.start + longest.end - 1 + QUIET;
        Some((self.first + start as u64) * BLOCK + blocks as u64 * BLOCK / 2)
    }
}

fn mean_square(samples: &[f32]) -> f32 {
    let (chunks, rest) = samples.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x * x;
        }
    }
    let rest = rest.iter().map(|x| x * x);
    sums.into_iter().chain(rest).sum::<f32>() / samples.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tone(rate: u32, seconds: f64, amplitude: f32) -> Vec<f32> {
        let count = (f64::from(rate) * seconds) as u32;
        let phase = |n: u32| n as f32 * 220.0 / rate as f32;
        (0..count)
            .map(|n| amplitude * (phase(n).fract() - 0.5))
            .collect()
    }

    proptest! {
        /// At any rate, in pieces of any size, beside any shorter one.
        #[test]
        fn the_longest_silence_is_found(
            rate in prop::sample::select(vec![8_000, 11_025, 16_000, 44_100, 48_000]),
            before in 0.1f64..4.0,
            silence in 0.028f64..0.3,
            shorter in 0.0f64..0.015,
            noise in prop::sample::select(vec![0.0, 1e-5, 1e-3]),
            piece in 1usize..3000,
        ) {
            let mut audio = tone(rate, before, 0.5);
            let begin = audio.len();
            audio.extend(tone(rate, silence, noise));
            let end = audio.len();
            audio.extend(tone(rate, 0.5, 0.5));
            audio.extend(tone(rate, shorter, 0.0));
            audio.extend(tone(rate, 0.2, 0.5));
            let mut levels = Levels::new(rate);
            audio.chunks(piece).for_each(|piece| levels.push(piece));
            let at_16_khz = |n: usize| n as u64 * 16_000 / u64::from(rate);
            let found = levels.quietest(0..at_16_khz(audio.len())).expect("it is quiet");
            let (begin, end) = (at_16_khz(begin), at_16_khz(end));
            prop_assert!(begin < found && found < end, "{found} is not in {begin} to {end}");
            prop_assert!(found.abs_diff((begin + end) / 2) <= BLOCK, "{found}: {begin} to {end}");

            // What was forgotten isn't missed.
            levels.forget(begin - begin.min(16 * BLOCK));
            prop_assert_eq!(levels.quietest(begin..at_16_khz(audio.len())).is_some(), true);
        }
    }

    #[test]
    fn where_nothing_is_quiet_there_is_no_quietest() {
        let mut levels = Levels::new(16_000);
        assert_eq!(levels.quietest(0..80_000), None);
        levels.push(&tone(16_000, 1.0, 0.5));
        levels.push(&tone(16_000, 0.1, 0.1));
        levels.push(&tone(16_000, 1.0, 0.5));
        assert_eq!(levels.quietest(0..80_000), None);
        assert_eq!(levels.quietest(80_000..90_000), None);
    }
}
