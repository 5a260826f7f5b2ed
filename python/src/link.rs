//! What `_aio.py` needs of whatever an event loop waits for.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

use crate::engine::{Engine, is_same, lock};
use crate::errors;
use crate::feed::{Awaited, Look};
use crate::task::Wakeup;
use crate::waiter::Waiter;

/// Calls a function of the asyncio half on `object`.
pub(crate) fn aio<'py>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static AIO: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let py = object.py();
    AIO.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("v2m_engine._aio")?.unbind())
    })?
    .bind(py)
    .call_method1(name, (object,))
}

/// The wake-ups on an event loop: an `_aio.Link`, None before the first.
#[derive(Default)]
pub(crate) struct Link(Mutex<Option<Py<PyAny>>>);

impl Link {
    pub(crate) fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        lock(&self.0).as_ref().map(|link| link.clone_ref(py))
    }

    pub(crate) fn set(&self, link: Option<Py<PyAny>>) {
        let before = std::mem::replace(&mut *lock(&self.0), link);
        drop(before);
    }

    /// Leaves the loop, on the loop's own thread, whichever this one is.
    pub(crate) fn abandon(&self, py: Python<'_>) {
        let link = lock(&self.0).take();
        if let Some(link) = link {
            // A closed loop has nothing to leave; where else would an error go?
            let _ = link.call_method0(py, intern!(py, "abandon"));
        }
    }
}

/// Wake-ups as an event loop sees them: a descriptor that it watches, a callback for it,
/// and the tasks to resume. Holds no reference to the stream.
#[pyclass(frozen, name = "_Waiter", module = "v2m_engine._native")]
pub(crate) struct LoopWaiter {
    awaited: Arc<dyn Awaited>,
    waiter: Arc<Waiter>,
    engine: Weak<Engine>,
    /// None once collected as garbage.
    event_loop: Mutex<Option<Py<PyAny>>>,
    waiting: Mutex<Vec<Py<Wakeup>>>,
    /// Whether the loop watches the descriptor.
    open: AtomicBool,
    /// Whether a timer looks if audio still comes.
    watched: AtomicBool,
}

impl LoopWaiter {
    pub(crate) fn new(awaited: Arc<dyn Awaited>, event_loop: Py<PyAny>) -> PyResult<Self> {
        let feed = awaited.feed();
        let engine = feed.engine()?;
        let waiter = Arc::new(Waiter::new(&engine).map_err(errors::raise)?);
        feed.woken_by(&waiter);
        Ok(Self {
            awaited,
            waiter,
            engine: Arc::downgrade(&engine),
            event_loop: Mutex::new(Some(event_loop)),
            waiting: Mutex::new(Vec::new()),
            open: AtomicBool::new(true),
            watched: AtomicBool::new(false),
        })
    }

    pub(crate) fn runs_on(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        lock(&self.event_loop)
            .as_ref()
            .is_some_and(|own| own.is(event_loop))
    }
}

#[pymethods]
impl LoopWaiter {
    fn fileno(&self) -> RawFd {
        self.waiter.descriptor()
    }

    /// To be called when the descriptor is readable: resumes whoever waits. Not for less
    /// than a hop: then the next wake-up is asked for, and the tasks are left alone.
    fn woken(&self, py: Python<'_>) -> PyResult<()> {
        if self.awaited.feed().is_closed() {
            return self.close(py);
        }
        let mut result = Ok(());
        if self.waited_for() && (self.stale() || !matches!(self.awaited.look(), Look::Wait)) {
            // The tasks first: they have their audio, and have asked for more, before
            // any system call is made.
            self.waiter.came();
            result = self.wake(py, true);
        }
        self.waiter.drain();
        // What came meanwhile may have been silenced with the rest.
        if self.awaited.feed().is_closed() {
            return result.and(self.close(py));
        }
        if self.waited_for() && !self.arm()? {
            self.waiter.wake();
        }
        result
    }

    /// Whether it has left the loop, or waits on a ring that isn't the stream's any more:
    /// make another.
    pub(crate) fn stale(&self) -> bool {
        let current = self.awaited.feed().current();
        !self.open.load(Ordering::Acquire)
            || current.is_some_and(|now| !is_same(&now, &self.engine))
    }

    /// Asks for the next wake-up. False: there is no need to wait.
    pub(crate) fn arm(&self) -> PyResult<bool> {
        if self.stale() {
            return Ok(false);
        }
        let Some(ticket) = self.awaited.feed().ticket() else {
            return Ok(false);
        };
        match self.awaited.look() {
            Look::Wait => {
                self.waiter.arm(ticket).map_err(errors::raise)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Will resume this one.
    pub(crate) fn remember(&self, wakeup: Py<Wakeup>) {
        lock(&self.waiting).push(wakeup);
    }

    /// Won't any more.
    pub(crate) fn forget(&self, wakeup: Py<Wakeup>) {
        let mut waiting = lock(&self.waiting);
        let at = waiting.iter().position(|known| known.is(&wakeup));
        let forgotten = at.map(|at| waiting.swap_remove(at));
        drop(waiting);
        drop(forgotten);
    }

    /// Whether anybody waits.
    fn waited_for(&self) -> bool {
        !lock(&self.waiting).is_empty()
    }

    /// Resumes whoever waits, with True for news and False for a timeout.
    fn wake(&self, py: Python<'_>, came: bool) -> PyResult<()> {
        // Whoever is resumed may wait again at once: not in this round.
        let waiting: Vec<_> = lock(&self.waiting)
            .iter()
            .map(|wakeup| wakeup.clone_ref(py))
            .collect();
        let mut result = Ok(());
        for wakeup in waiting {
            result = result.and(Wakeup::come(wakeup.bind(py), came));
        }
        result
    }

    /// Leaves the loop; whoever waits looks again.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.open.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let event_loop = lock(&self.event_loop).as_ref().map(|it| it.clone_ref(py));
        if let Some(event_loop) = event_loop {
            event_loop.call_method1(py, intern!(py, "remove_reader"), (self.fileno(),))?;
        }
        self.wake(py, true)
    }

    #[getter]
    pub(crate) fn get_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_watched(&self, watched: bool) {
        self.watched.store(watched, Ordering::Relaxed);
    }

    /// When the newest audio was written, CLOCK_MONOTONIC nanoseconds.
    fn written_ns(&self) -> i64 {
        self.awaited.feed().written_ns()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Held for an instant at a time, never while Python runs.
        if let Ok(event_loop) = self.event_loop.try_lock() {
            visit.call(&*event_loop)?;
        }
        if let Ok(waiting) = self.waiting.try_lock() {
            for wakeup in waiting.iter() {
                visit.call(wakeup)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let event_loop = lock(&self.event_loop).take();
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        drop((event_loop, waiting));
    }
}
