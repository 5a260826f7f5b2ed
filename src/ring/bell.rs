//! Who wakes whom. With one system call the audio thread wakes one reader, which
//! so waits no longer than it must, and the wake-up thread, which wakes all the
//! others. The audio thread's cost does not depend on how many there are.
//!
//! The reader that was woken first runs on another CPU than the audio thread, which is
//! still busy. There the wake-up thread, in real time, would interrupt it at once. So it
//! stays on the audio thread's CPU, and begins when that one is done; unless others that
//! come before it hold it up there.
//!
//! The VAD worker waits on a word of its own. On the ring's, a real-time thread
//! would come before every client; and it has no use for less than a window.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::sched_getcpu;

use super::wake;
use super::writer::Ring;
use crate::error::{Error, Result};
use crate::sync::{AtomicU32, Ordering};
use crate::time::monotonic_ns;

/// Rings for everybody who waits for the ring.
#[derive(Clone, Debug)]
pub struct Bell {
    ring: Arc<Ring>,
    shared: Arc<Shared>,
    /// Its thread is the one whose CPU the wake-up thread stays on.
    leads: bool,
}

#[derive(Debug)]
struct Shared {
    /// Changes with every ring; the thread waits on it.
    rung: AtomicU32,
    /// Changes with every window that is complete; the VAD worker waits on it.
    windows: AtomicU32,
    /// Where the audio thread rang; [`NOWHERE`] once the wake-up thread has taken note.
    cpu: AtomicU32,
    stop: AtomicU32,
}

/// Where the VAD worker waits.
#[derive(Clone, Debug)]
pub struct WindowBell {
    shared: Arc<Shared>,
}

impl WindowBell {
    /// Taken before looking for a window; see [`wait`](Self::wait).
    pub fn ticket(&self) -> u32 {
        wake::ticket(&self.shared.windows)
    }

    /// Waits until a window was completed after `ticket` was taken, or for a
    /// [`nudge`](Self::nudge).
    pub fn wait(&self, ticket: u32) {
        wake::wait(&self.shared.windows, ticket, Duration::from_secs(3600));
    }

    /// Ends the wait without a window.
    pub fn nudge(&self) {
        wake::announce(&self.shared.windows);
        wake::wake_all(&self.shared.windows);
    }
}

/// No CPU's number.
const NOWHERE: u32 = u32::MAX;

/// Rings in a row that make a CPU the audio thread's: it may change for a cycle or two.
const SETTLED: u32 = 16;

/// Woken this long after the audio was written, it was late; or for so many rings at once.
const LATE_NS: i64 = 1_000_000;
const LATE_RINGS: u32 = 3;

/// The thread is held up where it is when late wake-ups, 2 for each, come to this; each
/// punctual one takes off 1.
const HELD_UP: u32 = 16;

/// So many times as many rings before it is tried again.
const BACK_OFF: u32 = 64;

/// Where the wake-up thread is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this CPU.
    Cpu(usize),
    /// Wherever the scheduler puts it.
    Anywhere,
}

/// Which place that is, by where the bell is rung and how it goes there.
#[derive(Debug)]
struct Beside {
    at: u32,
    seen: u32,
    times: u32,
    needed: u32,
    late: u32,
}

impl Default for Beside {
    fn default() -> Self {
        Self {
            at: NOWHERE,
            seen: NOWHERE,
            times: 0,
            needed: SETTLED,
            late: 0,
        }
    }
}

impl Beside {
    /// The bell was rung on `cpu`, and heard late or not: where to go now, if anywhere.
    fn follow(&mut self, cpu: u32, late: bool) -> Option<Place> {
        if cpu != self.seen {
            (self.seen, self.times) = (cpu, 0);
        }
        self.times = self.times.saturating_add(1);
        self.late = match late {
            true => self.late.saturating_add(2),
            false => self.late.saturating_sub(1),
        };
        if self.at != NOWHERE && self.late >= HELD_UP {
            self.needed = self.needed.saturating_mul(BACK_OFF);
            (self.at, self.times, self.late) = (NOWHERE, 0, 0);
            return Some(Place::Anywhere);
        }
        if cpu == self.at || self.times < self.needed {
            return None;
        }
        (self.at, self.late) = (cpu, 0);
        Some(Place::Cpu(cpu as usize))
    }
}

/// The wake-up thread; stopped and joined when dropped.
#[derive(Debug)]
pub struct Ringer {
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

impl Bell {
    /// Announces what was committed: all that the audio thread does for its
    /// readers, and its only system call.
    #[inline]
    pub fn ring(&self) {
        if self.leads
            && let Ok(cpu) = sched_getcpu()
        {
            self.shared.cpu.store(cpu as u32, Ordering::Relaxed);
        }
        let word = self.ring.wake_word();
        wake::announce(word);
        wake::wake_and_ring(word, &self.shared.rung);
    }
}

impl Ringer {
    /// Starts the thread. `prepare` runs on it first (its scheduling) and gives what
    /// moves it to another place.
    pub fn start<Move: FnMut(Place)>(
        ring: Arc<Ring>,
        prepare: impl FnOnce() -> Move + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            rung: AtomicU32::new(0),
            windows: AtomicU32::new(0),
            cpu: AtomicU32::new(NOWHERE),
            stop: AtomicU32::new(0),
        });
        let bell = Bell {
            ring: ring.clone(),
            shared: shared.clone(),
            leads: true,
        };
        let windows = WindowBell {
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("v2m-wake".into())
            .spawn(move || {
                let mut move_to = prepare();
                let mut beside = Beside::default();
                let (mut heard, mut complete) = (0, 0);
                while shared.stop.load(Ordering::Acquire) == 0 {
                    let ticket = wake::ticket(&shared.rung);
                    if ticket == heard {
                        wake::wait(&shared.rung, ticket, Duration::from_secs(3600));
                        continue;
                    }
                    let rings = ticket.wrapping_sub(std::mem::replace(&mut heard, ticket));
                    let late = rings >= LATE_RINGS || monotonic_ns() - ring.written_ns() > LATE_NS;
                    wake::wake_others(ring.wake_word());
                    let now = ring.complete_windows();
                    if std::mem::replace(&mut complete, now) != now {
                        windows.nudge();
                    }
                    // Unless others rang.
                    let cpu = shared.cpu.swap(NOWHERE, Ordering::Relaxed);
                    if cpu != NOWHERE
                        && let Some(place) = beside.follow(cpu, late)
                    {
                        move_to(place);
                    }
                }
            })
            .map_err(|cause| Error::system("cannot start the wake-up thread", cause))?;
        Ok(Self {
            bell,
            thread: Some(thread),
        })
    }

    /// A bell for the thread that captures.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// A bell for another thread.
    pub fn second_bell(&self) -> Bell {
        Bell {
            leads: false,
            ..self.bell.clone()
        }
    }

    /// Where the VAD worker is to wait.
    pub fn windows(&self) -> WindowBell {
        WindowBell {
            shared: self.bell.shared.clone(),
        }
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        self.bell.shared.stop.store(1, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings(beside: &mut Beside, cpu: u32, times: u32) -> Vec<Place> {
        (0..times)
            .filter_map(|_| beside.follow(cpu, false))
            .collect()
    }

    #[test]
    fn it_follows_a_thread_that_has_settled() {
        let mut beside = Beside::default();
        assert!(rings(&mut beside, 3, SETTLED - 1).is_empty());
        assert_eq!(rings(&mut beside, 3, 100), [Place::Cpu(3)]);
        // Away for less than that, and back.
        for _ in 0..10 {
            assert!(rings(&mut beside, 1, SETTLED - 1).is_empty());
            assert!(rings(&mut beside, 3, 1).is_empty());
        }
        assert_eq!(rings(&mut beside, 1, SETTLED), [Place::Cpu(1)]);
        assert_eq!(rings(&mut beside, 3, SETTLED), [Place::Cpu(3)]);
    }

    #[test]
    fn it_goes_where_it_is_not_held_up() {
        let mut beside = Beside::default();
        assert_eq!(rings(&mut beside, 0, SETTLED), [Place::Cpu(0)]);
        // Late now and then.
        for n in 0..300 {
            assert_eq!(beside.follow(0, n % 3 == 0), None);
        }
        let late: Vec<_> = (0..HELD_UP / 2)
            .filter_map(|_| beside.follow(0, true))
            .collect();
        assert_eq!(late, [Place::Anywhere]);
        // It is tried again, after a long while; late or not elsewhere says nothing.
        let before = (1..SETTLED * BACK_OFF).all(|_| beside.follow(0, true).is_none());
        assert!(before);
        assert_eq!(beside.follow(0, true), Some(Place::Cpu(0)));
        assert_eq!(beside.follow(0, true), None);
    }
}
