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

/// How long the machine has slept since it started, in nanoseconds: CLOCK_MONOTONIC stands still
/// then. The same to within a microsecond whenever it is asked, but after a suspend.
pub fn asleep_ns() -> i64 {
    let boottime = || {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux has CLOCK_BOOTTIME");
        now.tv_sec() * 1_000_000_000 + now.tv_nsec()
    };
    // The closest of some looks: a thread may lose its processor between two clocks.
    let look = || {
        let (before, both, after) = (monotonic_ns(), boottime(), monotonic_ns());
        (after - before, both - before)
    };
    let looks = std::array::from_fn::<_, 3, _>(|_| look());
    looks.into_iter().min().map_or(0, |(_, asleep)| asleep)
}
