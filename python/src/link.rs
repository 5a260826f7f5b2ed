//! What `_aio.py` needs of whatever an event loop waits for.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, Weak};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

use crate::engine::{Engine, is_same, lock};
use crate::errors;
use crate::feed::{Awaited, Look};
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

/// Wake-ups as an event loop sees them.
#[pyclass(frozen, name = "_Waiter", module = "v2m_engine._native")]
pub(crate) struct LoopWaiter {
    awaited: Arc<dyn Awaited>,
    waiter: Arc<Waiter>,
    engine: Weak<Engine>,
}

impl LoopWaiter {
    pub(crate) fn new(awaited: Arc<dyn Awaited>) -> PyResult<Self> {
        let feed = awaited.feed();
        let engine = feed.engine()?;
        let waiter = Arc::new(Waiter::new(&engine).map_err(errors::raise)?);
        feed.woken_by(&waiter);
        Ok(Self {
            awaited,
            waiter,
            engine: Arc::downgrade(&engine),
        })
    }
}

#[pymethods]
impl LoopWaiter {
    fn fileno(&self) -> RawFd {
        self.waiter.descriptor()
    }

    /// Call it when the descriptor is readable. True: wake whoever waits; if
    /// somebody does and there is nothing yet, the next wake-up is asked for.
    fn woken(&self, waited_for: bool) -> PyResult<bool> {
        self.waiter.drain();
        match waited_for {
            true => Ok(!self.arm()?),
            false => Ok(self.closed()),
        }
    }

    /// Whether it waits on a ring that isn't the stream's any more: make another.
    fn stale(&self) -> bool {
        self.awaited
            .feed()
            .current()
            .is_some_and(|now| !is_same(&now, &self.engine))
    }

    /// Asks for the next wake-up. False: there is no need to wait.
    fn arm(&self) -> PyResult<bool> {
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

    /// Whether the stream was closed.
    fn closed(&self) -> bool {
        self.awaited.feed().is_closed()
    }

    /// When the newest audio was written, CLOCK_MONOTONIC nanoseconds.
    fn written_ns(&self) -> i64 {
        self.awaited.feed().written_ns()
    }
}
