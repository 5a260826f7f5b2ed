//! How Python goes from one item of a stream, or of what is read from it, to the next: as an
//! iterator, and by steps for `_aio.py`.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;
use v2m_client::Result;
use v2m_client::engine::Engine;
use v2m_client::progress::{Poll, Source};
use v2m_client::readiness::Readiness;
use v2m_client::stream::Stream;

use crate::errors::{self, Failure, NeedsRecovery, Outcome, V2MError};

/// How often Ctrl-C is looked for.
const SIGNALS: Duration = Duration::from_millis(50);

/// What a wait without the GIL does now and then: Ctrl-C interrupts it.
pub(crate) fn signals() -> Outcome<()> {
    // An interpreter that has ended has no use for them, and takes this thread with it.
    let checked = Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()));
    Ok(checked?)
}

/// The same for what computes without the GIL, and is asked much more often than that.
pub(crate) struct Interrupts(Instant);

impl Interrupts {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn look(&mut self) -> Outcome<()> {
        if self.0.elapsed() < SIGNALS {
            return Ok(());
        }
        self.0 = Instant::now();
        signals()
    }
}

/// The engine of a stream that can be used: that is open, and this process's.
pub(crate) fn usable(stream: &Stream) -> Outcome<Arc<Engine>> {
    stream.check_own()?;
    // In this order: whoever closes it says so before the engine goes.
    let engine = stream.engine();
    let why = match engine {
        _ if stream.is_closed() => "the stream is closed",
        None => "the stream is not open: use it with `with` or `async with`",
        Some(engine) => return Ok(engine),
    };
    Err(V2MError::new_err(why).into())
}

/// The same, but one that was closed is at its end.
pub(crate) fn iterable(stream: &Stream) -> Outcome<()> {
    if stream.is_own() && stream.is_closed() {
        return Ok(());
    }
    usable(stream).map(drop)
}

/// That so many samples of `stream` were overwritten before they were read.
pub(crate) fn overrun(py: Python<'_>, stream: &Stream, lost: u64) -> Failure {
    errors::overrun(py, lost, stream.overrun(lost).to_string()).into()
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

/// What `for` and `async for` take one by one: the base of all that Python iterates.
#[pyclass(frozen, subclass, name = "_Items", module = "v2m_engine._native")]
pub(crate) struct Items {
    steps: Box<dyn Steps>,
    /// The `AudioStream`, which lives as long as it is read; None: this is one.
    stream: Option<Py<PyAny>>,
}

impl Items {
    /// Those of `source`, which `give` makes Python's. They are taken without the GIL if
    /// samples are copied for them; where none are, it isn't worth giving it up.
    pub(crate) fn new<S: Source<Item: Send> + Send + Sync + 'static>(
        source: S,
        stream: Option<Py<PyAny>>,
        copies: bool,
        give: impl Fn(Python<'_>, S::Item) -> PyResult<Py<PyAny>> + Send + Sync + 'static,
    ) -> Self {
        let steps = Box::new(Giving {
            source,
            copies,
            give,
        });
        Self { steps, stream }
    }
}

#[pymethods]
impl Items {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Waits without the GIL; Ctrl-C interrupts.
    fn __next__(&self, py: Python<'_>) -> Outcome<Option<Py<PyAny>>> {
        Ok(match self.steps.step(py, true)? {
            Poll::Ready(item) => Some(item),
            _ => None,
        })
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf, "following")
    }

    // For `_aio.py`.

    /// The next item; None: nothing yet.
    fn _poll(&self, py: Python<'_>) -> Outcome<Option<Py<PyAny>>> {
        match self.steps.step(py, false)? {
            Poll::Ready(item) => Ok(Some(item)),
            Poll::Pending => Ok(None),
            Poll::EngineLost => Err(NeedsRecovery::new_err("the engine is gone").into()),
            Poll::NoSpeechTrack => Err(NeedsRecovery::new_err("no speech detection so far").into()),
            _ => Err(PyStopAsyncIteration::new_err(()).into()),
        }
    }

    /// Whether there is nothing for `_poll` to tell yet.
    fn _pending(&self) -> bool {
        self.steps.is_pending()
    }

    /// One attempt to connect again, or the question whether the engine detects speech at
    /// all; False: try once more. Blocks, without the GIL.
    fn _recover(&self, py: Python<'_>) -> Outcome<bool> {
        Ok(py.detach(|| self.steps.recover())?)
    }

    #[getter]
    fn _stream<'py>(slf: Bound<'py, Self>) -> Bound<'py, PyAny> {
        match &slf.get().stream {
            Some(stream) => stream.bind(slf.py()).clone(),
            None => slf.into_any(),
        }
    }
}

/// The way to the next item, whatever it is.
trait Steps: Send + Sync {
    /// An overrun is an error. `waits` until there is an item, or the end.
    fn step(&self, py: Python<'_>, waits: bool) -> Outcome<Poll<Py<PyAny>>>;

    fn is_pending(&self) -> bool;

    fn recover(&self) -> Result<bool>;
}

struct Giving<S, G> {
    source: S,
    copies: bool,
    give: G,
}

impl<S, G> Steps for Giving<S, G>
where
    S: Source<Item: Send> + Send + Sync,
    G: Fn(Python<'_>, S::Item) -> PyResult<Py<PyAny>> + Send + Sync,
{
    fn step(&self, py: Python<'_>, waits: bool) -> Outcome<Poll<Py<PyAny>>> {
        let source = &self.source;
        iterable(source.stream())?;
        let mut found = if self.copies && !source.is_pending() {
            py.detach(|| source.poll())?
        } else {
            source.poll()?
        };
        if waits && !matches!(found, Poll::Ready(_) | Poll::Overrun(_) | Poll::Ended) {
            found = py.detach(|| source.next(|_| signals()))?;
        }
        match found {
            Poll::Overrun(lost) => Err(overrun(py, source.stream(), lost)),
            found => Ok(found.try_map(|item| (self.give)(py, item))?),
        }
    }

    fn is_pending(&self) -> bool {
        self.source.is_pending()
    }

    fn recover(&self) -> Result<bool> {
        self.source.recover()
    }
}

/// A stream's descriptor for an event loop. Holds no reference to the stream's object: one
/// that is collected closes, and the loop hears of it.
#[pyclass(frozen, name = "_Readiness", module = "v2m_engine._native")]
pub(crate) struct LoopReadiness {
    stream: Arc<Stream>,
    readiness: Arc<Readiness>,
}

impl LoopReadiness {
    pub(crate) fn new(stream: &Arc<Stream>) -> Outcome<Self> {
        Ok(Self {
            stream: stream.clone(),
            readiness: stream.readiness()?,
        })
    }
}

#[pymethods]
impl LoopReadiness {
    fn fileno(&self) -> RawFd {
        self.readiness.as_fd().as_raw_fd()
    }

    /// Asks for a wake-up when anything changes from now on: look afterwards.
    fn arm(&self) -> Outcome<()> {
        Ok(self.stream.arm(&self.readiness)?)
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
