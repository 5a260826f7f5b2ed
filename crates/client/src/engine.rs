//! A connected engine, and those that this process has.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use crate::connection::{Connection, Opened};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::Wanted;
use crate::quantum::Quantum;
use crate::reader_cursor::ReaderCursor;
use crate::ring::Reader;
use crate::status::Status;

/// From one question to the next while an engine starts.
const LOOK: Duration = Duration::from_millis(50);

/// Locks; a panic elsewhere leaves nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether both are the same engine's.
pub(crate) fn is_same(engine: &Arc<Engine>, other: &Weak<Engine>) -> bool {
    std::ptr::eq(Arc::as_ptr(engine), other.as_ptr())
}

/// A connected engine and the ring of one of its streams. The ring outlives it.
#[derive(Debug)]
pub struct Engine {
    /// None in a forked child: the connection is its parent's.
    connection: Mutex<Option<Connection>>,
    ring: Arc<Reader>,
    /// Where it is noted how far this process has read.
    reader_cursor: Option<Arc<ReaderCursor>>,
    source: String,
    channel: String,
    private: bool,
    lost: AtomicBool,
    /// Streams of this process that read its ring.
    streams: AtomicUsize,
}

impl Engine {
    pub(crate) fn open(
        mut connection: Connection,
        wanted: &Wanted,
        latency: Option<Quantum>,
        observe: bool,
    ) -> Result<Arc<Self>> {
        let Opened {
            ring,
            source,
            channel,
        } = connection.open_stream(wanted, latency, observe)?;
        let private = connection.private_pid().is_some();
        Ok(Arc::new(Self {
            reader_cursor: connection.reader_cursor(),
            connection: Mutex::new(Some(connection)),
            ring: Arc::new(ring),
            source,
            channel,
            private,
            lost: AtomicBool::new(false),
            streams: AtomicUsize::new(0),
        }))
    }

    /// Has one clock drive its source and those of the other streams for which this is
    /// called, where there is a choice. Blocks.
    pub(crate) fn together(&self) -> Result<()> {
        let own = |known: &&Known| std::ptr::eq(known.engine.as_ptr(), self);
        let known = lock(&KNOWN)
            .iter()
            .find(own)
            .map(|own| (own.wanted.clone(), own.latency));
        match (known, lock(&self.connection).as_mut()) {
            (Some((wanted, latency)), Some(connection)) => connection.together(&wanted, latency),
            _ => Ok(()),
        }
    }

    /// A stream begins to read its ring, or ends.
    pub(crate) fn count_stream(&self, begins: bool) {
        match begins {
            true => self.streams.fetch_add(1, Ordering::Relaxed),
            false => self.streams.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// Asks for another quantum of the graph for the one stream that reads its ring; not where
    /// several do. Blocks.
    pub(crate) fn ask_for(&self, wanted: &Wanted, latency: Option<Quantum>) {
        if self.streams.load(Ordering::Relaxed) > 1 {
            return;
        }
        let mut connection = lock(&self.connection);
        // An engine that is gone asks the graph for nothing.
        let _ = connection
            .as_mut()
            .map(|connection| connection.open_stream(wanted, latency, false));
    }

    /// Its ring, which outlives it.
    pub fn ring(&self) -> &Arc<Reader> {
        &self.ring
    }

    /// What is captured, as the engine says it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Which of its channels are heard, the same way.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Whether it is one of this process.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// Where it is noted how far this process has read.
    pub fn reader_cursor(&self) -> Option<Arc<ReaderCursor>> {
        self.reader_cursor.clone()
    }

    /// Whether the connection has ended, as far as was noticed.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Looks whether the connection has ended.
    pub fn check(&self) -> bool {
        // Locked: somebody talks with the engine just now, so it's there.
        if let Ok(connection) = self.connection.try_lock()
            && connection.as_ref().is_none_or(Connection::is_closed)
        {
            self.lost.store(true, Ordering::Release);
        }
        self.is_lost()
    }

    /// The connection's socket; for as long as `self` lives.
    pub(crate) fn socket(&self) -> Option<RawFd> {
        lock(&self.connection)
            .as_ref()
            .map(|connection| connection.descriptor().as_raw_fd())
    }

    /// Notes how far a stream has read, for the engine's status. Of several
    /// streams of a private engine the last one's word counts.
    #[inline]
    pub(crate) fn reached(&self, position: u64) {
        if let Some(reader_cursor) = &self.reader_cursor {
            reader_cursor.reached(position);
        }
    }

    /// Process id of the engine, if it is private.
    pub fn private_pid(&self) -> Option<u32> {
        lock(&self.connection).as_ref()?.private_pid()
    }

    /// How it is, if it answers. Blocks, for seconds where it hangs.
    pub fn status(&self) -> Option<Status> {
        lock(&self.connection).as_mut()?.status().ok()
    }

    /// How it is, if it answers within `limit`. Blocks.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`]: it doesn't; [`ErrorKind::Unavailable`]: it is gone.
    pub fn status_within(&self, limit: Duration) -> Result<Status> {
        let deadline = Instant::now() + limit;
        // Another thread may be waiting for an engine that hangs.
        let mut connection = loop {
            match self.connection.try_lock() {
                Ok(connection) => break connection,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    let message = "the engine does not answer";
                    return Err(Error::new(ErrorKind::Timeout, message));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let Some(connection) = connection.as_mut() else {
            let message = "the engine is the parent process's";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        connection.status_within(deadline.saturating_duration_since(Instant::now()))
    }

    /// Why what it is to capture isn't there, if it says so within `limit`. Blocks until that
    /// is known.
    pub fn missing_within(&self, limit: Duration) -> Option<String> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let status = self.status_within(left).ok()?;
            if status.source.missing.is_some() || status.source.linked.is_some() || left.is_zero() {
                return status.source.missing;
            }
            std::thread::sleep(LOOK.min(left));
        }
    }

    /// Why no audio comes, in the engine's own words.
    pub fn waiting_for(&self) -> Option<String> {
        self.status()?.source.waiting
    }
}

/// An engine of this process.
#[derive(Debug)]
struct Known {
    engine: Weak<Engine>,
    /// The stream that it was asked for.
    wanted: Wanted,
    latency: Option<Quantum>,
}

/// All of this process's engines, the services' connections included.
static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());
/// Held while a private engine is looked for and started, so that only one is.
pub(crate) static STARTING: Mutex<()> = Mutex::new(());
/// Grows with every fork: what was opened in the parent isn't the child's.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Tells the processes of a family of forks apart.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Acquire)
}

/// To be called in a forked child: lets go of the parent's engines without ending them.
pub fn forked() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    // Another of the parent's threads may have been inside a lock. Then it
    // stays locked and the connection open; the parent's engine watches the
    // parent's process as well.
    if let Ok(mut known) = KNOWN.try_lock() {
        for engine in known.drain(..).filter_map(|known| known.engine.upgrade()) {
            if let Ok(mut connection) = engine.connection.try_lock() {
                connection.take();
            }
            engine.lost.store(true, Ordering::Release);
        }
    }
}

/// This stream of a private engine of this process, which is asked to be as quick as its
/// quickest client; `None` without such an engine.
///
/// # Errors
/// The engine can't give the stream.
pub(crate) fn shared(
    wanted: &Wanted,
    latency: Option<Quantum>,
    observe: bool,
) -> Result<Option<Arc<Engine>>> {
    let mut others = Vec::new();
    let mut same = None;
    for known in lock(&KNOWN).iter() {
        let engine = known.engine.upgrade();
        let Some(engine) = engine.filter(|engine| engine.private && !engine.check()) else {
            continue;
        };
        if known.wanted == *wanted {
            same = Some((engine, known.latency));
        } else {
            others.push(engine);
        }
    }
    let asked = |latency: Option<Quantum>| latency.unwrap_or(Quantum::DEFAULT).ns();
    if let Some((engine, known)) = same {
        if asked(latency) < asked(known) {
            let mut connection = lock(&engine.connection);
            if let Some(connection) = connection.as_mut() {
                connection.open_stream(wanted, latency, false)?;
            }
            for known in lock(&KNOWN).iter_mut() {
                if known.engine.as_ptr() == Arc::as_ptr(&engine) {
                    known.latency = latency;
                }
            }
        }
        return Ok(Some(engine));
    }
    for other in others {
        let connection = lock(&other.connection).as_mut().map(Connection::another);
        if let Some(Ok(connection)) = connection {
            let engine = Engine::open(connection, wanted, latency, observe)?;
            remember(&engine, wanted, latency);
            return Ok(Some(engine));
        }
    }
    Ok(None)
}

/// Notes what `engine` was connected to for.
pub(crate) fn remember(engine: &Arc<Engine>, wanted: &Wanted, latency: Option<Quantum>) {
    let mut known = lock(&KNOWN);
    known.retain(|known| known.engine.strong_count() > 0);
    known.push(Known {
        engine: Arc::downgrade(engine),
        wanted: wanted.clone(),
        latency,
    });
}
