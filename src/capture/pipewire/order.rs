//! Whether what a cycle brings is of that cycle. On PipeWire's data thread.

use super::filter::Cycle;

/// Whether cycles come in a hurry shows in so many milliseconds of audio: they are less late behind
/// them. A driver whose times are wrong is as late as it was.
const SHOWS_MS: u64 = 250;

/// Whether cycles' samples are what their positions say.
///
/// Where positions jump, some node was late, maybe this one: what it left unfinished it
/// finishes into the next cycle, whose clock it reads, so that samples of one cycle meet the
/// position of another. That may go on for as long as cycles follow on one another in a hurry, as
/// they do when a daemon goes on that stood still. Cycles are what they seem once they are in
/// order, and in time or no longer in a hurry. Whoever begins amid a hurry can't know of the jump
/// before it, so the first cycles are doubted, too. One that comes again with other samples shows
/// that it was not so, and what it has now no longer has a place: the cycle behind it is left out,
/// so that a gap tells of it.
pub(super) struct Order {
    /// Clock, position and end of the last cycle handed over.
    handed: (u32, u64, u64),
    /// Positions have jumped, or nothing came before, and cycles hurry since.
    doubted: Option<Hurry>,
    /// A cycle came again with other samples.
    owes_gap: bool,
}

/// A stretch of cycles in order that all come late.
#[derive(Default)]
struct Hurry {
    /// By how much the first of them was late, in nanoseconds.
    late_ns: Option<i64>,
    /// How long they are, in nanoseconds of audio.
    length_ns: i64,
}

impl Hurry {
    /// Whether it goes on with a cycle that is so late, and so long.
    fn goes_on(&mut self, late_ns: i64, length_ns: i64) -> bool {
        let first_ns = *self.late_ns.get_or_insert(late_ns);
        if late_ns <= 0 {
            return false;
        }
        if self.length_ns >= (SHOWS_MS * 1_000_000) as i64 {
            let caught_up_ns = first_ns.saturating_sub(late_ns);
            if caught_up_ns < self.length_ns / 16 {
                return false;
            }
            *self = Self {
                late_ns: Some(late_ns),
                length_ns: 0,
            };
        }
        self.length_ns += length_ns;
        true
    }
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            handed: (0, 0, 0),
            doubted: Some(Hurry::default()),
            owes_gap: false,
        }
    }

    /// `is_again`: the samples are those that were handed over last.
    pub(super) fn trusts(
        &mut self,
        cycle: &Cycle<'_>,
        is_again: impl FnOnce() -> bool,
        now_ns: impl FnOnce() -> i64,
    ) -> bool {
        let quantum = u64::from(cycle.quantum);
        let (clock, position, end) = self.handed;
        if cycle.xrun && clock == cycle.clock_id && cycle.position.wrapping_add(quantum) <= end {
            // Handed over already: the ingest counts it, and ignores it.
            let is_same = cycle.position == position && is_again();
            self.owes_gap |= !is_same;
            return is_same;
        }
        if cycle.xrun {
            (self.doubted, self.owes_gap) = (Some(Hurry::default()), false);
            return false;
        }
        if std::mem::take(&mut self.owes_gap) {
            return false;
        }
        if let Some(hurry) = &mut self.doubted {
            let length_ns = (quantum * 1_000_000_000 / u64::from(cycle.rate)) as i64;
            let begun_ns = i64::try_from(cycle.nsec).unwrap_or(i64::MAX);
            let late_ns = now_ns().saturating_sub(begun_ns.saturating_add(length_ns));
            if hurry.goes_on(late_ns, length_ns) {
                return false;
            }
            self.doubted = None;
        }
        true
    }

    pub(super) fn handed_over(&mut self, cycle: &Cycle<'_>, end: u64) {
        self.handed = (cycle.clock_id, cycle.position, end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    const QUANTUM: u32 = 480;
    const NOW_NS: i64 = 3_600_000_000_000;

    /// The positions of those that are handed over of these cycles: position, whether that is not
    /// where the cycle before ended, what it sounds like, and by how many cycles it comes late.
    fn trusted(cycles: impl IntoIterator<Item = (u64, bool, u32, i64)>) -> Vec<u64> {
        let mut order = Order::new();
        let (mut found, mut last) = (Vec::new(), 0);
        for (position, xrun, sound, late) in cycles {
            let cycle = Cycle {
                ports: &[],
                rate: 48_000,
                quantum: QUANTUM,
                position,
                now: &AtomicU64::new(position),
                clock_id: 22,
                nsec: (NOW_NS - late * 10_000_000) as u64,
                delay: 0,
                xrun,
            };
            if order.trusts(&cycle, || sound == last, || NOW_NS) {
                order.handed_over(&cycle, position + u64::from(QUANTUM));
                last = sound;
                found.push(position);
            }
        }
        found
    }

    #[test]
    fn what_comes_again_with_other_samples_is_told_by_a_gap() {
        let positions = trusted([
            (1000, false, 1, 0),
            (1480, false, 2, 0), // late: the samples of the one before
            (1480, true, 3, 0),  // its own, whose place is taken
            (1960, false, 4, 0), // so that a gap tells of them
            (2440, false, 5, 0),
            (2440, true, 5, 0), // for the ingest to count
            (1480, true, 3, 0), // long ago
            (2920, false, 6, 0),
            (3400, false, 7, 0),
        ]);
        assert_eq!(positions, [1000, 1480, 2440, 2440, 3400]);
    }

    #[test]
    fn behind_a_jump_cycles_have_to_be_in_time() {
        let positions = trusted([
            (1000, false, 1, 0),
            (1480, false, 2, 2), // who was in time may be heard late
            (2440, true, 3, 90),
            (2920, false, 4, 50),
            (3400, false, 5, 2),
            (3880, false, 6, 0),
            (4360, false, 7, 2),
        ]);
        assert_eq!(positions, [1000, 1480, 3880, 4360]);
    }

    #[test]
    fn nor_is_the_first_believed_before_one_is_in_time() {
        let positions = trusted([
            (1000, false, 1, 900), // a daemon catches up that had stood still before we came
            (1480, false, 2, 400),
            (1960, false, 3, 0),
            (2440, false, 4, 2),
        ]);
        assert_eq!(positions, [1960, 2440]);
    }

    #[test]
    fn a_driver_whose_times_are_wrong_is_heard_all_the_same() {
        let late = (1..=40).map(|n| (n * u64::from(QUANTUM), n == 1, 1, 90));
        assert_eq!(trusted(late).len(), 40 - 1 - SHOWS_MS as usize / 10);
    }

    #[test]
    fn a_daemon_that_catches_up_is_waited_for() {
        // It stood still for an hour; four cycles take as long as one should.
        let late = |n: u64| 360_000 - n as i64 * 3 / 4;
        let cycles = (1..480_000).map(|n| (n * u64::from(QUANTUM), n == 1, 1, late(n)));
        let first = trusted(cycles)[0] / u64::from(QUANTUM);
        assert!(late(first) <= 1, "{first}");
    }
}
