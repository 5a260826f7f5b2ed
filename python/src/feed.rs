//! What is behind a stream: its engine, its place in the ring, waiting for
//! audio, and connecting again when the engine is gone. What else reads the ring
//! on the stream's behalf ([`Awaited`]) waits and connects by it.
//!
//! No lock is held while Python runs or a thread waits, except `connecting`,
//! which is only taken without the GIL.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use v2m_engine::ErrorKind;
use v2m_engine::ring::{State, Waited};

use crate::capture::Settings;
use crate::chunk::AudioChunk;
use crate::cursor::{Cursor, Hop, Step};
use crate::engine::{self, Engine, is_same, lock};
use crate::errors::{self, DeviceError, EngineUnavailableError, V2MError};
use crate::readiness::Readiness;

/// How often a wait looks whether the engine is still there.
const SLICE: Duration = Duration::from_millis(200);
/// From one attempt to connect again to the next.
const RETRY: Duration = Duration::from_millis(100);

/// What a stream shares with whatever wakes it.
pub(crate) struct Feed {
    settings: Settings,
    hop: Hop,
    /// The longest time without any audio.
    timeout: Option<Duration>,
    generation: u32,
    closed: AtomicBool,
    opened: Mutex<Option<Opened>>,
    /// Held while connecting again, so that several threads do it once.
    connecting: Mutex<()>,
    /// What event loops wait by, if any do.
    readiness: Mutex<Weak<Readiness>>,
}

/// The engine and ring that a stream reads now.
struct Opened {
    engine: Arc<Engine>,
    cursor: Cursor,
    /// Where the stream was entered; forgotten once anything was taken from it.
    entered: Option<u64>,
    /// The next chunk does not follow on the one before.
    broken: bool,
    /// When the engine was lost for which this one, or the next, stands in;
    /// forgotten once audio came.
    lost_since: Option<Instant>,
}

/// What a look at the ring says.
pub(crate) enum Look {
    /// There is something to take, or nothing to wait for: take it.
    Ready,
    /// Nothing yet.
    Wait,
    /// Closed, or the source has ended.
    Over,
    /// The engine is gone.
    Lost,
    /// Audio comes, but no speech detection: time to ask why.
    Deaf,
}

/// Something that a stream's thread or task can wait for.
pub(crate) trait Awaited: Send + Sync {
    /// What it reads by.
    fn feed(&self) -> &Feed;

    fn look(&self) -> Look;

    /// Waits until there is something to take or nothing to wait for.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            match py.detach(|| self.blocked()) {
                Waited::Changed => return Ok(()),
                Waited::Interrupted => py.check_signals()?,
                Waited::TimedOut => return Err(self.feed().stalled(py)),
            }
        }
    }

    fn blocked(&self) -> Waited {
        let Some(engine) = self.feed().current() else {
            return Waited::Changed;
        };
        let ring = &engine.ring;
        let mut progress = (ring.committed(), Instant::now());
        loop {
            let ticket = ring.ticket();
            if !matches!(self.look(), Look::Wait) {
                return Waited::Changed;
            }
            match ring.wait(ticket, SLICE) {
                Waited::Changed => {}
                Waited::Interrupted => return Waited::Interrupted,
                Waited::TimedOut => {
                    engine.check();
                    let now = self.feed().current();
                    if now.is_none_or(|now| !Arc::ptr_eq(&now, &engine)) {
                        return Waited::Changed;
                    }
                    let committed = ring.committed();
                    let timeout = self.feed().timeout;
                    if committed != progress.0 {
                        progress = (committed, Instant::now());
                    } else if timeout.is_some_and(|t| progress.1.elapsed() >= t) {
                        return Waited::TimedOut;
                    }
                }
            }
        }
    }
}

impl Awaited for Feed {
    fn feed(&self) -> &Feed {
        self
    }

    fn look(&self) -> Look {
        let opened = lock(&self.opened);
        let Some(opened) = opened.as_ref().filter(|_| !self.is_closed()) else {
            return Look::Over;
        };
        let ring = &opened.engine.ring;
        // Before the count: once it says that no more comes, the count is final.
        let state = ring.state();
        let due = opened.cursor.due();
        if ring.committed() >= due {
            Look::Ready
        } else if state == State::Ended {
            Look::Over
        } else if state == State::Stopped || opened.engine.is_lost() {
            Look::Lost
        } else {
            Look::Wait
        }
    }
}

/// Why there is no chunk or segment.
pub(crate) enum Behind {
    Overrun { lost: u64, history: u64 },
    Other(v2m_engine::Error),
}

impl Behind {
    pub(crate) fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Overrun { lost, history } => {
                let message = format!(
                    "{lost} samples were overwritten before they were read: \
                     the reader was behind by more than the {history} samples of history"
                );
                errors::overrun(py, lost, message)
            }
            Self::Other(error) => errors::raise(error),
        }
    }
}

impl Opened {
    fn took(&mut self) {
        self.lost_since = None;
        self.entered = None;
    }
}

impl Feed {
    pub(crate) fn new(settings: Settings, hop: Hop, timeout: Option<Duration>) -> Self {
        Self {
            settings,
            hop,
            timeout,
            generation: engine::generation(),
            closed: AtomicBool::new(false),
            opened: Mutex::new(None),
            connecting: Mutex::new(()),
            readiness: Mutex::default(),
        }
    }

    /// The engine of an open stream; says why if it isn't one.
    pub(crate) fn engine(&self) -> PyResult<Arc<Engine>> {
        self.own()?;
        if self.is_closed() {
            return Err(V2MError::new_err("the stream is closed"));
        }
        self.current().ok_or_else(|| {
            V2MError::new_err("the stream is not open: use it with `with` or `async with`")
        })
    }

    /// A forked child has to open streams of its own.
    pub(crate) fn own(&self) -> PyResult<()> {
        match self.generation == engine::generation() {
            true => Ok(()),
            false => Err(V2MError::new_err(
                "the stream belongs to the process that opened it: open one after the fork",
            )),
        }
    }

    /// Whether it may be iterated; when it was closed, the iteration is over.
    pub(crate) fn entered(&self) -> PyResult<()> {
        match self.is_closed() {
            true => Ok(()),
            false => self.engine().map(drop),
        }
    }

    pub(crate) fn buffer_size(&self) -> u64 {
        self.settings.buffer_size
    }

    pub(crate) fn hop(&self) -> Hop {
        self.hop
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// When the newest audio was written; 0 without any.
    pub(crate) fn written_ns(&self) -> i64 {
        self.current().map_or(0, |engine| engine.ring.written_ns())
    }

    pub(crate) fn current(&self) -> Option<Arc<Engine>> {
        lock(&self.opened)
            .as_ref()
            .map(|opened| opened.engine.clone())
    }

    /// The engine, and from which position on to listen to it: where the stream was
    /// entered or, once something was taken from it, its newest window. Whatever
    /// begins there stays readable for a while.
    pub(crate) fn place(&self) -> Option<(Arc<Engine>, u64)> {
        let opened = lock(&self.opened);
        let opened = opened.as_ref()?;
        let ring = &opened.engine.ring;
        let committed = ring.committed();
        let newest = committed.saturating_sub(self.buffer_size());
        let earliest = committed.saturating_sub(ring.layout().history() / 2);
        let position = opened.entered.unwrap_or(newest).max(earliest);
        Some((opened.engine.clone(), position))
    }

    /// Something was taken from `engine`'s ring.
    pub(crate) fn took(&self, engine: &Weak<Engine>) {
        self.with(engine, Opened::took);
    }

    /// Audio comes from `engine`: it stands in well for one that was lost.
    pub(crate) fn heard(&self, engine: &Weak<Engine>) {
        self.with(engine, |opened| opened.lost_since = None);
    }

    fn with(&self, engine: &Weak<Engine>, change: impl FnOnce(&mut Opened)) {
        if let Some(opened) = lock(&self.opened).as_mut()
            && is_same(&opened.engine, engine)
        {
            change(opened);
        }
    }

    /// The newest window.
    pub(crate) fn latest(&self) -> PyResult<AudioChunk> {
        let engine = self.engine()?;
        let ring = &engine.ring;
        let size = self.buffer_size();
        match ring.committed().checked_sub(size) {
            Some(position) => {
                engine.reached(position + size);
                AudioChunk::new(ring, position, size).map_err(errors::raise)
            }
            None => Err(V2MError::new_err(format!(
                "the buffer of {size} samples is not full yet"
            ))),
        }
    }

    /// What event loops wait by; the same for as long as somebody holds it.
    pub(crate) fn readiness(&self) -> v2m_engine::Result<Arc<Readiness>> {
        let mut known = lock(&self.readiness);
        if let Some(readiness) = known.upgrade() {
            return Ok(readiness);
        }
        let readiness = Arc::new(Readiness::new()?);
        *known = Arc::downgrade(&readiness);
        Ok(readiness)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The next chunk, if there is one.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Option<AudioChunk>> {
        self.own()?;
        self.advance().map_err(|behind| behind.raise(py))
    }

    fn advance(&self) -> Result<Option<AudioChunk>, Behind> {
        let mut opened = lock(&self.opened);
        let Some(opened) = opened.as_mut().filter(|_| !self.is_closed()) else {
            return Ok(None);
        };
        let ring = &opened.engine.ring;
        loop {
            let before = opened.cursor.clone();
            let position = match opened.cursor.step(ring.committed(), ring.oldest()) {
                Step::Window(position) => position,
                Step::Wait => return Ok(None),
                Step::Overrun(lost) => {
                    let history = ring.layout().history();
                    return Err(Behind::Overrun { lost, history });
                }
            };
            match AudioChunk::new(ring, position, self.buffer_size()) {
                Ok(chunk) => {
                    opened.took();
                    opened.engine.reached(opened.cursor.done());
                    return Ok(Some(match std::mem::take(&mut opened.broken) {
                        true => chunk.after_gap(),
                        false => chunk,
                    }));
                }
                // Overwritten just now: the next step counts it.
                Err(error) if error.kind() == ErrorKind::Overrun => opened.cursor = before,
                Err(error) => return Err(Behind::Other(error)),
            }
        }
    }

    /// Opens the stream at the newest audio of an engine.
    pub(crate) fn open(&self) -> v2m_engine::Result<()> {
        let engine = self.settings.connect(&self.settings.wish)?;
        self.begin(engine, false, None)
    }

    fn begin(
        &self,
        engine: Arc<Engine>,
        broken: bool,
        lost_since: Option<Instant>,
    ) -> v2m_engine::Result<()> {
        let size = self.settings.buffer_size;
        let history = engine.ring.layout().history();
        if size > history / 2 {
            let message = format!(
                "buffer_size={size}: the engine keeps {history} samples, at most {} can be a buffer",
                history / 2
            );
            return Err(v2m_engine::Error::new(ErrorKind::Invalid, message));
        }
        // Where nobody listened until now, the newest window is silence.
        let (committed, begin) = (engine.ring.committed(), engine.ring.unused_until());
        let cursor = match committed < begin + size {
            true => Cursor::after(size, self.hop, begin),
            false => Cursor::new(size, self.hop, committed),
        };
        let opened = Opened {
            engine,
            entered: Some(cursor.done()),
            cursor,
            broken,
            lost_since,
        };
        let before = lock(&self.opened).replace(opened);
        drop(before);
        if self.is_closed() {
            self.release();
        }
        Ok(())
    }

    /// One attempt to go on after the engine was lost. False: try again.
    pub(crate) fn reconnect(&self) -> PyResult<bool> {
        let _connecting = lock(&self.connecting);
        let (wish, since) = {
            let mut opened = lock(&self.opened);
            let Some(opened) = opened.as_mut().filter(|_| !self.is_closed()) else {
                return Ok(true);
            };
            if opened.engine.ring.state() != State::Stopped && !opened.engine.is_lost() {
                return Ok(true);
            }
            let second = opened.engine.private && opened.lost_since.is_some();
            if second {
                return Err(EngineUnavailableError::new_err(
                    "the private engine ended, and so did the one started instead, before it gave any audio",
                ));
            }
            let since = *opened.lost_since.get_or_insert_with(Instant::now);
            (self.settings.wish.like(&opened.engine), since)
        };
        let result = self
            .settings
            .connect(&wish)
            .and_then(|engine| self.begin(engine, true, Some(since)));
        let late = self.timeout.is_some_and(|limit| since.elapsed() >= limit);
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                match late || wish.is_private() {
                    true => Err(errors::raise(error.context("the engine is gone"))),
                    false => Ok(false),
                }
            }
            Err(error) => Err(errors::raise(error)),
        }
    }

    /// Connects again after the engine was lost, as often as time allows.
    pub(crate) fn recover(&self, py: Python<'_>) -> PyResult<()> {
        while !py.detach(|| self.reconnect())? {
            py.detach(|| std::thread::sleep(RETRY));
            py.check_signals()?;
        }
        Ok(())
    }

    /// Why no audio came for as long as `timeout`.
    pub(crate) fn stalled(&self, py: Python<'_>) -> PyErr {
        let engine = match self.engine() {
            Ok(engine) => engine,
            Err(error) => return error,
        };
        let seconds = self.timeout.unwrap_or_default().as_secs_f64();
        let reason = py.detach(|| engine.waiting_for());
        let reason = reason.unwrap_or_else(|| "`v2m-engine status` may say why".into());
        DeviceError::new_err(format!(
            "no audio from {} for {seconds} s: {reason}",
            engine.source
        ))
    }

    pub(crate) fn close(&self) {
        let closed_before = self.closed.swap(true, Ordering::AcqRel);
        // In a forked child: nothing here is ours, a lock may be held for ever.
        if closed_before || self.own().is_err() {
            return;
        }
        if let Some(engine) = self.current() {
            engine.ring.nudge();
        }
        if let Some(readiness) = lock(&self.readiness).upgrade() {
            readiness.notify();
        }
        self.release();
    }

    fn release(&self) {
        let opened = lock(&self.opened).take();
        drop(opened);
    }
}
