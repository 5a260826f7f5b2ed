//! Suspends in a recording: silence as long as the machine slept, for which the ring has none.

use super::Recorder;
use crate::error::Result;
use crate::ring::{EventLane, Kind, Reader, time};

/// The suspends that a ring tells of.
pub(super) struct Suspends {
    /// The engine's record to be looked at next.
    next: u64,
}

impl Suspends {
    /// Those from `position` on.
    pub(super) fn from(ring: &Reader, position: u64) -> Self {
        let mut next = ring.records_committed(EventLane::EngineEvents);
        while next > ring.records_oldest(EventLane::EngineEvents)
            && let Some(record) = ring.record(EventLane::EngineEvents, next - 1)
            && record.position >= position
        {
            next -= 1;
        }
        Self { next }
    }

    /// The next one up to `end`: where it was, and for how many samples.
    fn take(&mut self, ring: &Reader, end: u64) -> Option<(u64, u64)> {
        // No more than there were, whatever the ring says.
        let most = ring.rate().samples(time::asleep_ns()).max(0).unsigned_abs();
        self.next = self.next.max(ring.records_oldest(EventLane::EngineEvents));
        while let Some(record) = ring.record(EventLane::EngineEvents, self.next) {
            let is_suspend = record.kind == Kind::Suspend as u32;
            if is_suspend && record.position > end {
                return None;
            }
            self.next += 1;
            if is_suspend {
                return Some((record.position, record.length.min(most)));
            }
        }
        None
    }
}

impl Recorder {
    /// Writes what comes before each suspend up to `end`, and the silence for it. What goes into
    /// a pipe is for who listens now, and has none.
    pub(super) fn pass_suspends(&mut self, end: u64) -> Result<()> {
        let Some(file) = self.file.as_mut().filter(|file| file.is_file()) else {
            return Ok(());
        };
        while file.has_room()
            && let Some((position, mut slept)) = self.suspends.take(&self.ring, end)
        {
            if position > self.next {
                file.add(self.next, position - self.next)?;
                self.next = position;
            }
            if let Some(end) = &mut self.end {
                slept = slept.min(end.saturating_sub(self.next));
                *end -= slept;
            }
            file.sleep(slept)?;
        }
        Ok(())
    }
}
