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

/// Whose futex it is: the kernel finds private ones faster.
#[cfg(not(loom))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Memory shared with other processes.
    Shared,
    /// Memory of this process only.
    Private,
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
pub(crate) fn wait(word: &AtomicU32, ticket: u32, timeout: Duration, scope: Scope) -> Waited {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
    };
    let operation = libc::FUTEX_WAIT | flag(scope);
    // SAFETY: the word is a valid, aligned 32-bit atomic for the whole call
    // (borrowed), the timespec lives on this stack; FUTEX_WAIT only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation,
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

/// Wakes at most `count` waiters.
#[cfg(not(loom))]
#[inline]
pub(crate) fn wake(word: &AtomicU32, count: i32, scope: Scope) {
    // SAFETY: the word is a valid, aligned 32-bit atomic; FUTEX_WAKE uses only
    // its address.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | flag(scope),
            count,
        )
    };
}

#[cfg(not(loom))]
fn flag(scope: Scope) -> i32 {
    match scope {
        Scope::Shared => 0,
        Scope::Private => libc::FUTEX_PRIVATE_FLAG,
    }
}
