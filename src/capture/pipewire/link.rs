//! Where a source's sound begins behind a new link.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::filter::Cycle;

/// Between two links, and until the source of a new one has had its turn, a port gives zeros. Who
/// gives zeros for more than so many parts of a second is silent.
const FIRST_TURN: u32 = 10;

/// What leads from the source to the node.
#[derive(Default)]
pub(super) struct Link {
    /// The clock of the last cycle that had a buffer, and the number of the link; none: no link.
    seen: Option<(u32, u32)>,
    /// Samples of nothing but zeros since it is new; `None` once it gave more.
    zeros: Option<u32>,
}

impl Link {
    /// From which sample of the cycle on it is the source's: not yet are the zeros that a new link
    /// begins with, also where its sound begins in mid-cycle. None: all of it are these.
    pub(super) fn begins(&mut self, cycle: &Cycle<'_>, links: u32) -> Option<usize> {
        let buffer = cycle.ports.iter().flatten().next();
        let seen = buffer.map(|_| (cycle.clock_id, links));
        if std::mem::replace(&mut self.seen, seen) != seen {
            self.zeros = Some(0);
        }
        let Some(zeros) = self.zeros else {
            return Some(0);
        };
        let sound = |samples: &[AtomicU32]| {
            let mut samples = samples.iter();
            samples.position(|bits| f32::from_bits(bits.load(Relaxed)) != 0.0)
        };
        let begins = match zeros >= cycle.rate / FIRST_TURN {
            true => Some(0),
            false => cycle
                .ports
                .iter()
                .flatten()
                .copied()
                .filter_map(sound)
                .min(),
        };
        self.zeros = match begins {
            Some(_) => None,
            None => Some(zeros.saturating_add(cycle.quantum)),
        };
        begins
    }
}
