//! What a block is in relation to the one before it, told from the source's
//! own clock alone.

use super::Block;

/// How a block continues the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its first sample is the next one, after `repeated` that were seen already.
    Continues {
        /// Samples at the block's front to ignore; may be all of them.
        repeated: usize,
    },
    /// So many samples (at the block's rate) are missing before it.
    Skipped(u64),
    /// The clocks can't be compared; only CLOCK_MONOTONIC can tell.
    Elsewhere,
}

/// The source's clock as far as it was followed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeline {
    followed: Option<Followed>,
}

#[derive(Clone, Copy, Debug)]
struct Followed {
    clock: u64,
    rate: u32,
    /// Position of the next sample.
    next: u64,
}

impl Timeline {
    /// Forgets the clock: the next block is judged `Elsewhere`.
    pub(super) fn leave(&mut self) {
        self.followed = None;
    }

    /// How many samples (at the block's rate) its first one is after the one that was
    /// expected; negative for what was seen already. `None` where the clocks can't be
    /// compared.
    pub(super) fn ahead(&self, block: &Block<'_>) -> Option<i64> {
        let Followed { clock, rate, next } = self.followed?;
        let ahead = block.position.wrapping_sub(next) as i64;
        // A jump of a second or more is no xrun but another life of the clock.
        let same = clock == block.clock && rate == block.rate;
        (same && ahead.unsigned_abs() < u64::from(rate)).then_some(ahead)
    }

    /// Judges a block; takes note of nothing.
    pub(super) fn judge(&self, block: &Block<'_>) -> Verdict {
        match self.ahead(block) {
            None => Verdict::Elsewhere,
            Some(ahead @ 1..) => Verdict::Skipped(ahead as u64),
            Some(ahead) => Verdict::Continues {
                repeated: block.frames().min(ahead.unsigned_abs() as usize),
            },
        }
    }

    /// The block was taken: its end is where the next one is expected, unless
    /// we are further already.
    pub(super) fn follow(&mut self, block: &Block<'_>) {
        let end = block.position.wrapping_add(block.frames() as u64);
        let next = match self.followed {
            Some(before) if self.judge(block) != Verdict::Elsewhere => before.next.max(end),
            _ => end,
        };
        self.followed = Some(Followed {
            clock: block.clock,
            rate: block.rate,
            next,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(clock: u64, position: u64, samples: &[f32]) -> Block<'_> {
        Block {
            rate: 48_000,
            clock,
            position,
            time_ns: 0,
            ..Block::mono(samples)
        }
    }

    #[test]
    fn follows_one_clock_through_skips_and_repeats() {
        let samples = [0.0; 256];
        let mut timeline = Timeline::default();
        assert_eq!(
            timeline.judge(&block(1, 1000, &samples)),
            Verdict::Elsewhere
        );
        timeline.follow(&block(1, 1000, &samples));
        assert_eq!(
            timeline.judge(&block(1, 1256, &samples)),
            Verdict::Continues { repeated: 0 }
        );
        assert_eq!(
            timeline.judge(&block(1, 1512, &samples)),
            Verdict::Skipped(256)
        );
        assert_eq!(
            timeline.judge(&block(1, 1000, &samples)),
            Verdict::Continues { repeated: 256 }
        );
        assert_eq!(
            timeline.judge(&block(1, 1100, &samples)),
            Verdict::Continues { repeated: 156 }
        );
        timeline.follow(&block(1, 1000, &samples));
        assert_eq!(
            timeline.judge(&block(1, 1256, &samples)),
            Verdict::Continues { repeated: 0 }
        );
    }

    #[test]
    fn other_clocks_and_rates_and_far_jumps_are_elsewhere() {
        let samples = [0.0; 256];
        let mut timeline = Timeline::default();
        timeline.follow(&block(1, 1000, &samples));
        assert_eq!(
            timeline.judge(&block(2, 1256, &samples)),
            Verdict::Elsewhere
        );
        let other_rate = Block {
            rate: 44_100,
            ..block(1, 1256, &samples)
        };
        assert_eq!(timeline.judge(&other_rate), Verdict::Elsewhere);
        assert_eq!(
            timeline.judge(&block(1, 49_256, &samples)),
            Verdict::Elsewhere
        );
        assert_eq!(
            timeline.judge(&block(1, 0, &samples[..1])),
            Verdict::Continues { repeated: 1 }
        );
        timeline.leave();
        assert_eq!(
            timeline.judge(&block(1, 1256, &samples)),
            Verdict::Elsewhere
        );
    }
}
