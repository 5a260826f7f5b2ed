//! When the recorder looks at the ring, and when it syncs.

use std::time::{Duration, Instant};

/// How soon to look again, so that an unpaced source can't come round in between.
pub(super) struct Pace {
    committed: u64,
    looked: Instant,
    timeout: Duration,
}

impl Pace {
    pub(super) fn new(committed: u64) -> Self {
        Self {
            committed,
            looked: Instant::now(),
            timeout: Duration::from_millis(2),
        }
    }

    /// The time in which an eighth of the history may come, by how fast it came
    /// since the last look; at first, and after a pause, not much longer than that.
    pub(super) fn look(&mut self, committed: u64, history: u64) -> Duration {
        let took = self.looked.elapsed().as_secs_f64();
        let came = committed.saturating_sub(self.committed) as f64;
        let eighth =
            Duration::from_secs_f64((took * history as f64 / 8.0 / came.max(1.0)).min(60.0));
        self.timeout = (self.timeout * 2).min(eighth).max(Duration::from_millis(1));
        (self.committed, self.looked) = (committed, Instant::now());
        self.timeout
    }
}

/// When syncs begin: so early that each is over before the audio that it brings to the
/// disk is older than the interval. That is what a crash costs, at most.
pub(super) struct Cadence {
    interval: Duration,
    begun: Instant,
    due: Instant,
    /// When the one that was begun last was due.
    since: Instant,
    /// From when a sync is due until it is over, at worst of late.
    worst: Duration,
}

impl Cadence {
    /// The first is due now.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            begun: now,
            due: now,
            since: now,
            worst: Duration::ZERO,
        }
    }

    /// When the next one begins.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// It begins, with what the ring holds now.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.since, self.begun) = (self.due, now);
        self.plan();
    }

    /// It is over: the file claims that audio.
    pub(super) fn done(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.since);
        // A worst case is forgotten little by little.
        self.worst = took.max(self.worst - self.worst / 16);
        self.plan();
    }

    /// Twice the worst is kept free, and at most half the interval: a slower disk would
    /// do nothing but sync.
    fn plan(&mut self) {
        let lead = (self.worst * 2).min(self.interval / 2);
        self.due = self.begun + self.interval - lead;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever wake-ups and disk take, as long as no sync takes more than twice
        /// what the one before took, nor half the interval: none is over later than an
        /// interval after the one before began.
        #[test]
        fn a_sync_is_over_before_the_interval_is(
            interval in 50..5000_u64,
            first in 1..1000_u64,
            factors in prop::collection::vec(1..=200_u64, 1..100),
        ) {
            let us = Duration::from_micros;
            let interval = us(interval * 1000);
            let start = Instant::now();
            let mut cadence = Cadence::new(interval, start);
            let (mut took, mut begun) = (us(first), None::<Instant>);
            let mut longest = Duration::ZERO;
            for factor in factors {
                let due = cadence.due();
                // A third of it is a late wake-up.
                let now = due + took / 3;
                cadence.begin(now);
                let over = due + took;
                cadence.done(over);
                if let Some(begun) = begun {
                    prop_assert!(over - begun <= interval, "{:?} after {:?}", over - begun, took);
                }
                begun = Some(now);
                longest = longest.max(took);
                took = (took * factor as u32 / 100).clamp(us(1), interval / 2);
            }
            // It doesn't sync more often than the disk's pace asks for.
            let lead = interval.saturating_sub(cadence.due() - begun.unwrap_or(start));
            prop_assert!(lead <= longest * 2);
        }
    }
}
