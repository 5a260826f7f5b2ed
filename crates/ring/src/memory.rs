//! The ring's memory seen as lanes and header words: the one place where
//! addresses of shared memory become references, and those only to atomics.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use super::lane::{Counters, Lane};
use super::layout::{LaneId, Layout, at};
use crate::error::Result;
use crate::shm::{Access, Map};
use crate::sync::{AtomicU32, AtomicU64};

/// What the capture thread tells beside its lanes, as it lies in shared memory.
#[repr(C)]
pub(crate) struct CaptureWords {
    /// Stretches of filled silence.
    pub(crate) gaps: AtomicU64,
    /// Samples in them that the source had and we did not get.
    pub(crate) lost_samples: AtomicU64,
    /// Jumps of the graph's or driver's own clock.
    pub(crate) xruns: AtomicU64,
    /// Blocks offered a second time, and ignored.
    pub(crate) repeated: AtomicU64,
    /// CLOCK_MONOTONIC nanoseconds just before the newest samples were committed.
    pub(crate) written_ns: AtomicU64,
}

/// The engine's state, as it lies in shared memory.
#[repr(C)]
pub(crate) struct EngineWords {
    /// CLOCK_MONOTONIC nanoseconds of the last sign of life.
    pub(crate) heartbeat_ns: AtomicU64,
    /// A [`State`](super::State).
    pub(crate) state: AtomicU32,
}

/// A mapped ring.
#[derive(Debug)]
pub(crate) struct Memory {
    layout: Layout,
    map: Map,
}

impl Memory {
    pub(crate) fn map(file: BorrowedFd<'_>, layout: Layout, access: Access) -> Result<Self> {
        let map = Map::new(file, &layout.sections(), access)?;
        Ok(Self { layout, map })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn lock(&self) -> Result<()> {
        self.map.lock()
    }

    /// A reference into the header.
    fn header<T: HeaderWords>(&self, offset: usize) -> &T {
        let (header, length) = self.map.section(0);
        assert!(offset + size_of::<T>() <= length && offset.is_multiple_of(align_of::<T>()));
        // SAFETY:
        // - inside the header's section and aligned (asserted; sections start on pages);
        // - `HeaderWords` are made of atomics only: any bit pattern is one, and other
        //   processes may change them meanwhile; a read-only map is only ever loaded
        //   from with Relaxed or Acquire, which compile to plain loads;
        // - the borrow of `self` keeps the map alive.
        unsafe { header.add(offset).cast::<T>().as_ref() }
    }

    pub(crate) fn wake_word(&self) -> &AtomicU32 {
        self.header(at::WAKE)
    }

    pub(crate) fn capture(&self) -> &CaptureWords {
        self.header(at::CAPTURE)
    }

    pub(crate) fn engine(&self) -> &EngineWords {
        self.header(at::ENGINE)
    }

    /// Stores the constant header; before the memory is given to anybody.
    pub(crate) fn write_header(&self) {
        assert_eq!(self.map.access(), Access::Write);
        let (header, _) = self.map.section(0);
        let bytes = self.layout.header();
        // The mutable words behind it start as the zeros of fresh memory.
        for (i, &byte) in bytes[..at::COUNTERS].iter().enumerate() {
            // SAFETY: inside the header section, which is mapped writable and known
            // to nobody else yet.
            unsafe { header.add(i).write(byte) };
        }
    }

    pub(crate) fn lane(&self, id: LaneId) -> Lane<'_> {
        let (words, bytes) = self.map.section(id.section());
        let place = self.layout.lanes[id as usize];
        debug_assert!(bytes >= place.capacity as usize * id.width() * 4);
        // SAFETY: as for `header`: the section is `bytes` long, page-aligned, and
        // u32 atomics may be shared with other processes.
        let words = unsafe {
            std::slice::from_raw_parts(words.cast::<AtomicU32>().as_ptr(), bytes / size_of::<u32>())
        };
        Lane::new(
            self.header(id.counters()),
            words,
            id.width(),
            place.capacity,
        )
    }

    /// The address of element `n` of a lane. Up to a lane's capacity of elements
    /// is contiguous there, whatever `n`: the lane is mapped twice.
    pub(crate) fn element(&self, id: LaneId, n: u64) -> NonNull<u8> {
        let (start, bytes) = self.map.section(id.section());
        let place = self.layout.lanes[id as usize];
        let at = (n & (place.capacity - 1)) as usize * id.width() * 4;
        debug_assert!(at < bytes / 2);
        // SAFETY: the mask keeps `at` inside the first of the lane's two copies.
        unsafe { start.add(at) }
    }
}

/// Types that may lie in memory shared with other processes.
///
/// # Safety
/// `repr(C)`, made of atomics only.
unsafe trait HeaderWords {}

// SAFETY: an atomic.
unsafe impl HeaderWords for AtomicU32 {}
// SAFETY: repr(C), two atomics.
unsafe impl HeaderWords for Counters {}
// SAFETY: repr(C), five atomics.
unsafe impl HeaderWords for CaptureWords {}
// SAFETY: repr(C), two atomics.
unsafe impl HeaderWords for EngineWords {}
