//! Who wakes whom. With one system call the audio thread wakes one reader, which
//! so waits no longer than it must, and the wake-up thread, which wakes all the
//! others. The audio thread's cost does not depend on how many there are.
//!
//! The VAD worker waits on a word of its own. On the ring's, a real-time thread
//! would come before every client; and it has no use for less than a window.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::wake;
use super::writer::Ring;
use crate::error::{Error, Result};
use crate::sync::{AtomicU32, Ordering};

/// Rings for everybody who waits for the ring.
#[derive(Clone, Debug)]
pub struct Bell {
    ring: Arc<Ring>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Changes with every ring; the thread waits on it.
    rung: AtomicU32,
    /// Changes with every window that is complete; the VAD worker waits on it.
    windows: AtomicU32,
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
        let word = self.ring.wake_word();
        wake::announce(word);
        wake::wake_and_ring(word, &self.shared.rung);
    }
}

impl Ringer {
    /// Starts the thread; `prepare` runs on it first (its scheduling).
    pub fn start(ring: Arc<Ring>, prepare: impl FnOnce() + Send + 'static) -> Result<Self> {
        let shared = Arc::new(Shared {
            rung: AtomicU32::new(0),
            windows: AtomicU32::new(0),
            stop: AtomicU32::new(0),
        });
        let bell = Bell {
            ring: ring.clone(),
            shared: shared.clone(),
        };
        let windows = WindowBell {
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("v2m-wake".into())
            .spawn(move || {
                prepare();
                let (mut heard, mut complete) = (0, 0);
                while shared.stop.load(Ordering::Acquire) == 0 {
                    let ticket = wake::ticket(&shared.rung);
                    if ticket == heard {
                        wake::wait(&shared.rung, ticket, Duration::from_secs(3600));
                        continue;
                    }
                    heard = ticket;
                    wake::wake_all(ring.wake_word());
                    let now = ring.complete_windows();
                    if std::mem::replace(&mut complete, now) != now {
                        windows.nudge();
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
