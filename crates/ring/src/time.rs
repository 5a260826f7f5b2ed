//! The clock that everything here is measured by, and the one that people have.

use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has CLOCK_MONOTONIC");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

/// How far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC now, in nanoseconds: it changes when the
/// wall clock is set, and by a suspend's length.
pub fn wall_offset_ns() -> i64 {
    let wall = clock_gettime(ClockId::CLOCK_REALTIME).expect("every Linux has CLOCK_REALTIME");
    let wall_ns = wall.tv_sec() * 1_000_000_000 + wall.tv_nsec();
    wall_ns.wrapping_sub(monotonic_ns())
}
