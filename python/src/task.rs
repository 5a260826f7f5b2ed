//! A task that awaits the next chunk, without Python on the way from the wake-up to the
//! task: what an event loop and a task need of a future and of an awaitable, and no more.
//! Everything unusual (a timeout, a lost engine, the first wait) is left to `_aio.py`.

use std::sync::Mutex;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::engine::lock;
use crate::feed::{Awaited, Look};
use crate::link::{self, LoopWaiter};
use crate::stream::AudioStream;

/// What a task waits on: a future that resumes the task at once when it comes,
/// without another turn of the loop. Of the future's interface it has what tasks use.
#[pyclass(frozen, name = "_Wakeup", module = "v2m_engine._native", weakref)]
pub(crate) struct Wakeup {
    state: Mutex<State>,
}

struct State {
    /// An `asyncio` loop; None once collected as garbage.
    event_loop: Option<Py<PyAny>>,
    blocking: bool,
    /// True for a wake-up, False for a timeout.
    came: Option<bool>,
    cancelled: bool,
    /// What resumes the task, and in which context.
    resume: Option<(Py<PyAny>, Option<Py<PyAny>>)>,
}

impl State {
    fn done(&self) -> bool {
        self.cancelled || self.came.is_some()
    }
}

impl Wakeup {
    fn outcome(&self, py: Python<'_>) -> PyResult<bool> {
        let state = lock(&self.state);
        match (state.cancelled, state.came) {
            (true, _) => Err(asyncio_error(py, "CancelledError")),
            (false, None) => Err(asyncio_error(py, "InvalidStateError")),
            (false, Some(came)) => Ok(came),
        }
    }
}

#[pymethods]
impl Wakeup {
    #[new]
    fn new(event_loop: Py<PyAny>) -> Self {
        Self {
            state: Mutex::new(State {
                event_loop: Some(event_loop),
                blocking: false,
                came: None,
                cancelled: false,
                resume: None,
            }),
        }
    }

    /// Ends the wait, with True for a wake-up and False for a timeout.
    pub(crate) fn come(slf: &Bound<'_, Self>, came: bool) -> PyResult<()> {
        let resume = {
            let mut state = lock(&slf.get().state);
            if state.done() {
                return Ok(());
            }
            state.came = Some(came);
            state.resume.take()
        };
        // Unlocked: the task runs in here.
        match resume {
            None => Ok(()),
            Some((callback, None)) => callback.call1(slf.py(), (slf,)).map(drop),
            Some((callback, Some(context))) => context
                .call_method1(slf.py(), intern!(slf.py(), "run"), (callback, slf))
                .map(drop),
        }
    }

    #[getter(_asyncio_future_blocking)]
    fn is_blocking(&self) -> bool {
        lock(&self.state).blocking
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        lock(&self.state).blocking = blocking;
    }

    #[pyo3(signature = (callback, *, context=None))]
    fn add_done_callback(&self, callback: Py<PyAny>, context: Option<Py<PyAny>>) {
        let before = lock(&self.state).resume.replace((callback, context));
        drop(before);
    }

    fn remove_done_callback(&self, callback: &Bound<'_, PyAny>) -> PyResult<u32> {
        let known = lock(&self.state)
            .resume
            .as_ref()
            .map(|(known, _)| known.clone_ref(callback.py()));
        if known.is_none_or(|known| !known.bind(callback.py()).eq(callback).unwrap_or(false)) {
            return Ok(0);
        }
        let removed = lock(&self.state).resume.take();
        Ok(u32::from(removed.is_some()))
    }

    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        drop(msg);
        let py = slf.py();
        let (resume, event_loop) = {
            let mut state = lock(&slf.get().state);
            if state.done() {
                return Ok(false);
            }
            state.cancelled = true;
            let event_loop = state.event_loop.as_ref().map(|it| it.clone_ref(py));
            (state.resume.take(), event_loop)
        };
        if let (Some((callback, context)), Some(event_loop)) = (resume, event_loop) {
            let keywords = pyo3::types::PyDict::new(py);
            keywords.set_item(intern!(py, "context"), context)?;
            let name = intern!(py, "call_soon");
            event_loop.call_method(py, name, (callback, slf), Some(&keywords))?;
        }
        Ok(true)
    }

    fn get_loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let state = lock(&self.state);
        state.event_loop.as_ref().map(|it| it.clone_ref(py))
    }

    fn done(&self) -> bool {
        lock(&self.state).done()
    }

    fn cancelled(&self) -> bool {
        lock(&self.state).cancelled
    }

    fn exception(&self, py: Python<'_>) -> PyResult<()> {
        self.outcome(py).map(drop)
    }

    fn result(&self, py: Python<'_>) -> PyResult<bool> {
        self.outcome(py)
    }

    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        if slf.get().done() {
            return Err(PyStopIteration::new_err(slf.get().outcome(slf.py())?));
        }
        lock(&slf.get().state).blocking = true;
        Ok(slf)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Held for an instant at a time, never while Python runs.
        if let Ok(state) = self.state.try_lock() {
            visit.call(&state.event_loop)?;
            if let Some((callback, context)) = &state.resume {
                visit.call(callback)?;
                visit.call(context)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let mut state = lock(&self.state);
        let dropped = (state.event_loop.take(), state.resume.take());
        drop(state);
        drop(dropped);
    }
}

/// What `AudioStream.__anext__` gives: an awaitable, and to asyncio a coroutine.
#[pyclass(name = "_NextChunk", module = "v2m_engine._native")]
pub(crate) struct NextChunk {
    stream: Option<Py<AudioStream>>,
    step: Step,
}

enum Step {
    Begin,
    Waiting(Py<LoopWaiter>, Py<Wakeup>),
    /// The coroutine in `_aio.py` has taken over.
    Delegated(Py<PyAny>),
    Done,
}

impl NextChunk {
    pub(crate) fn new(stream: &Bound<'_, AudioStream>) -> Self {
        Self {
            stream: Some(stream.clone().unbind()),
            step: Step::Begin,
        }
    }

    /// Goes on; what it gives is what the task is to wait for.
    fn advance(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        loop {
            match std::mem::replace(&mut self.step, Step::Done) {
                Step::Done => {
                    return Err(PyRuntimeError::new_err(
                        "cannot reuse already awaited coroutine",
                    ));
                }
                Step::Delegated(coroutine) => return self.delegated(py, coroutine),
                Step::Waiting(waiter, wakeup) => {
                    if !wakeup.get().done() {
                        // Resumed by something else, as a debugger might.
                        let waits_for = wakeup.clone_ref(py).into_any();
                        self.step = Step::Waiting(waiter, wakeup);
                        return Ok(waits_for);
                    }
                    let outcome = wakeup.get().outcome(py);
                    waiter.get().forget(wakeup);
                    match outcome? {
                        true => self.step = Step::Begin,
                        false => return self.delegate(py, "stalled"),
                    }
                }
                Step::Begin => {
                    let Some(stream) = self.stream.as_ref() else {
                        continue;
                    };
                    let this = stream.get();
                    if let Some(chunk) = this.feed().take(py)? {
                        return Err(PyStopIteration::new_err((chunk,)));
                    }
                    this.feed().entered()?;
                    let link = match this.feed().look() {
                        Look::Ready => {
                            self.step = Step::Begin;
                            continue;
                        }
                        Look::Wait => this.waiting_on(py)?,
                        Look::Over | Look::Lost | Look::Deaf => None,
                    };
                    let Some((waiter, event_loop)) = link else {
                        return self.delegate(py, "following");
                    };
                    if !waiter.get().arm()? {
                        self.step = Step::Begin;
                        continue;
                    }
                    let wakeup = Py::new(py, Wakeup::new(event_loop))?;
                    lock(&wakeup.get().state).blocking = true;
                    waiter.get().remember(wakeup.clone_ref(py));
                    let waits_for = wakeup.clone_ref(py).into_any();
                    self.step = Step::Waiting(waiter, wakeup);
                    return Ok(waits_for);
                }
            }
        }
    }

    /// Has a coroutine function of `_aio.py` go on.
    fn delegate(&mut self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let Some(stream) = &self.stream else {
            return Err(PyRuntimeError::new_err(
                "cannot reuse already awaited coroutine",
            ));
        };
        let coroutine = link::aio(stream.bind(py), name)?.unbind();
        self.delegated(py, coroutine)
    }

    fn delegated(&mut self, py: Python<'_>, coroutine: Py<PyAny>) -> PyResult<Py<PyAny>> {
        let sent = coroutine.call_method1(py, intern!(py, "send"), (py.None(),))?;
        self.step = Step::Delegated(coroutine);
        Ok(sent)
    }

    /// Leaves the wait.
    fn leave(&mut self) {
        if let Step::Waiting(waiter, wakeup) = std::mem::replace(&mut self.step, Step::Done) {
            waiter.get().forget(wakeup);
        }
    }
}

#[pymethods]
impl NextChunk {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.advance(py)
    }

    fn send(&mut self, py: Python<'_>, value: Py<PyAny>) -> PyResult<Py<PyAny>> {
        drop(value);
        self.advance(py)
    }

    #[pyo3(signature = (kind, value=None, trace=None))]
    fn throw(
        &mut self,
        py: Python<'_>,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        trace: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        if let Step::Delegated(coroutine) = &self.step {
            let coroutine = coroutine.clone_ref(py);
            return coroutine.call_method1(py, intern!(py, "throw"), (kind, value, trace));
        }
        self.leave();
        // As generators take it: an exception, or a type and perhaps its value.
        Err(match value {
            Some(value) if value.is_instance_of::<pyo3::exceptions::PyBaseException>() => {
                PyErr::from_value(value)
            }
            _ if !kind.is_instance_of::<pyo3::types::PyType>() => PyErr::from_value(kind),
            Some(value) => PyErr::from_value(kind.call1((value,))?),
            None => PyErr::from_value(kind.call0()?),
        })
    }

    fn close(&mut self, py: Python<'_>) -> PyResult<()> {
        if let Step::Delegated(coroutine) = &self.step {
            coroutine.call_method0(py, intern!(py, "close"))?;
        }
        self.leave();
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stream)?;
        match &self.step {
            Step::Waiting(waiter, wakeup) => {
                visit.call(waiter)?;
                visit.call(wakeup)
            }
            Step::Delegated(coroutine) => visit.call(coroutine),
            Step::Begin | Step::Done => Ok(()),
        }
    }

    fn __clear__(&mut self) {
        self.stream = None;
        self.step = Step::Done;
    }
}

fn asyncio_error(py: Python<'_>, name: &str) -> PyErr {
    let made = py
        .import(intern!(py, "asyncio"))
        .and_then(|asyncio| asyncio.getattr(name))
        .and_then(|kind| kind.call0());
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// The event loop that runs on this thread.
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET.import(py, "asyncio", "get_running_loop")?.call0()
}
