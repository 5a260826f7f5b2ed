//! Waking and waiting: a 32-bit word in the ring that changes after every
//! commit, and futex(2) on it.
//!
//! A reader that finds nothing new waits for the word to change from the value
//! that it loaded *before* it looked. A commit in between has changed the word,
//! and the wait returns at once: no wake-up can be missed.
//!
//! Each waits under the [`mask`] of its value, so that waking all others leaves alone
//! whoever was woken first, has looked, and waits again.

#[cfg(not(loom))]
use std::num::NonZeroU32;
use std::time::Duration;

#[cfg(not(loom))]
use rustix::{io::Errno, thread::futex, time::Timespec};

use crate::sync::{AtomicU32, Ordering, Site, order};
#[cfg(not(loom))]
use crate::time::monotonic_ns;

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

/// Waiting and waking across processes: the word lies in shared memory.
#[cfg(not(loom))]
const SHARED: futex::Flags = futex::Flags::empty();

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

/// The futex bits to wait under with this ticket: another one than that of the 31
/// values before and after it.
#[inline]
pub const fn mask(ticket: u32) -> u32 {
    1 << (ticket % u32::BITS)
}

/// Waits until the word differs from `ticket`, at most `timeout`.
#[cfg(not(loom))]
pub(crate) fn wait(word: &AtomicU32, ticket: u32, timeout: Duration) -> Waited {
    // FUTEX_WAIT_BITSET takes the time at which to end, of CLOCK_MONOTONIC.
    let timeout = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
    let end = monotonic_ns().saturating_add(timeout);
    let end = Timespec {
        tv_sec: end / 1_000_000_000,
        tv_nsec: end % 1_000_000_000,
    };
    match futex::wait_bitset(word, SHARED, ticket, Some(&end), bits(mask(ticket))) {
        Err(Errno::TIMEDOUT) => Waited::TimedOut,
        Err(Errno::INTR) => Waited::Interrupted,
        _ => Waited::Changed,
    }
}

/// Wakes everybody who waits for `word`. Takes time for each of them: not for
/// the audio thread.
#[cfg(not(loom))]
pub(crate) fn wake_all(word: &AtomicU32) {
    // Nothing to be done about a refusal, and no reason for one.
    let _ = futex::wake(word, SHARED, i32::MAX as u32);
}

/// Wakes those who wait from an earlier value than the word has now, at most `limit` of
/// them, and says how many. Whoever is 32 values behind is passed over, until the next one.
#[cfg(not(loom))]
pub(crate) fn wake_others(word: &AtomicU32, limit: u32) -> u32 {
    let others = bits(!mask(ticket(word)));
    let woken = futex::wake_bitset(word, SHARED, limit.min(i32::MAX as u32), others);
    woken.map_or(0, |woken| woken as u32)
}

/// Futex bits; one of 32 is set in a [`mask`], 31 are in its complement.
#[cfg(not(loom))]
fn bits(mask: u32) -> NonZeroU32 {
    NonZeroU32::new(mask).expect("some bit is set")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn others_are_woken_and_whoever_has_looked_is_not() {
        let word = Arc::new(AtomicU32::new(u32::MAX));
        let wait_from = |from: u32| {
            let (word, (sender, receiver)) = (word.clone(), channel());
            thread::spawn(move || sender.send(wait(&word, from, LONG)));
            receiver
        };
        let behind = wait_from(u32::MAX);
        // Long enough for it to wait; if it doesn't yet, the word's change ends its wait.
        thread::sleep(Duration::from_millis(100));
        announce(&word);
        let ahead = wait_from(0);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(wake_others(&word, u32::MAX), 1);
        assert_eq!(behind.recv_timeout(LONG), Ok(Waited::Changed));
        let none = ahead.recv_timeout(Duration::from_millis(100));
        assert_eq!(none, Err(RecvTimeoutError::Timeout));
        announce(&word);
        wake_others(&word, u32::MAX);
        assert_eq!(ahead.recv_timeout(LONG), Ok(Waited::Changed));
    }

    #[test]
    fn no_more_are_woken_than_asked_for() {
        let word = Arc::new(AtomicU32::new(0));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let word = word.clone();
                thread::spawn(move || wait(&word, 0, LONG))
            })
            .collect();
        thread::sleep(Duration::from_millis(100));
        announce(&word);
        let woken: Vec<_> = (0..3).map(|_| wake_others(&word, 2)).collect();
        assert_eq!(woken, [2, 1, 0]);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Waited::Changed);
        }
    }

    #[test]
    fn a_wait_ends_in_time_and_none_begins_late() {
        let word = AtomicU32::new(7);
        assert_eq!(wait(&word, 7, Duration::ZERO), Waited::TimedOut);
        assert_eq!(wait(&word, 7, Duration::from_millis(5)), Waited::TimedOut);
        assert_eq!(wait(&word, 6, Duration::MAX), Waited::Changed);
    }
}
