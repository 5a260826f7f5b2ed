//! What `_aio.py` needs of a stream: its descriptor, and a place for the tasks that wait.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

use crate::engine::lock;
use crate::errors;
use crate::feed::Feed;
use crate::readiness::Readiness;

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

/// An `_aio.Tasks`; None before the first wait, and after the last.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<Option<Py<PyAny>>>);

impl Tasks {
    pub(crate) fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        lock(&self.0).as_ref().map(|tasks| tasks.clone_ref(py))
    }

    pub(crate) fn set(&self, tasks: Option<Py<PyAny>>) {
        let before = std::mem::replace(&mut *lock(&self.0), tasks);
        drop(before);
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Held for an instant at a time, never while Python runs.
        match self.0.try_lock() {
            Ok(tasks) => visit.call(&*tasks),
            Err(_) => Ok(()),
        }
    }
}

/// The descriptor of a stream as an event loop sees it. Holds no reference to the stream's
/// object: one that is collected closes, and the loop hears of it.
#[pyclass(frozen, name = "_Readiness", module = "v2m_engine._native")]
pub(crate) struct LoopReadiness {
    feed: Arc<Feed>,
    readiness: Arc<Readiness>,
}

impl LoopReadiness {
    pub(crate) fn new(feed: &Arc<Feed>) -> PyResult<Self> {
        Ok(Self {
            feed: feed.clone(),
            readiness: feed.readiness().map_err(errors::raise)?,
        })
    }
}

#[pymethods]
impl LoopReadiness {
    fn fileno(&self) -> RawFd {
        self.readiness.as_fd().as_raw_fd()
    }

    /// Asks for a wake-up when anything changes from now on: look afterwards.
    fn arm(&self) -> PyResult<()> {
        match self.feed.current() {
            Some(engine) => self.readiness.arm(&engine).map_err(errors::raise),
            None => Ok(()),
        }
    }

    /// Takes note of the wake-ups so far: arm again, then look.
    fn drain(&self) {
        self.readiness.drain();
    }

    /// Whether the stream is closed: time to leave the loop.
    #[getter]
    fn closed(&self) -> bool {
        self.feed.is_closed()
    }

    /// When the newest audio was written, CLOCK_MONOTONIC nanoseconds; 0 without any.
    #[getter]
    fn written_ns(&self) -> i64 {
        self.feed.written_ns()
    }
}
