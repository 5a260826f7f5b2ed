//! Waiting for a stream from an event loop, whichever: one descriptor that becomes readable
//! when the ring's wake word changes, the engine hangs up, or the stream closes. It stays
//! the same from one engine to the next.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode, types};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::engine::{Engine, generation, is_same, lock};
use crate::error::{Error, Result};
use crate::ring::wake::mask;
use crate::ring::{Reader, Waited};

/// How often the helper thread looks whether the engine is still there.
const SLICE: Duration = Duration::from_millis(200);

/// A level-triggered descriptor: after a wake-up readable until [`drain`](Self::drain).
pub struct Readiness {
    event: Arc<EventFd>,
    /// What waits for the engine that it was armed for last.
    wait: Mutex<Option<Wait>>,
    /// A forked child has the parent's descriptor.
    generation: u32,
}

enum Wait {
    Uring(Box<UringWaiter>),
    Helper(Helper),
}

impl Readiness {
    pub(crate) fn new() -> Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|cause| Error::system("cannot make an eventfd", cause))?;
        Ok(Self {
            event: Arc::new(event),
            wait: Mutex::new(None),
            generation: generation(),
        })
    }

    /// Asks for a wake-up when anything is committed to `engine`'s ring from now on: look
    /// at the counters afterwards, and nothing is missed. One that was asked for before and
    /// has not come yet serves as well.
    pub(crate) fn arm_for(&self, engine: &Arc<Engine>) -> Result<()> {
        let ticket = engine.ring().ticket();
        let mut wait = lock(&self.wait);
        if !wait.as_ref().is_some_and(|wait| wait.serves(engine)) {
            *wait = Some(Wait::new(engine, &self.event)?);
        }
        match wait.as_mut() {
            Some(Wait::Uring(uring)) => uring.arm(ticket),
            Some(Wait::Helper(helper)) => {
                helper.arm(ticket);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes note of the wake-ups so far. What is committed meanwhile may be among them:
    /// arm again, then look.
    pub fn drain(&self) {
        let mut wait = lock(&self.wait);
        // Looking for completions makes the descriptor readable once more, so it is read
        // afterwards; and what completed in between has done so in vain.
        if let Some(Wait::Uring(uring)) = wait.as_mut() {
            uring.look();
        }
        let _ = self.event.read();
        if let Some(Wait::Uring(uring)) = wait.as_mut() {
            uring.look();
        }
    }

    /// Makes the descriptor readable. From any thread.
    pub(crate) fn notify(&self) {
        if self.generation == generation() {
            notify(&self.event);
        }
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// A counter that is full means that it is readable already.
fn notify(event: &EventFd) {
    let _ = event.write(1);
}

impl Wait {
    /// io_uring where the kernel can wait for a futex by it (Linux 6.7) and lets
    /// us, and `V2M_ENGINE_NO_IO_URING` isn't set; else a thread.
    fn new(engine: &Arc<Engine>, event: &Arc<EventFd>) -> Result<Self> {
        let refused = std::env::var_os("V2M_ENGINE_NO_IO_URING").is_some_and(|v| !v.is_empty());
        if uring_works() && !refused {
            UringWaiter::new(engine, event)
                .map(Box::new)
                .map(Self::Uring)
        } else {
            Helper::new(engine, event).map(Self::Helper)
        }
    }

    fn serves(&self, engine: &Arc<Engine>) -> bool {
        match self {
            // The event loop may have moved to another thread.
            Self::Uring(uring) => {
                is_same(engine, &uring.engine) && uring.thread == thread::current().id()
            }
            Self::Helper(helper) => is_same(engine, &helper.shared.engine),
        }
    }
}

/// Whether io_uring can wait for a futex here; looked at once.
fn uring_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let Ok(ring) = deferred() else {
            return false;
        };
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).is_ok()
            && probe.is_supported(opcode::FutexWait::CODE)
    })
}

/// A ring whose completions wait for the thread that made it to look. Otherwise each
/// of them interrupts the event loop's epoll_wait, which then takes the GIL only to
/// wait once more.
fn deferred() -> std::io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(4)
}

/// Waits by io_uring: no helper thread, and nothing for the writer to know.
struct UringWaiter {
    uring: IoUring,
    /// Nobody else may submit to it.
    thread: ThreadId,
    /// A futex wait is under way, or its end was not looked at.
    armed: bool,
    /// So is a poll for the engine's hang-up.
    watching: bool,
    engine: Weak<Engine>,
    /// Keeps the memory that the kernel was given an address in.
    memory: Arc<Reader>,
}

const FUTEX: u64 = 1;
const HANG_UP: u64 = 2;
/// From <linux/futex.h>: a 32-bit futex that other processes share.
const FUTEX2_SIZE_U32: u32 = 2;
/// From <linux/io_uring.h>: have completions happen.
const GET_EVENTS: u32 = 1;

impl UringWaiter {
    fn new(engine: &Arc<Engine>, event: &EventFd) -> Result<Self> {
        let refused = |cause| Error::system("cannot set up io_uring", cause);
        let uring = deferred().map_err(refused)?;
        let register = uring.submitter().register_eventfd(event.as_raw_fd());
        register.map_err(refused)?;
        Ok(Self {
            uring,
            thread: thread::current().id(),
            armed: false,
            watching: false,
            engine: Arc::downgrade(engine),
            memory: engine.ring().clone(),
        })
    }

    fn arm(&mut self, ticket: u32) -> Result<()> {
        if !self.watching
            && let Some(engine) = self.engine.upgrade()
            && let Some(socket) = engine.socket()
        {
            let poll = opcode::PollAdd::new(types::Fd(socket), libc::POLLRDHUP as u32);
            self.enter(Some(&poll.build().user_data(HANG_UP)))?;
            self.watching = true;
        }
        if !self.armed {
            let wait = opcode::FutexWait::new(
                self.memory.wake_address(),
                ticket.into(),
                mask(ticket).into(),
                FUTEX2_SIZE_U32,
            );
            self.enter(Some(&wait.build().user_data(FUTEX)))?;
            self.armed = true;
        }
        Ok(())
    }

    /// Takes note of what has completed.
    fn look(&mut self) {
        // What fails here fails again when armed, and is told then.
        if self.thread != thread::current().id() || self.enter(None).is_err() {
            return;
        }
        for done in self.uring.completion() {
            match done.user_data() {
                FUTEX => self.armed = false,
                HANG_UP => {
                    self.watching = false;
                    if let Some(engine) = self.engine.upgrade() {
                        engine.check();
                    }
                }
                _ => {}
            }
        }
    }

    /// Submits an entry, if there is one, and has completions happen.
    fn enter(&mut self, entry: Option<&io_uring::squeue::Entry>) -> Result<()> {
        if let Some(entry) = entry {
            // SAFETY: the entries made here refer to the ring's wake word and the
            // engine's socket. `memory` keeps the word's map until after the io_uring is
            // closed (fields drop in order); the kernel takes its own reference of the
            // socket, and a number closed meanwhile is only an error.
            unsafe { self.uring.submission().push(entry) }
                .map_err(|cause| Error::system("io_uring is full", cause))?;
        }
        let count = u32::from(entry.is_some());
        loop {
            // SAFETY: what is submitted was argued for above; no argument is passed.
            let entered = unsafe {
                self.uring
                    .submitter()
                    .enter::<libc::sigset_t>(count, 0, GET_EVENTS, None)
            };
            match entered {
                Ok(_) => return Ok(()),
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(Error::system("io_uring refuses", cause)),
            }
        }
    }
}

/// Waits on a thread that writes to the eventfd, where io_uring can't.
struct Helper {
    shared: Arc<HelperShared>,
}

struct HelperShared {
    event: Arc<EventFd>,
    ring: Arc<Reader>,
    engine: Weak<Engine>,
    /// The ticket to wait from.
    asked: Mutex<Option<u32>>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Helper {
    fn new(engine: &Arc<Engine>, event: &Arc<EventFd>) -> Result<Self> {
        let shared = Arc::new(HelperShared {
            event: event.clone(),
            ring: engine.ring().clone(),
            engine: Arc::downgrade(engine),
            asked: Mutex::new(None),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let thread = shared.clone();
        thread::Builder::new()
            .name("v2m-waiter".into())
            .spawn(move || thread.run())
            .map_err(|cause| Error::system("cannot start a thread to wait on", cause))?;
        Ok(Self { shared })
    }

    fn arm(&self, ticket: u32) {
        let mut asked = lock(&self.shared.asked);
        if asked.is_none() {
            *asked = Some(ticket);
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Locked once in between: the thread is either before its look at `stop`
        // or already waiting to be told.
        drop(lock(&self.shared.asked));
        self.shared.changed.notify_one();
        self.shared.ring.nudge();
    }
}

impl HelperShared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn run(&self) {
        while let Some(ticket) = self.next() {
            while !self.stopped() {
                match self.ring.wait(ticket, SLICE) {
                    Waited::Changed => break,
                    Waited::Interrupted => {}
                    Waited::TimedOut => match self.engine.upgrade() {
                        Some(engine) if !engine.check() => {}
                        _ => break,
                    },
                }
            }
            *lock(&self.asked) = None;
            notify(&self.event);
        }
    }

    /// The next ticket; None: stop.
    fn next(&self) -> Option<u32> {
        let mut asked = lock(&self.asked);
        loop {
            if self.stopped() {
                return None;
            }
            if let Some(ticket) = *asked {
                return Some(ticket);
            }
            asked = self
                .changed
                .wait(asked)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
