//! The wake-up thread: the audio thread rings once, and this thread wakes
//! everybody else. So the audio thread's cost does not depend on how many wait.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::wake::{self, Scope};
use super::writer::Ring;
use crate::error::{Error, Result};
use crate::sync::{AtomicU32, Ordering};

/// Rings for the wake-up thread.
#[derive(Clone, Debug)]
pub struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Changes with every ring; the thread waits on it.
    rung: AtomicU32,
    stop: AtomicU32,
}

/// The wake-up thread; stopped and joined when dropped.
#[derive(Debug)]
pub struct Ringer {
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

impl Bell {
    /// One system call that wakes one thread: all that the audio thread does
    /// for its readers.
    #[inline]
    pub fn ring(&self) {
        wake::announce(&self.shared.rung);
        wake::wake(&self.shared.rung, 1, Scope::Private);
    }
}

impl Ringer {
    /// Starts the thread; `prepare` runs on it first (its scheduling).
    pub fn start(ring: Arc<Ring>, prepare: impl FnOnce() + Send + 'static) -> Result<Self> {
        let shared = Arc::new(Shared {
            rung: AtomicU32::new(0),
            stop: AtomicU32::new(0),
        });
        let bell = Bell {
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("v2m-wake".into())
            .spawn(move || {
                prepare();
                let mut heard = 0;
                while shared.stop.load(Ordering::Acquire) == 0 {
                    let ticket = wake::ticket(&shared.rung);
                    if ticket == heard {
                        wake::wait(
                            &shared.rung,
                            ticket,
                            Duration::from_secs(3600),
                            Scope::Private,
                        );
                        continue;
                    }
                    heard = ticket;
                    ring.wake_readers();
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
