//! What takes an emulated machine: real drivers of sound cards, a disk that loses its power.
//! One machine at a time:
//!
//!     cargo test --test machine -- --ignored --test-threads 1
#![allow(unsafe_code, reason = "counts allocations")]

#[cfg(feature = "alsa")]
mod alsa;
mod emulated;
#[path = "../sound/known.rs"]
mod known;
mod power_loss;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting for each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// What the calling thread has allocated so far.
fn allocations() -> u64 {
    ALLOCATIONS.get()
}

// SAFETY: hands everything on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as promised to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised to us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
