//! What a source's times are worth: whether they can be believed at all, and
//! whether its clock slipped.
//!
//! Blocks may come late by any time: a sound server that was stopped for a minute hands
//! out the minute when it goes on. What tells such a block from one whose clock is simply
//! wrong is that its source catches up.

use super::Block;

/// No source is late by more than this for good; what is, has a clock that is wrong.
const LONGEST_LAG_NS: i64 = 12_000_000_000;
/// How long a source may take to catch up before that is said of it.
const CATCHING_UP_NS: i64 = 30_000_000_000;

/// How late a clock's blocks arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lag {
    clock: Option<u64>,
    /// CLOCK_MONOTONIC at which the present stretch of [`CATCHING_UP_NS`] began.
    since_ns: i64,
    /// The least lag in it, and in the one before; `i64::MAX` for none.
    least_ns: [i64; 2],
}

impl Lag {
    /// Of no clock yet.
    pub(super) fn unknown() -> Self {
        Self {
            clock: None,
            since_ns: 0,
            least_ns: [i64::MAX; 2],
        }
    }

    /// When the first sample of a block that arrives at `now_ns` was captured; `None` as
    /// long as that can't be known.
    pub(super) fn capture_ns(&mut self, block: &Block<'_>, now_ns: i64) -> Option<i64> {
        if self.clock != Some(block.clock) {
            *self = Self {
                clock: Some(block.clock),
                since_ns: now_ns,
                ..Self::unknown()
            };
        } else if now_ns - self.since_ns >= CATCHING_UP_NS {
            self.since_ns = now_ns;
            self.least_ns = [i64::MAX, self.least_ns[0]];
        }
        // What is yet to come nobody has captured.
        let time_ns = block.time_ns.min(now_ns);
        let end_ns = time_ns.saturating_add(block.duration_ns());
        let lag = now_ns.saturating_sub(end_ns).max(0);
        self.least_ns[0] = self.least_ns[0].min(lag);
        match self.least_ns() {
            least if least <= LONGEST_LAG_NS => Some(time_ns),
            // Perhaps it catches up.
            _ if self.least_ns[1] == i64::MAX => None,
            least => Some(time_ns.saturating_add(least)),
        }
    }

    /// How late its blocks are when nothing holds them up.
    pub(super) fn usual_ns(&self) -> i64 {
        Some(self.least_ns())
            .filter(|&lag| lag <= LONGEST_LAG_NS)
            .unwrap_or(0)
    }

    fn least_ns(&self) -> i64 {
        self.least_ns[0].min(self.least_ns[1])
    }
}

/// Times may be off their line by this beyond one block, and be right again soon.
const JITTER_NS: i64 = 10_000_000;
/// What is off for so long stays so.
const SLIPPED_NS: i64 = 200_000_000;

/// Finds that a clock stood still or jumped without counting it: its times leave the line
/// on which its positions lie, and stay off it. A thread that wakes late makes times late
/// once; that is no slip.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slip {
    /// The longest block so far: where the quantum changes, times shift by up to that.
    longest_ns: i64,
    /// Since when times are off the line, and whether they are late.
    off: Option<(i64, bool)>,
}

/// What a block's time says about its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drift {
    /// It is on its line.
    None,
    /// It is off, for now.
    Suspected,
    /// It is off for good.
    Slipped,
}

impl Slip {
    /// Looks at a block captured at `time_ns`, which is `off_ns` after the time that its
    /// position stands for.
    pub(super) fn look(&mut self, off_ns: i64, time_ns: i64, block_ns: i64) -> Drift {
        self.longest_ns = self.longest_ns.max(block_ns);
        if off_ns.abs() <= self.longest_ns + JITTER_NS {
            self.off = None;
            return Drift::None;
        }
        let late = off_ns > 0;
        match self.off {
            Some((since_ns, same)) if same == late && time_ns >= since_ns => {
                if time_ns - since_ns >= SLIPPED_NS {
                    Drift::Slipped
                } else {
                    Drift::Suspected
                }
            }
            _ => {
                self.off = Some((time_ns, late));
                Drift::Suspected
            }
        }
    }
}
