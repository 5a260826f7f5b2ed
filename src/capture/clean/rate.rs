//! Echo is cancelled at 16 and 48 kHz: one side's blocks at another rate come to 48 kHz.

use super::queue::Piece;
use v2m_dsp::resample::Resampler;
use v2m_error::Result;

/// What the canceller takes as it is.
const TAKEN: [u32; 2] = [16_000, 48_000];
/// What everything else becomes.
const RATE: u32 = 48_000;
/// Input samples that are converted at once.
const CHUNK: usize = 1024;

/// One side's way to a rate of the canceller. Positions and times stay what they were: a
/// position is that of the same moment at 48 kHz, rounded down where the side began.
#[derive(Default)]
pub(super) struct Converter {
    run: Option<Run>,
    scratch: Vec<f32>,
}

/// Blocks that go on from each other.
struct Run {
    resampler: Resampler,
    clock: u64,
    /// The position of its first input, and of its first output.
    first: (u64, u64),
    inputs: u64,
    outputs: u64,
}

impl Run {
    fn begin(piece: &Piece) -> Result<Self> {
        let first = u128::from(piece.position) * u128::from(RATE) / u128::from(piece.rate);
        Ok(Self {
            resampler: Resampler::new(piece.rate, RATE)?,
            clock: piece.clock,
            first: (piece.position, first as u64),
            inputs: 0,
            outputs: 0,
        })
    }

    /// How many samples are missing before a block; None if it doesn't go on from here.
    fn missing(&self, piece: &Piece) -> Option<u64> {
        let same = (self.clock, self.resampler.input_rate()) == (piece.clock, piece.rate);
        let next = self.first.0 + self.inputs;
        let missing = piece.position.checked_sub(next).filter(|_| same);
        missing.filter(|&missing| missing <= u64::from(piece.rate))
    }

    /// Nanoseconds from its next input to its next output; negative, as the kernel looks ahead.
    fn ahead_ns(&self) -> i64 {
        let ns = |samples: u64, rate: u32| i128::from(samples) * 1_000_000_000 / i128::from(rate);
        let input = ns(self.inputs, self.resampler.input_rate());
        (ns(self.outputs, RATE) - input) as i64
    }
}

impl Converter {
    /// The same audio at a rate that the canceller takes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](v2m_error::ErrorKind::Invalid): the rate can't be converted.
    pub(super) fn convert(&mut self, piece: Piece) -> Result<Piece> {
        if TAKEN.contains(&piece.rate) {
            self.run = None;
            return Ok(piece);
        }
        let known = self
            .run
            .take()
            .and_then(|run| Some((run.missing(&piece)?, run)));
        let (missing, mut run) = match known {
            Some(known) => known,
            None => (0, Run::begin(&piece)?),
        };
        self.scratch.resize(run.resampler.max_output(CHUNK), 0.0);
        if missing > 0 {
            // The kernel's tail over what was before is no audio of its own.
            let skipped = run.resampler.skip(missing, &mut self.scratch);
            run.inputs += missing;
            run.outputs += skipped.written as u64 + skipped.then_zeros;
        }
        let position = run.first.1 + run.outputs;
        let time_ns = piece.time_ns + run.ahead_ns();
        let mut samples = Vec::new();
        for chunk in piece.samples.chunks(CHUNK) {
            let written = run.resampler.process(chunk, &mut self.scratch);
            samples.extend_from_slice(&self.scratch[..written]);
            run.inputs += chunk.len() as u64;
            run.outputs += written as u64;
        }
        let clock = piece.clock;
        self.run = Some(run);
        Ok(Piece {
            samples,
            rate: RATE,
            clock,
            position,
            time_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TONE_HZ: f64 = 500.0;

    fn tone(seconds: f64) -> f32 {
        (seconds * TONE_HZ * std::f64::consts::TAU).sin() as f32
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// At any rate every sample stands at its position and time, after losses, too.
        #[test]
        fn positions_and_times_are_those_of_the_moment(
            rate in prop::sample::select(vec![16_000_u32, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000]),
            first in 0_u64..1 << 40,
            cycles in prop::collection::vec((1_usize..3000, 0_u64..5), 2..30),
        ) {
            let mut converter = Converter::default();
            let (mut at, mut next, mut checked) = (first, None, 0);
            for (length, lost) in cycles {
                let lost = lost.saturating_sub(3) * 2111;
                at += lost;
                let seconds = |position: u64| (position - first) as f64 / f64::from(rate);
                let piece = Piece {
                    samples: (at..at + length as u64).map(|p| tone(seconds(p))).collect(),
                    rate,
                    clock: 3,
                    position: at,
                    time_ns: (seconds(at) * 1e9) as i64,
                };
                at += length as u64;
                let out = converter.convert(piece).unwrap();
                let kept = TAKEN.contains(&rate);
                prop_assert_eq!(out.rate, if kept { rate } else { RATE });
                let out_rate = f64::from(out.rate);
                let begun = (u128::from(first) * u128::from(out.rate) / u128::from(rate)) as u64;
                let by_position = (out.position - begun) as f64 / out_rate;
                let by_time = out.time_ns as f64 / 1e9;
                prop_assert!((by_position - by_time).abs() < 1.01 / out_rate);
                if lost == 0 {
                    prop_assert!(next.is_none_or(|next| next == out.position));
                }
                next = Some(out.position + out.samples.len() as u64);
                // Away from the edges of what was lost it is the same sound.
                if lost == 0 && checked > 0 {
                    for (index, sample) in out.samples.iter().enumerate().skip(200) {
                        let expected = tone(by_time + index as f64 / out_rate);
                        prop_assert!((sample - expected).abs() < 0.02, "{} {}", sample, expected);
                    }
                }
                checked += 1;
            }
        }
    }
}
