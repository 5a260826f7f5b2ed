//! Which engine a stream listens to: the user's service, or one that this
//! process starts and all its captures of the same source share.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use v2m_engine::bookmark::Bookmark;
use v2m_engine::connection::Connection;
use v2m_engine::latency::Latency;
use v2m_engine::ring::Reader;
use v2m_engine::status::Status;
use v2m_engine::{Error, ErrorKind, Result};

/// Locks; a panic elsewhere leaves nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether both are the same engine's.
pub(crate) fn is_same(engine: &Arc<Engine>, other: &Weak<Engine>) -> bool {
    std::ptr::eq(Arc::as_ptr(engine), other.as_ptr())
}

/// Which engine is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Auto,
    Service,
    Private,
}

/// What a capture asks of its engine.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) mode: Mode,
    pub(crate) source: Option<String>,
    pub(crate) latency: Option<Latency>,
    /// Where the engine's program may lie, beside `$V2M_ENGINE_BIN` and `$PATH`.
    pub(crate) places: Vec<PathBuf>,
    /// The directory of this Python's onnxruntime, which a private engine may use.
    pub(crate) onnxruntime: Option<PathBuf>,
}

/// A connected engine and its ring. The ring outlives it.
#[derive(Debug)]
pub(crate) struct Engine {
    /// None in a forked child: the connection is its parent's.
    connection: Mutex<Option<Connection>>,
    pub(crate) ring: Arc<Reader>,
    /// Where it is noted how far this process has read.
    pub(crate) bookmark: Option<Arc<Bookmark>>,
    /// What it captures, as its configuration says.
    pub(crate) source: String,
    pub(crate) private: bool,
    lost: AtomicBool,
}

impl Engine {
    fn open(mut connection: Connection, latency: Option<Latency>) -> Result<Arc<Self>> {
        let (ring, source) = connection.open(latency)?;
        let private = connection.private_pid().is_some();
        Ok(Arc::new(Self {
            bookmark: connection.bookmark(),
            connection: Mutex::new(Some(connection)),
            ring: Arc::new(ring),
            source,
            private,
            lost: AtomicBool::new(false),
        }))
    }

    /// Whether the connection has ended, as far as was noticed.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Looks whether the connection has ended.
    pub(crate) fn check(&self) -> bool {
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
        if let Some(bookmark) = &self.bookmark {
            bookmark.reached(position);
        }
    }

    /// Process id of the engine, if it is private.
    pub(crate) fn private_pid(&self) -> Option<u32> {
        lock(&self.connection).as_ref()?.private_pid()
    }

    /// How it is, if it answers. Blocks.
    pub(crate) fn status(&self) -> Option<Status> {
        lock(&self.connection).as_mut()?.status().ok()
    }

    /// How it is, if it answers within `limit`. Blocks.
    pub(crate) fn status_within(&self, limit: Duration) -> Result<Status> {
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

    /// Why no audio comes, in the engine's own words.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        self.status()?.source.waiting
    }
}

/// An engine of this process.
#[derive(Debug)]
struct Known {
    engine: Weak<Engine>,
    /// What a private engine was started for.
    source: Option<String>,
    latency: Option<Latency>,
}

/// All of this process's engines, the services' connections included.
static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());
/// Held while a private engine is looked for and started, so that only one is.
static STARTING: Mutex<()> = Mutex::new(());
/// Grows with every fork: what was opened in the parent isn't the child's.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Tells the processes of a family of forks apart.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Acquire)
}

/// In a forked child: lets go of the parent's engines without ending them.
pub(crate) fn forked() {
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

impl Wish {
    /// Connects to the engine that is wished for, or starts it. Blocks.
    pub(crate) fn connect(&self) -> Result<Arc<Engine>> {
        match self.mode {
            Mode::Service => self.service(),
            Mode::Private => self.private(),
            Mode::Auto => match self.service() {
                Err(error) if error.kind() == ErrorKind::Unavailable => self
                    .private()
                    .map_err(|other| other.context(format!("{error}; a private one"))),
                result => result,
            },
        }
    }

    /// The same wish, bound to the kind of engine that it was fulfilled by.
    pub(crate) fn like(&self, engine: &Engine) -> Self {
        let mode = match engine.private {
            true => Mode::Private,
            false => Mode::Service,
        };
        Self {
            mode,
            ..self.clone()
        }
    }

    pub(crate) fn is_private(&self) -> bool {
        self.mode == Mode::Private
    }

    fn service(&self) -> Result<Arc<Engine>> {
        let engine = Engine::open(Connection::service()?, self.latency)?;
        if let Some(source) = self
            .source
            .as_ref()
            .filter(|asked| **asked != engine.source)
        {
            let message = format!(
                "the service captures {}, not {source}: configure it so, or ask for a private engine",
                engine.source
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        self.remember(&engine, None);
        Ok(engine)
    }

    fn private(&self) -> Result<Arc<Engine>> {
        let _starting = lock(&STARTING);
        if let Some(engine) = self.shared() {
            return Ok(engine);
        }
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(source) = &self.source {
            arguments.extend(["--source".into(), source.into()]);
        }
        if let Some(directory) = &self.onnxruntime {
            arguments.extend(["--python-onnxruntime".into(), directory.into()]);
        }
        // The one in the wheel needs libraries of the system; another may come
        // from a package that brought them.
        let mut failed = None;
        for program in self.programs()? {
            let connection = Connection::private(&program, &arguments)?;
            match Engine::open(connection, self.latency) {
                Ok(engine) => {
                    self.remember(&engine, self.latency);
                    return Ok(engine);
                }
                Err(error) if error.kind() == ErrorKind::System => {
                    let what = format!("cannot start {}", program.display());
                    failed.get_or_insert(error.context(what));
                }
                Err(error) => return Err(error),
            }
        }
        let reason = failed.map(|error| error.to_string()).unwrap_or_default();
        Err(Error::new(ErrorKind::Unavailable, reason))
    }

    /// A private engine that captures the same already, asked to be as quick as
    /// its quickest capture.
    fn shared(&self) -> Option<Arc<Engine>> {
        let found = lock(&KNOWN).iter().find_map(|known| {
            let engine = known.engine.upgrade()?;
            let fits = engine.private && known.source == self.source && !engine.check();
            fits.then_some((engine, known.latency))
        });
        let (engine, latency) = found?;
        let asked = |latency: Option<Latency>| latency.unwrap_or(Latency::DEFAULT).ns();
        if asked(self.latency) < asked(latency) {
            lock(&engine.connection).as_mut()?.open(self.latency).ok()?;
            for known in lock(&KNOWN).iter_mut() {
                if known.engine.as_ptr() == Arc::as_ptr(&engine) {
                    known.latency = self.latency;
                }
            }
        }
        Some(engine)
    }

    fn remember(&self, engine: &Arc<Engine>, latency: Option<Latency>) {
        let mut known = lock(&KNOWN);
        known.retain(|known| known.engine.strong_count() > 0);
        known.push(Known {
            engine: Arc::downgrade(engine),
            source: self.source.clone(),
            latency,
        });
    }

    /// The engine's programs, in the order of preference; at least one.
    fn programs(&self) -> Result<Vec<PathBuf>> {
        let unavailable = |message: String| Error::new(ErrorKind::Unavailable, message);
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(program) = set("V2M_ENGINE_BIN").map(PathBuf::from) {
            return match is_program(&program) {
                true => Ok(vec![program]),
                false => Err(unavailable(format!(
                    "V2M_ENGINE_BIN is {}, which is not a program",
                    program.display()
                ))),
            };
        }
        let path = set("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|directory| directory.join("v2m-engine"));
        let mut programs: Vec<PathBuf> = Vec::new();
        for program in self.places.iter().cloned().chain(on_path) {
            if is_program(&program) && !programs.contains(&program) {
                programs.push(program);
            }
        }
        if programs.is_empty() {
            return Err(unavailable(
                "no v2m-engine program in the package, beside Python or on PATH: install it \
                 (a distribution's v2m-engine package, `pip install v2m-engine`, or \
                 `cargo install v2m-engine`) or set V2M_ENGINE_BIN"
                    .into(),
            ));
        }
        Ok(programs)
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
