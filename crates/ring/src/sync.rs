//! Atomics of the ring, swapped for loom's when it checks the models, and the
//! one cell that hands `&mut` to whichever thread comes first.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};

pub(crate) use std::sync::atomic::Ordering;

use std::sync::Mutex;

/// An exclusive value that is only ever *tried* for: nobody waits, so a
/// real-time thread may use it. Who comes second is told so and goes on. (A mutex that
/// nobody waits for makes no system call.)
pub struct TryCell<T>(Mutex<T>);

impl<T> TryCell<T> {
    /// A cell that nobody has.
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Runs `f` on the value unless another thread is just doing that. A panic
    /// in `f` leaves the cell taken for good: a half-changed value is not reused.
    pub fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.try_lock().ok().map(|mut value| f(&mut value))
    }
}

/// The places where the ring's protocol depends on memory order. Outside loom
/// a site's order is a constant; under loom a test may weaken one site at a
/// time to show that the models notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// Writer: the claim must be visible before any sample it announces.
    Claim,
    /// Writer: samples must be visible before the commit that covers them.
    Commit,
    /// Reader: samples must be read after the commit was.
    Committed,
    /// Reader: the claim must be looked at after the samples were read.
    Validate,
    /// Waker: the commit must be visible before the new value of the wake word.
    Wake,
    /// Reader: the commit must be read after the wake word.
    Awake,
}

#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn order(_site: Site, order: Ordering) -> Ordering {
    order
}

#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn fence_at(_site: Site, order: Ordering) {
    fence(order);
}

#[cfg(loom)]
#[allow(dead_code)]
pub(crate) mod weaken {
    use super::Site;
    use std::sync::Mutex;

    static WEAKENED: Mutex<Option<Site>> = Mutex::new(None);

    pub(crate) fn set(site: Option<Site>) {
        *WEAKENED.lock().unwrap() = site;
    }

    pub(super) fn is(site: Site) -> bool {
        *WEAKENED.lock().unwrap() == Some(site)
    }
}

#[cfg(loom)]
pub(crate) fn order(site: Site, order: Ordering) -> Ordering {
    if weaken::is(site) {
        Ordering::Relaxed
    } else {
        order
    }
}

#[cfg(loom)]
pub(crate) fn fence_at(site: Site, order: Ordering) {
    if !weaken::is(site) {
        fence(order);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::TryCell;

    #[test]
    fn who_comes_second_is_turned_away_and_a_half_changed_value_is_not_reused() {
        let cell = TryCell::new(1);
        let second = cell.try_with(|value| {
            *value += 1;
            std::thread::scope(|scope| scope.spawn(|| cell.try_with(|_| ())).join().unwrap())
        });
        assert_eq!(second, Some(None));
        assert_eq!(cell.try_with(|value| *value), Some(2));
        let broken = std::thread::scope(|scope| {
            scope.spawn(|| cell.try_with(|_| panic!("half-way"))).join()
        });
        assert!(broken.is_err());
        assert_eq!(cell.try_with(|value| *value), None);
    }
}
