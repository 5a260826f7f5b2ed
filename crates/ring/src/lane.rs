//! The one protocol of the ring: a lane.
//!
//! A lane is a circular array of elements with one writer and any number of
//! readers that the writer never hears of. Elements are counted from the
//! lane's beginning and never reused as numbers; element `n` lives in slot
//! `n mod capacity`. Two counters make reading safe without a lock:
//!
//! ```text
//!            oldest readable                       claimed
//!                  │◄────────── capacity ────────────►│
//!   ───────────────┼──────────────────────────┬───────┼────────►  n
//!                                         committed
//!                                             │◄being─►│
//!                                              written
//! ```
//!
//! * The writer raises *claimed*, writes, then raises *committed*.
//! * A reader reads only below *committed*, and looks at *claimed* afterwards:
//!   what is older than `claimed - capacity` may have changed under its eyes.
//!
//! Samples, clock, gaps, speech and events are all lanes; elements are made of
//! 32-bit words so that one implementation, and one model, serves them all.

use std::ops::Range;

use crate::sync::{AtomicU32, AtomicU64, Ordering, Site, fence_at, order};

/// A lane's counters, as they lie in shared memory.
#[repr(C)]
pub(crate) struct Counters {
    claimed: AtomicU64,
    committed: AtomicU64,
}

impl Counters {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            claimed: AtomicU64::new(0),
            committed: AtomicU64::new(0),
        }
    }
}

/// The element asked for was overwritten; `oldest` is the first that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overwritten {
    pub(crate) oldest: u64,
}

/// A lane in memory: borrowed counters and words, and the shape that the
/// validated layout gave it.
#[derive(Clone, Copy)]
pub(crate) struct Lane<'m> {
    counters: &'m Counters,
    words: &'m [AtomicU32],
    /// Words of one element.
    width: usize,
    /// Elements; a power of two.
    capacity: u64,
}

impl<'m> Lane<'m> {
    /// `words` holds at least `capacity * width` words; `capacity` is a power of two.
    pub(crate) fn new(
        counters: &'m Counters,
        words: &'m [AtomicU32],
        width: usize,
        capacity: u64,
    ) -> Self {
        assert!(capacity.is_power_of_two() && words.len() as u64 >= capacity * width as u64);
        Self {
            counters,
            words,
            width,
            capacity,
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    fn slot(&self, n: u64) -> &'m [AtomicU32] {
        let at = (n & (self.capacity - 1)) as usize * self.width;
        &self.words[at..at + self.width]
    }

    /// Writes elements from number `first` on and makes them readable.
    /// `first` is the lane's committed count: only the lane's one writer calls
    /// this, and it knows. Of more than the capacity only the last are written:
    /// the others are gone before anybody could read them.
    #[inline]
    pub(crate) fn append(&self, first: u64, count: u64, mut word: impl FnMut(u64, usize) -> u32) {
        let end = first + count;
        self.counters.claimed.store(end, Ordering::Relaxed);
        // Whoever reads a word stored below also sees the claim above, if it
        // looks behind an acquire fence (see `validate`).
        fence_at(Site::Claim, Ordering::Release);
        for n in first.max(end.saturating_sub(self.capacity))..end {
            for (i, slot) in self.slot(n).iter().enumerate() {
                slot.store(word(n - first, i), Ordering::Relaxed);
            }
        }
        self.counters
            .committed
            .store(end, order(Site::Commit, Ordering::Release));
    }

    /// Puts zeros in place of committed elements, all of them below `committed`, while
    /// nothing is appended; only the lane's one writer calls this. The claim goes ahead
    /// by a whole capacity, so that no reader takes what it reads meanwhile for whole;
    /// the next append takes it back, and the zeros are what stands there then.
    pub(crate) fn wipe(&self, committed: u64, elements: Range<u64>) {
        let claimed = committed + self.capacity;
        self.counters.claimed.store(claimed, Ordering::Relaxed);
        fence_at(Site::Claim, Ordering::Release);
        for n in elements {
            for slot in self.slot(n) {
                slot.store(0, Ordering::Relaxed);
            }
        }
    }

    /// How many elements there are to read, counted from the beginning. What
    /// was written before them, in any lane, is visible from here on.
    #[inline]
    pub(crate) fn committed(&self) -> u64 {
        self.counters
            .committed
            .load(order(Site::Committed, Ordering::Acquire))
    }

    /// The first element that is certainly not overwritten *now*.
    #[inline]
    pub(crate) fn oldest(&self) -> u64 {
        self.counters
            .claimed
            .load(Ordering::Relaxed)
            .saturating_sub(self.capacity)
    }

    /// Whether everything read so far from `first` on was whole. Called after
    /// the reading.
    #[inline]
    pub(crate) fn validate(&self, first: u64) -> Result<(), Overwritten> {
        // Orders the loads of the words before the load of the claim.
        fence_at(Site::Validate, Ordering::Acquire);
        let oldest = self.oldest();
        if first >= oldest {
            Ok(())
        } else {
            Err(Overwritten { oldest })
        }
    }

    /// Copies the elements from `first` on into `out`, whose length is a
    /// multiple of the width. The caller has seen that they are committed.
    pub(crate) fn read(&self, first: u64, out: &mut [u32]) -> Result<(), Overwritten> {
        for (n, element) in out.chunks_exact_mut(self.width).enumerate() {
            // Wrapping: a counter from a broken writer must not stop a reader;
            // slots are masked, so any number is in range.
            let slot = self.slot(first.wrapping_add(n as u64));
            for (to, from) in element.iter_mut().zip(slot) {
                *to = from.load(Ordering::Relaxed);
            }
        }
        self.validate(first)
    }
}
