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

/// Says why `stream` can't be used, if it is not open, or not this process's.
pub(crate) fn usable(stream: &Stream) -> Outcome<()> {
    stream.check_own()?;
    // In this order: whoever closes it says so before the engine goes.
    let is_open = stream.engine().is_some();
    let why = if stream.is_closed() {
        "the stream is closed"
    } else if !is_open {
        "the stream is not open: use it with `with` or `async with`"
    } else {
        return Ok(());
    };
    Err(V2MError::new_err(why).into())
}

/// The same, but one that was closed is at its end.
pub(crate) fn iterable(stream: &Stream) -> Outcome<()> {
    if stream.is_own() && stream.is_closed() {
        Ok(())
    } else {
        usable(stream)
    }
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
    /// Those of `source`. `make` takes no Python, and runs without the GIL if it `copies`
    /// samples; `give` makes Python's object of what it made.
    pub(crate) fn new<S, T>(
        source: S,
        stream: Option<Py<PyAny>>,
        copies: bool,
        make: impl Fn(S::Item) -> Result<T> + Send + Sync + 'static,
        give: impl Fn(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + Sync + 'static,
    ) -> Self
    where
        S: Source<Item: Send> + Send + Sync + 'static,
        T: Send,
    {
        let steps = Box::new(Making {
            source,
            copies,
            make,
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

    fn __next__(&self, py: Python<'_>) -> Outcome<Option<Py<PyAny>>> {
        self.steps.next(py)
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
        self.steps.poll(py)
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

/// The way to the next item.
trait Steps: Send + Sync {
    /// `__next__`: None at the end. Waits without the GIL; Ctrl-C interrupts.
    fn next(&self, py: Python<'_>) -> Outcome<Option<Py<PyAny>>>;

    /// A step of `__anext__`: None to wait. Doesn't wait.
    fn poll(&self, py: Python<'_>) -> Outcome<Option<Py<PyAny>>>;

    fn is_pending(&self) -> bool;

    fn recover(&self) -> Result<bool>;
}

struct Making<S, M, G> {
    source: S,
    copies: bool,
    make: M,
    give: G,
}

impl<S, T, M, G> Making<S, M, G>
where
    S: Source<Item: Send> + Sync,
    T: Send,
    M: Fn(S::Item) -> Result<T> + Sync,
    G: Sync,
{
    /// Samples are copied without the GIL; where none are, it isn't worth giving it up.
    fn made(&self, py: Python<'_>, found: Poll<S::Item>) -> Result<Poll<T>> {
        if self.copies {
            py.detach(|| found.try_map(&self.make))
        } else {
            found.try_map(&self.make)
        }
    }

    fn found(&self) -> Outcome<Poll<S::Item>> {
        iterable(self.source.stream())?;
        Ok(self.source.poll()?)
    }
}

impl<S, T, M, G> Steps for Making<S, M, G>
where
    S: Source<Item: Send> + Send + Sync,
    T: Send,
    M: Fn(S::Item) -> Result<T> + Send + Sync,
    G: Fn(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + Sync,
{
    fn next(&self, py: Python<'_>) -> Outcome<Option<Py<PyAny>>> {
        let found = match self.found()? {
            Poll::Pending | Poll::EngineLost | Poll::NoSpeechTrack => {
                let next =
                    || Ok::<_, Failure>(self.source.next(|_| signals())?.try_map(&self.make)?);
                py.detach(next)?
            }
            found => self.made(py, found)?,
        };
        match found {
            Poll::Ready(made) => Ok(Some((self.give)(py, made)?)),
            Poll::Overrun(lost) => Err(overrun(py, self.source.stream(), lost)),
            _ => Ok(None),
        }
    }

    fn poll(&self, py: Python<'_>) -> Outcome<Option<Py<PyAny>>> {
        let found = self.found()?;
        match self.made(py, found)? {
            Poll::Ready(made) => Ok(Some((self.give)(py, made)?)),
            Poll::Pending => Ok(None),
            Poll::Overrun(lost) => Err(overrun(py, self.source.stream(), lost)),
            Poll::EngineLost => Err(NeedsRecovery::new_err("the engine is gone").into()),
            Poll::NoSpeechTrack => Err(NeedsRecovery::new_err("no speech detection so far").into()),
            Poll::Ended => Err(PyStopAsyncIteration::new_err(()).into()),
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
