//! How Python goes from one item of a stream, or of segments of it, to the next: as an
//! iterator, and by steps for `_aio.py`.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use pyo3::call::PyCallArgs;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;
use v2m_client::progress::{Poll, Source};
use v2m_client::readiness::Readiness;
use v2m_client::stream::Stream;
use v2m_client::{Error, Result};

use crate::errors::{self, NeedsRecovery, V2MError};
use crate::params::Dtype;

/// A failure on the way to the next item.
pub(crate) enum Failure {
    Client(Error),
    /// What a signal's handler raised.
    Python(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

/// Says why `stream` can't be used, if it is not open, or not this process's.
pub(crate) fn usable(stream: &Stream) -> PyResult<()> {
    let why = if !stream.is_own() {
        "the stream belongs to the process that opened it: open one after the fork"
    } else if stream.is_closed() {
        "the stream is closed"
    } else if stream.engine().is_none() {
        "the stream is not open: use it with `with` or `async with`"
    } else {
        return Ok(());
    };
    Err(V2MError::new_err(why))
}

/// The same, but one that was closed is at its end.
pub(crate) fn iterable(stream: &Stream) -> PyResult<()> {
    if stream.is_own() && stream.is_closed() {
        Ok(())
    } else {
        usable(stream)
    }
}

pub(crate) fn overrun<T>(py: Python<'_>, stream: &Stream, lost: u64) -> PyResult<T> {
    let history = stream
        .engine()
        .map_or(0, |engine| engine.ring().layout().history());
    let message = format!(
        "{lost} samples were overwritten before they were read: \
         the reader was behind by more than the {history} samples of history"
    );
    Err(errors::overrun(py, lost, message))
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Client(error) => errors::raise(error),
            Failure::Python(error) => error,
        }
    }
}

pub(crate) fn signals() -> Result<(), Failure> {
    // An interpreter that has ended has no use for them, and takes this thread with it.
    let checked = Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()));
    checked.map_err(Failure::Python)
}

/// Waits until there is something to take, or to tell, without the GIL; Ctrl-C interrupts.
pub(crate) fn await_news(py: Python<'_>, source: &(impl Source + Sync)) -> PyResult<()> {
    Ok(py.detach(|| source.await_news(signals))?)
}

/// `__next__`: what `make` makes of the next item. Waits without the GIL; Ctrl-C interrupts.
pub(crate) fn next<S, T>(
    py: Python<'_>,
    source: &S,
    dtype: Dtype,
    make: impl Fn(S::Item) -> Result<T> + Send,
) -> PyResult<Option<T>>
where
    S: Source + Sync,
    S::Item: Send,
    T: Send,
{
    iterable(source.stream())?;
    let found = source.poll().map_err(errors::raise)?;
    let found = match found {
        Poll::Pending | Poll::EngineLost | Poll::NoSpeechTrack => {
            py.detach(|| Ok::<_, Failure>(source.next(signals)?.try_map(make)?))?
        }
        found => made(py, found, dtype, make)?,
    };
    match found {
        Poll::Ready(item) => Ok(Some(item)),
        Poll::Overrun(lost) => overrun(py, source.stream(), lost),
        _ => Ok(None),
    }
}

/// A step of `__anext__`: what `make` makes of an item, or None to wait. Doesn't wait.
pub(crate) fn poll<S: Source, T: Send>(
    py: Python<'_>,
    source: &S,
    dtype: Dtype,
    make: impl Fn(S::Item) -> Result<T> + Send,
) -> PyResult<Option<T>>
where
    S::Item: Send,
{
    iterable(source.stream())?;
    let found = source.poll().map_err(errors::raise)?;
    match made(py, found, dtype, make)? {
        Poll::Ready(item) => Ok(Some(item)),
        Poll::Pending => Ok(None),
        Poll::Overrun(lost) => overrun(py, source.stream(), lost),
        Poll::EngineLost => Err(NeedsRecovery::new_err("the engine is gone")),
        Poll::NoSpeechTrack => Err(NeedsRecovery::new_err("no speech detection so far")),
        Poll::Ended => Err(PyStopAsyncIteration::new_err(())),
    }
}

/// Samples are copied without the GIL; where none are, it isn't worth giving it up.
fn made<I: Send, T: Send>(
    py: Python<'_>,
    found: Poll<I>,
    dtype: Dtype,
    make: impl Fn(I) -> Result<T> + Send,
) -> PyResult<Poll<T>> {
    let made = match dtype {
        Dtype::Float32 => found.try_map(make),
        Dtype::Int16 => py.detach(|| found.try_map(make)),
    };
    made.map_err(errors::raise)
}

/// Calls a function of a Python module of this package.
pub(crate) fn python<'py>(
    py: Python<'py>,
    module: &str,
    name: &str,
    arguments: impl PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let module = py.import(format!("v2m_engine.{module}"))?;
    module.call_method1(name, arguments)
}

/// Calls a function of `_aio.py` on `object`.
pub(crate) fn aio<'py>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static AIO: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let py = object.py();
    AIO.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("v2m_engine._aio")?.unbind())
    })?
    .bind(py)
    .call_method1(name, (object,))
}

/// A stream's descriptor for an event loop. Holds no reference to the stream's object: one
/// that is collected closes, and the loop hears of it.
#[pyclass(frozen, name = "_Readiness", module = "v2m_engine._native")]
pub(crate) struct LoopReadiness {
    stream: Arc<Stream>,
    readiness: Arc<Readiness>,
}

impl LoopReadiness {
    pub(crate) fn new(stream: &Arc<Stream>) -> PyResult<Self> {
        Ok(Self {
            stream: stream.clone(),
            readiness: stream.readiness().map_err(errors::raise)?,
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
        self.stream.arm(&self.readiness).map_err(errors::raise)
    }

    /// Takes note of the wake-ups so far: arm again, then look.
    fn drain(&self) {
        self.readiness.drain();
    }

    /// Whether the stream is closed: time to leave the loop.
    #[getter]
    fn closed(&self) -> bool {
        self.stream.is_closed()
    }

    /// When the newest audio was written, CLOCK_MONOTONIC nanoseconds; 0 without any.
    #[getter]
    fn written_ns(&self) -> i64 {
        let engine = self.stream.engine();
        engine.map_or(0, |engine| engine.ring().written_ns())
    }
}
