//! Waiting for the ring from an event loop: a descriptor that becomes readable
//! when the ring's wake word changes, the engine hangs up, or the stream closes.
#![allow(unsafe_code, reason = "io_uring reads and writes our memory")]

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode, types};
use nix::sys::eventfd::{EfdFlags, EventFd};
use v2m_engine::ring::wake::mask;
use v2m_engine::ring::{Reader, Waited};
use v2m_engine::{Error, Result};

use crate::engine::{Engine, generation, lock};

/// How often the helper thread looks whether the engine is still there.
const SLICE: Duration = Duration::from_millis(200);

/// One of the two ways, for one ring.
#[allow(
    clippy::large_enum_variant,
    reason = "one for each stream, behind an Arc"
)]
pub(crate) enum Waiter {
    Uring(Box<Uring>),
    Helper(Helper),
}

impl Waiter {
    /// io_uring where the kernel can wait for a futex by it (Linux 6.7) and lets
    /// us, and `V2M_ENGINE_NO_IO_URING` isn't set; else a thread.
    pub(crate) fn new(engine: &Arc<Engine>) -> Result<Self> {
        let refused = std::env::var_os("V2M_ENGINE_NO_IO_URING").is_some_and(|v| !v.is_empty());
        match uring_works() && !refused {
            true => Uring::new(engine).map(Box::new).map(Self::Uring),
            false => Helper::new(engine).map(Self::Helper),
        }
    }

    /// Readable after a wake-up, until [`drain`](Self::drain).
    pub(crate) fn descriptor(&self) -> RawFd {
        match self {
            Self::Uring(uring) => uring.bell.as_raw_fd(),
            Self::Helper(helper) => helper.shared.bell.as_raw_fd(),
        }
    }

    /// Asks for one wake-up once the word differs from `ticket`. A wake-up that
    /// was asked for before and has not come yet serves as well: it comes when
    /// the word changes from an earlier ticket.
    pub(crate) fn arm(&self, ticket: u32) -> Result<()> {
        match self {
            Self::Uring(uring) => uring.arm(ticket),
            Self::Helper(helper) => {
                helper.arm(ticket);
                Ok(())
            }
        }
    }

    /// The wake-up that was asked for has come: the next one may be asked for, before
    /// [`drain`](Self::drain) takes the time to make sure.
    pub(crate) fn came(&self) {
        if let Self::Uring(uring) = self {
            lock(&uring.rings).armed = false;
        }
    }

    /// Takes note of the wake-ups so far. One that comes meanwhile may be among them.
    pub(crate) fn drain(&self) {
        match self {
            Self::Uring(uring) => uring.drain(),
            Self::Helper(helper) => helper.drain(),
        }
    }

    /// Makes the descriptor readable. From any thread.
    pub(crate) fn wake(&self) {
        match self {
            Self::Uring(uring) => uring.wake(),
            Self::Helper(helper) => helper.shared.ring_bell(),
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
pub(crate) struct Uring {
    rings: Mutex<Rings>,
    /// Rings with every completion, and when the stream closes.
    bell: EventFd,
    /// Keeps the memory that the kernel was given an address in.
    memory: Arc<Reader>,
    engine: Weak<Engine>,
    generation: u32,
}

struct Rings {
    uring: IoUring,
    /// Nobody else may submit to it.
    thread: ThreadId,
    /// The next wake-up is asked for.
    armed: bool,
    /// Futex waits under way: a second one only where one was taken for done.
    waits: u32,
    /// So is a poll for the engine's hang-up.
    watching: bool,
}

const FUTEX: u64 = 1;
const HANG_UP: u64 = 2;
/// From <linux/futex.h>: a 32-bit futex that other processes share.
const FUTEX2_SIZE_U32: u32 = 2;
/// From <linux/io_uring.h>: have completions happen.
const GET_EVENTS: u32 = 1;

impl Uring {
    fn new(engine: &Arc<Engine>) -> Result<Self> {
        let bell = new_bell()?;
        Ok(Self {
            rings: Mutex::new(Rings::new(&bell)?),
            bell,
            memory: engine.ring.clone(),
            engine: Arc::downgrade(engine),
            generation: generation(),
        })
    }

    fn arm(&self, ticket: u32) -> Result<()> {
        let mut rings = lock(&self.rings);
        rings.move_here(&self.bell)?;
        let wait = opcode::FutexWait::new(
            self.memory.wake_address(),
            ticket.into(),
            mask(ticket).into(),
            FUTEX2_SIZE_U32,
        );
        let wait = wait.build().user_data(FUTEX);
        if !rings.watching
            && let Some(engine) = self.engine.upgrade()
            && let Some(socket) = engine.socket()
        {
            let poll = opcode::PollAdd::new(types::Fd(socket), libc::POLLRDHUP as u32);
            rings.enter(Some(&poll.build().user_data(HANG_UP)))?;
            rings.watching = true;
        }
        if !rings.armed {
            // With two of them under way, they do.
            if rings.waits < 2 {
                rings.enter(Some(&wait))?;
                rings.waits += 1;
            }
            rings.armed = true;
            self.look(&mut rings);
        }
        Ok(())
    }

    fn drain(&self) {
        let mut rings = lock(&self.rings);
        // What fails here fails again when armed, and is told then.
        let mut look = || {
            if rings.move_here(&self.bell).is_ok() && rings.enter(None).is_ok() {
                self.look(&mut rings);
            }
        };
        // Looking rings the bell once more, so it is silenced afterwards; and what
        // completed in between has rung in vain.
        look();
        let _ = self.bell.read();
        look();
    }

    /// Takes note of what has completed.
    fn look(&self, rings: &mut Rings) {
        let Rings {
            uring,
            armed,
            waits,
            watching,
            ..
        } = rings;
        for done in uring.completion() {
            match done.user_data() {
                FUTEX => {
                    *waits = waits.saturating_sub(1);
                    *armed &= *waits > 0;
                }
                HANG_UP => {
                    *watching = false;
                    if let Some(engine) = self.engine.upgrade() {
                        engine.check();
                    }
                }
                _ => {}
            }
        }
    }

    fn wake(&self) {
        // In a forked child the bell is the parent's too.
        if self.generation == generation() {
            let _ = self.bell.write(1);
        }
    }
}

impl Rings {
    fn new(bell: &EventFd) -> Result<Self> {
        let refused = |cause| Error::system("cannot set up io_uring", cause);
        let uring = deferred().map_err(refused)?;
        let register = uring.submitter().register_eventfd(bell.as_raw_fd());
        register.map_err(refused)?;
        Ok(Self {
            uring,
            thread: thread::current().id(),
            armed: false,
            waits: 0,
            watching: false,
        })
    }

    /// The event loop may have moved to another thread: then so do we.
    fn move_here(&mut self, bell: &EventFd) -> Result<()> {
        if self.thread != thread::current().id() {
            *self = Self::new(bell)?;
        }
        Ok(())
    }

    /// Submits an entry, if there is one, and has completions happen.
    fn enter(&mut self, entry: Option<&io_uring::squeue::Entry>) -> Result<()> {
        if let Some(entry) = entry {
            // SAFETY: the entries made here refer to the ring's wake word and the
            // engine's socket. `Uring::memory` keeps the word's map until after the
            // rings are closed (fields drop in order); the kernel takes its own
            // reference of the socket, and a number closed meanwhile is only an error.
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

fn new_bell() -> Result<EventFd> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|cause| Error::system("cannot make an eventfd", cause))
}

/// Waits on a thread that rings an eventfd, where io_uring can't.
pub(crate) struct Helper {
    shared: Arc<Shared>,
}

struct Shared {
    bell: EventFd,
    ring: Arc<Reader>,
    engine: Weak<Engine>,
    /// The ticket to wait from.
    asked: Mutex<Option<u32>>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Helper {
    fn new(engine: &Arc<Engine>) -> Result<Self> {
        let bell = new_bell()?;
        let shared = Arc::new(Shared {
            bell,
            ring: engine.ring.clone(),
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

    fn drain(&self) {
        let _ = self.shared.bell.read();
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

impl Shared {
    fn ring_bell(&self) {
        // Full means that it rings already.
        let _ = self.bell.write(1);
    }

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
            self.ring_bell();
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
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}
