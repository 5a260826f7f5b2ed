//! A stream: windows of an engine's ring one after the other, from one engine to the next.
//!
//! No lock is held while a thread waits, except `connecting`, which is only taken to
//! connect.

mod session;
mod window;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use self::session::Session;
pub use self::window::Window;
use crate::cursor::{Cursor, Hop};
use crate::engine::{self, Engine, is_same, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::locator::Locator;
use crate::progress::{Poll, Source};
use crate::quantum::Quantum;
use crate::readiness::Readiness;
use crate::ring::Rate;

/// Audio as it arrives. Shared by those who read from it.
#[derive(Debug)]
pub struct Stream {
    locator: Locator,
    size: u64,
    hop: Hop,
    /// The longest time without any audio, or without an engine.
    timeout: Option<Duration>,
    generation: u32,
    /// The graph is asked for less, as only utterances are taken.
    relaxed: AtomicBool,
    closed: AtomicBool,
    /// The position at which it was closed.
    end: OnceLock<u64>,
    session: Mutex<Option<Session>>,
    /// Held while connecting, so that several threads do it once.
    connecting: Mutex<()>,
    /// What event loops wait by, if any do.
    readiness: Mutex<Weak<Readiness>>,
}

impl Stream {
    /// Windows of `size` samples, not open yet.
    pub fn new(locator: Locator, size: u64, hop: Hop, timeout: Option<Duration>) -> Self {
        Self {
            locator,
            size,
            hop,
            timeout,
            generation: engine::generation(),
            relaxed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            end: OnceLock::new(),
            session: Mutex::new(None),
            connecting: Mutex::new(()),
            readiness: Mutex::default(),
        }
    }

    /// Opens it at the newest audio of an engine, which is kept while it is open. Blocks.
    ///
    /// # Errors
    /// Those of [`Locator::connect`]; [`ErrorKind::Invalid`]: the window is too long for
    /// this engine; [`ErrorKind::NotOpen`]: it was opened before.
    pub fn open(&self) -> Result<Arc<Engine>> {
        self.check_own()?;
        let _connecting = lock(&self.connecting);
        let not_open = |message| Err(Error::new(ErrorKind::NotOpen, message));
        if self.is_closed() {
            return not_open("the stream is closed: make another");
        }
        if self.engine().is_some() {
            return not_open("the stream is open already");
        }
        let engine = self.locator.connect()?;
        self.begin(engine.clone(), false, None)?;
        Ok(engine)
    }

    fn begin(&self, engine: Arc<Engine>, broken: bool, lost_since: Option<Instant>) -> Result<()> {
        let size = self.size;
        let history = engine.ring().layout().history();
        if size > history / 2 {
            let message = format!(
                "buffer_size={size}: the engine keeps {history} samples, at most {} can be a buffer",
                history / 2
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        // Where nobody listened until now, the newest window is silence.
        let (committed, begin) = (engine.ring().committed(), engine.ring().unused_until());
        let cursor = if committed
            .checked_sub(size)
            .is_none_or(|newest| newest < begin)
        {
            Cursor::after(size, self.hop, begin.min(committed))
        } else {
            Cursor::new(size, self.hop, committed)
        };
        engine.count_stream(true);
        let session = Session {
            engine,
            entered: Some(cursor.done()),
            read: cursor.done(),
            cursor,
            broken,
            lost_since,
        };
        let before = lock(&self.session).replace(session);
        drop(before);
        if self.is_closed() {
            self.release();
        }
        Ok(())
    }

    /// Only utterances are taken from it, which costs the others in the graph less, unless a
    /// quantum was asked for. Until a window is taken. Blocks.
    pub(crate) fn relax(&self) {
        let asked = self.locator.latency.is_some() || self.locator.observe;
        if let Some(engine) = self.engine().filter(|_| !asked && self.hop != Hop::Quantum) {
            engine.ask_for(&self.locator.wanted(), Some(Quantum::RELAXED));
            self.relaxed.store(true, Ordering::Relaxed);
        }
    }

    /// Windows are taken, and wanted soon.
    #[inline]
    fn hurry(&self) {
        if self.relaxed.load(Ordering::Relaxed)
            && self.relaxed.swap(false, Ordering::Relaxed)
            && let Some(engine) = self.engine()
        {
            engine.ask_for(&self.locator.wanted(), None);
        }
    }

    /// Whether this process opened it: a forked child has to open streams of its own.
    pub fn is_own(&self) -> bool {
        self.generation == engine::generation()
    }

    /// # Errors
    /// [`ErrorKind::NotOpen`]: another process opened it.
    pub fn check_own(&self) -> Result<()> {
        if self.is_own() {
            return Ok(());
        }
        let message = "the stream belongs to the parent process: open one after the fork";
        Err(Error::new(ErrorKind::NotOpen, message))
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Samples of a window.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// From one window to the next.
    pub fn hop(&self) -> Hop {
        self.hop
    }

    /// The longest time without any audio, or without an engine. None: for ever.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Of the samples.
    pub fn rate(&self) -> Rate {
        self.locator.rate
    }

    /// The engine that it reads now; None if it isn't open.
    pub fn engine(&self) -> Option<Arc<Engine>> {
        lock(&self.session)
            .as_ref()
            .map(|session| session.engine.clone())
    }

    /// Samples that the engine has written; 0 without one.
    pub fn committed(&self) -> u64 {
        self.engine().map_or(0, |engine| engine.ring().committed())
    }

    /// What event loops wait by; the same for as long as somebody holds it.
    ///
    /// # Errors
    /// [`ErrorKind::System`]: no descriptor is left.
    pub fn readiness(&self) -> Result<Arc<Readiness>> {
        let mut known = lock(&self.readiness);
        if let Some(readiness) = known.upgrade() {
            return Ok(readiness);
        }
        let readiness = Arc::new(Readiness::new()?);
        *known = Arc::downgrade(&readiness);
        Ok(readiness)
    }

    /// Asks for one wake-up when anything changes from now on: poll afterwards, and
    /// nothing is missed.
    ///
    /// # Errors
    /// [`ErrorKind::System`]: the kernel refuses.
    pub fn arm(&self, readiness: &Readiness) -> Result<()> {
        match self.engine() {
            Some(engine) => readiness.arm_for(&engine),
            None => Ok(()),
        }
    }

    /// The engine, and from which position on to listen to it: where the stream was
    /// entered or, once something was taken from it, its newest window. Whatever
    /// begins there stays readable for a while.
    pub(crate) fn place(&self) -> Option<(Arc<Engine>, u64)> {
        let session = lock(&self.session);
        let session = session.as_ref()?;
        let ring = session.engine.ring();
        let committed = ring.committed();
        let newest = committed.saturating_sub(self.size);
        let earliest = committed.saturating_sub(ring.layout().history() / 2);
        let position = session.entered.unwrap_or(newest).max(earliest);
        Some((session.engine.clone(), position))
    }

    /// Something was taken from `engine`'s ring.
    pub(crate) fn took(&self, engine: &Weak<Engine>) {
        self.with(engine, Session::took);
    }

    /// Audio comes from `engine`: it stands in well for one that was lost.
    pub(crate) fn heard(&self, engine: &Weak<Engine>) {
        self.with(engine, |session| session.lost_since = None);
    }

    fn with(&self, engine: &Weak<Engine>, change: impl FnOnce(&mut Session)) {
        if let Some(session) = lock(&self.session).as_mut()
            && is_same(&session.engine, engine)
        {
            change(session);
        }
    }

    /// The next `count` samples after those of the piece before, or why there are none; what
    /// is left of an engine that ended is a shorter piece.
    pub(crate) fn piece(&self, count: u64) -> Result<Poll<Window>> {
        self.hurry();
        match lock(&self.session).as_mut() {
            Some(session) if !self.is_closed() => session.piece(count),
            _ => Ok(Poll::Ended),
        }
    }

    /// Whether there is no piece of `count` samples yet, and nothing to tell.
    pub(crate) fn is_piece_pending(&self, count: u64) -> bool {
        match lock(&self.session).as_ref() {
            Some(session) if !self.is_closed() => {
                let due = session.read.saturating_add(count);
                matches!(session.state_until::<Window>(due), Some(Poll::Pending))
            }
            _ => false,
        }
    }

    /// The newest window; None before it is full.
    ///
    /// # Errors
    /// [`ErrorKind::Overrun`]: it was overwritten meanwhile.
    pub fn latest(&self) -> Result<Option<Window>> {
        let Some(engine) = self.engine() else {
            return Ok(None);
        };
        let Some(position) = engine.ring().committed().checked_sub(self.size) else {
            return Ok(None);
        };
        engine.reached(position + self.size);
        Window::new(engine.ring(), position, self.size).map(Some)
    }

    /// After the wait for the first window: is it there, or on its way?
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the engine is gone, or the stream closed;
    /// [`ErrorKind::Device`]: the source ended before.
    pub fn check_first(&self) -> Result<()> {
        let session = lock(&self.session);
        let Some(session) = session.as_ref() else {
            let message = "the stream was closed meanwhile";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let (kind, message) = match session.state::<Window>() {
            Some(Poll::EngineLost) => (
                ErrorKind::Unavailable,
                "the engine ended before it gave a full buffer".into(),
            ),
            Some(Poll::Ended) => (
                ErrorKind::Device,
                format!(
                    "{} ended after {} samples, less than the buffer of {}",
                    session.engine.source(),
                    session.engine.ring().committed(),
                    self.size,
                ),
            ),
            _ => return Ok(()),
        };
        Err(Error::new(kind, message))
    }

    /// Why no audio came for as long as `timeout`. Asks the engine, which may block.
    pub fn stalled(&self) -> Error {
        let Some(engine) = self.engine() else {
            return Error::new(ErrorKind::Unavailable, "the stream is not open");
        };
        let seconds = self.timeout.unwrap_or_default().as_secs_f64();
        let reason = engine
            .waiting_for()
            .unwrap_or_else(|| "`v2m-engine status` may say why".into());
        let message = format!(
            "no audio from {} for {seconds} s: {reason}",
            engine.source()
        );
        Error::new(ErrorKind::Device, message)
    }

    /// That so many samples were overwritten before they were read.
    pub fn overrun(&self, lost: u64) -> Error {
        let kept = self.engine().map(|engine| engine.ring().layout().history());
        let message = format!(
            "{lost} samples were overwritten before they were read: \
             the reader was behind by more than the {} samples of history",
            kept.unwrap_or_default()
        );
        Error::new(ErrorKind::Overrun, message)
    }

    /// Closes it, from any thread: those who wait look again.
    pub fn close(&self) {
        // In a forked child: nothing here is ours, a lock may be held for ever.
        if !self.is_own() {
            self.closed.store(true, Ordering::Release);
            return;
        }
        // Before it is closed: whoever finds it so finds its end as well.
        self.end.get_or_init(|| self.committed());
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.wake();
            self.release();
        }
    }

    /// Where it ended, once it is closed.
    pub(crate) fn end(&self) -> Option<u64> {
        self.end.get().copied().filter(|_| self.is_closed())
    }

    /// Has those who wait look again.
    pub(crate) fn wake(&self) {
        if let Some(engine) = self.engine() {
            engine.ring().nudge();
        }
        if let Some(readiness) = lock(&self.readiness).upgrade() {
            readiness.notify();
        }
    }

    fn release(&self) {
        let session = lock(&self.session).take();
        drop(session);
    }
}

impl Source for Stream {
    type Item = Window;

    fn poll(&self) -> Result<Poll<Window>> {
        self.hurry();
        match lock(&self.session).as_mut() {
            Some(session) if !self.is_closed() => session.next(self.size),
            _ => Ok(Poll::Ended),
        }
    }

    #[inline]
    fn is_pending(&self) -> bool {
        match lock(&self.session).as_ref() {
            Some(session) if !self.is_closed() => {
                matches!(session.state::<Window>(), Some(Poll::Pending))
            }
            _ => false,
        }
    }

    fn stream(&self) -> &Stream {
        self
    }

    fn recover(&self) -> Result<bool> {
        let _connecting = lock(&self.connecting);
        let (locator, since) = {
            let mut session = lock(&self.session);
            let Some(session) = session.as_mut().filter(|_| !self.is_closed()) else {
                return Ok(true);
            };
            if !session.is_lost() {
                return Ok(true);
            }
            if session.engine.is_private() && session.lost_since.is_some() {
                let message = "the private engine ended, and so did the one started instead, \
                    before it gave any audio";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            let since = *session.lost_since.get_or_insert_with(Instant::now);
            (self.locator.like(&session.engine), since)
        };
        let result = locator
            .connect_again()
            .and_then(|engine| self.begin(engine, true, Some(since)));
        let late = self.timeout.is_some_and(|limit| since.elapsed() >= limit);
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                if late || locator.is_private() {
                    Err(error.context("the engine is gone"))
                } else {
                    Ok(false)
                }
            }
            Err(error) => Err(error),
        }
    }
}
