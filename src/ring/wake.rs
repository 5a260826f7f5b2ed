//! Waking and waiting: a 32-bit word in the ring that changes after every
//! commit, and futex(2) on it.
//!
//! A reader that finds nothing new waits for the word to change from the value
//! that it loaded *before* it looked. A commit in between has changed the word,
//! and the wait returns at once: no wake-up can be missed.

use std::time::Duration;

use crate::sync::{AtomicU32, Ordering, Site, order};

/// The word's value; taken before looking at the counters.
#[inline]
pub(crate) fn ticket(word: &AtomicU32) -> u32 {
    word.load(order(Site::Awake, Ordering::Acquire))
}

/// Announces what was committed before.
#[inline]
pub(crate) fn announce(word: &AtomicU32) {
    word.fetch_add(1, order(Site::Wake, Ordering::Release));
}

/// Why a wait ended.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The word changed, or may have.
    Changed,
    /// Time is up.
    TimedOut,
    /// A signal arrived.
    Interrupted,
}

/// Waits until the word differs from `ticket`, at most `timeout`.
#[cfg(not(loom))]
pub(crate) fn wait(word: &AtomicU32, ticket: u32, timeout: Duration) -> Waited {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
    };
    // SAFETY: the word is a valid, aligned 32-bit atomic for the whole call
    // (borrowed), the timespec lives on this stack; FUTEX_WAIT only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            ticket,
            &raw const timeout,
        )
    };
    if result == 0 {
        return Waited::Changed;
    }
    match nix::errno::Errno::last() {
        nix::errno::Errno::ETIMEDOUT => Waited::TimedOut,
        nix::errno::Errno::EINTR => Waited::Interrupted,
        _ => Waited::Changed,
    }
}

/// Wakes everybody who waits for `word`. Takes time for each of them: not for
/// the audio thread.
#[cfg(not(loom))]
pub(crate) fn wake_all(word: &AtomicU32) {
    // SAFETY: the word is a valid, aligned 32-bit atomic; FUTEX_WAKE uses only
    // its address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Wakes at most one waiter of `word`, adds one to `other` and wakes at most one
/// waiter of that: all in one system call.
#[cfg(not(loom))]
#[inline]
pub(crate) fn wake_and_ring(word: &AtomicU32, other: &AtomicU32) {
    // From <linux/futex.h>: *other += 1; compare its old value >= 0 (as i32), or
    // not: it decides about waking `other`, so both outcomes must wake. A value
    // compared as `!= -1` fails once in 2^32 rings, and the next ring makes good.
    const ADD_ONE_IF_NOT_MINUS_ONE: u32 = 1 << 28 | 1 << 24 | 1 << 12 | 0xfff;
    // SAFETY: both words are valid, aligned 32-bit atomics for the whole call, and
    // `other` is writable memory of this process; the kernel adds to it atomically.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE_OP,
            1,
            1_usize,
            other.as_ptr(),
            ADD_ONE_IF_NOT_MINUS_ONE,
        )
    };
}
