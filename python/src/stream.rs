//! `AudioStream`: the Python face of a [`Feed`]. Its asyncio half is `_aio.py`.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;
use pyo3::{ffi, intern};
use v2m_engine::ring::SAMPLE_RATE;

use crate::chunk::AudioChunk;
use crate::cursor::Hop;
use crate::engine::lock;
use crate::errors::{self, DeviceError, EngineLost, EngineUnavailableError, V2MError};
use crate::feed::{Feed, Look};
use crate::switch::Lowered;
use crate::task::{NextChunk, Wakeup, running_loop};
use crate::waiter::Waiter;
use crate::window;

/// From one attempt to connect again to the next.
const RETRY: Duration = Duration::from_millis(100);

/// Audio as it arrives.
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct AudioStream {
    pub(crate) feed: Arc<Feed>,
    /// Its wake-ups on an event loop: an `_aio.Link`, None before the first.
    link: Mutex<Option<Py<PyAny>>>,
    /// Seconds that a busy thread may keep the GIL from us; None: as the program has it.
    switch_interval: Option<f64>,
    /// In force while the stream is open.
    lowered: Mutex<Option<Lowered>>,
}

impl AudioStream {
    pub(crate) fn new(feed: Feed, switch_interval: Option<f64>) -> Self {
        Self {
            feed: Arc::new(feed),
            link: Mutex::new(None),
            switch_interval,
            lowered: Mutex::new(None),
        }
    }

    /// Calls a coroutine function of the asyncio half.
    pub(crate) fn aio<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        static AIO: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
        let py = slf.py();
        AIO.get_or_try_init(py, || {
            Ok::<_, PyErr>(py.import("v2m_engine._aio")?.unbind())
        })?
        .bind(py)
        .call_method1(name, (slf,))
    }

    /// What a task on the running loop is to wait by, and that loop; None: `_aio.py` has
    /// something to do first, or to say.
    pub(crate) fn waiting_on(
        &self,
        py: Python<'_>,
    ) -> PyResult<Option<(Py<LoopWaiter>, Py<PyAny>)>> {
        let Some(link) = self.link(py) else {
            return Ok(None);
        };
        let link = link.bind(py);
        let waiter = link.getattr(intern!(py, "waiter"))?;
        let waiter = waiter.cast_into::<LoopWaiter>()?;
        let event_loop = running_loop(py)?;
        if !waiter.get().is_open() || !waiter.get().runs_on(&event_loop) {
            return Ok(None);
        }
        if !waiter.get().get_watched() {
            link.call_method0(intern!(py, "watch"))?;
        }
        Ok(Some((waiter.unbind(), event_loop.unbind())))
    }

    /// Connects again after the engine was lost, as often as time allows.
    fn recover(&self, py: Python<'_>) -> PyResult<()> {
        while !py.detach(|| self.feed.reconnect())? {
            py.detach(|| std::thread::sleep(RETRY));
            py.check_signals()?;
        }
        Ok(())
    }
}

#[pymethods]
impl AudioStream {
    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let (py, this) = (slf.py(), slf.get());
        this._open(py)?;
        let opened = this.feed.wait(py).and_then(|()| this._check_first());
        match opened {
            Ok(()) => Ok(slf),
            Err(error) => {
                this.close(py);
                Err(error)
            }
        }
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) {
        self.close(py);
    }

    fn __iter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().feed.engine()?;
        Ok(slf)
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<AudioChunk>> {
        loop {
            if let Some(chunk) = self.feed.take(py)? {
                return Ok(Some(chunk));
            }
            self.feed.entered()?;
            match self.feed.look() {
                Look::Over => return Ok(None),
                Look::Lost => self.recover(py)?,
                Look::Ready => {}
                Look::Wait => self.feed.wait(py)?,
            }
        }
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::aio(slf, "enter")
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _exception: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::aio(slf, "leave")
    }

    fn __aiter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        Self::__iter__(slf)
    }

    fn __anext__(slf: &Bound<'_, Self>) -> NextChunk {
        NextChunk::new(slf)
    }

    fn latest(&self) -> PyResult<AudioChunk> {
        self.feed.latest()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.feed.close());
        let lowered = lock(&self.lowered).take();
        if let Some(Err(error)) = lowered.map(|lowered| lowered.restore(py)) {
            error.write_unraisable(py, None);
        }
    }

    #[getter]
    fn closed(&self) -> bool {
        self.feed.is_closed()
    }

    #[getter]
    fn sample_rate(&self) -> u32 {
        SAMPLE_RATE
    }

    #[getter]
    fn buffer_size(&self) -> u64 {
        self.feed.buffer_size()
    }

    #[getter]
    fn hop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.feed.hop() {
            Hop::Samples(samples) => Ok(samples.into_pyobject(py)?.into_any()),
            Hop::Quantum => Ok(intern!(py, "quantum").clone().into_any()),
        }
    }

    #[getter]
    fn position(&self) -> PyResult<u64> {
        Ok(self.feed.engine()?.ring.committed())
    }

    #[getter]
    fn written_ns(&self) -> PyResult<i64> {
        Ok(self.feed.engine()?.ring.written_ns())
    }

    #[getter]
    fn history(&self) -> PyResult<u64> {
        Ok(self.feed.engine()?.ring.layout().history())
    }

    #[getter]
    fn source(&self) -> PyResult<String> {
        Ok(self.feed.engine()?.source.clone())
    }

    #[getter]
    fn private_engine_pid(&self) -> PyResult<Option<u32>> {
        Ok(self.feed.engine()?.private_pid())
    }

    fn __len__(&self) -> usize {
        self.feed.buffer_size() as usize
    }

    fn __repr__(&self) -> String {
        let state = match self.feed.engine() {
            Ok(engine) => format!("of {} at {}", engine.source, engine.ring.committed()),
            Err(_) if self.feed.is_closed() => "closed".into(),
            Err(_) => "not open".into(),
        };
        format!("<AudioStream {state}>")
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let newest = Bound::new(slf.py(), slf.get().latest()?)?;
        // SAFETY: CPython gives a view to fill.
        unsafe { window::delegate(newest.as_any(), view, flags) }
    }

    // For `_aio.py`.

    /// Connects. Blocks, without the GIL.
    fn _open(&self, py: Python<'_>) -> PyResult<()> {
        self.feed.own()?;
        if self.feed.is_closed() {
            return Err(V2MError::new_err(
                "the stream is closed: make another by capture.stream()",
            ));
        }
        if self.feed.engine().is_ok() {
            return Err(V2MError::new_err("the stream is open already"));
        }
        py.detach(|| self.feed.open()).map_err(errors::raise)?;
        if let Some(seconds) = self.switch_interval {
            let lowered = Lowered::new(py, seconds)?;
            *lock(&self.lowered) = Some(lowered);
            // Closed meanwhile, by another thread that found nothing to restore.
            if self.feed.is_closed() {
                self.close(py);
            }
        }
        Ok(())
    }

    /// One attempt to connect again; False: try once more. Blocks, without the GIL.
    fn _reconnect(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| self.feed.reconnect())
    }

    /// After the wait for the first window: is it there?
    fn _check_first(&self) -> PyResult<()> {
        match self.feed.look() {
            Look::Ready | Look::Wait => Ok(()),
            Look::Lost => Err(EngineUnavailableError::new_err(
                "the engine ended before it gave a full buffer",
            )),
            Look::Over if self.feed.is_closed() => {
                Err(V2MError::new_err("the stream was closed meanwhile"))
            }
            Look::Over => {
                let engine = self.feed.engine()?;
                Err(DeviceError::new_err(format!(
                    "{} ended after {} samples, less than the buffer of {}",
                    engine.source,
                    engine.ring.committed(),
                    self.feed.buffer_size(),
                )))
            }
        }
    }

    /// The next chunk; None: nothing yet, or over (see `_over`).
    fn _take(&self, py: Python<'_>) -> PyResult<Option<AudioChunk>> {
        if let Some(chunk) = self.feed.take(py)? {
            return Ok(Some(chunk));
        }
        self.feed.entered()?;
        match self.feed.look() {
            Look::Lost => Err(EngineLost::new_err("the engine is gone")),
            _ => Ok(None),
        }
    }

    /// Whether nothing more comes.
    fn _over(&self) -> bool {
        matches!(self.feed.look(), Look::Over)
    }

    /// The exception for a wait in which nothing came.
    fn _stalled(&self, py: Python<'_>) -> PyErr {
        self.feed.stalled(py)
    }

    #[getter]
    fn _timeout(&self) -> Option<f64> {
        self.feed.timeout().map(|timeout| timeout.as_secs_f64())
    }

    fn _waiter(&self, event_loop: Py<PyAny>) -> PyResult<LoopWaiter> {
        let engine = self.feed.engine()?;
        let waiter = Arc::new(Waiter::new(&engine).map_err(errors::raise)?);
        self.feed.woken_by(&waiter);
        Ok(LoopWaiter {
            feed: self.feed.clone(),
            waiter,
            event_loop: Mutex::new(Some(event_loop)),
            waiting: Mutex::new(Vec::new()),
            open: AtomicBool::new(true),
            watched: AtomicBool::new(false),
        })
    }

    #[getter(_link)]
    fn link(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        lock(&self.link).as_ref().map(|link| link.clone_ref(py))
    }

    #[setter(_link)]
    fn set_link(&self, link: Option<Py<PyAny>>) {
        let before = std::mem::replace(&mut *lock(&self.link), link);
        drop(before);
    }
}

impl Drop for AudioStream {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}

/// A stream's wake-ups, as an event loop sees them: a descriptor that it watches, a
/// callback for it, and the tasks to resume. Holds no reference to the stream.
#[pyclass(frozen, name = "_Waiter", module = "v2m_engine._native")]
pub(crate) struct LoopWaiter {
    feed: Arc<Feed>,
    waiter: Arc<Waiter>,
    /// None once collected as garbage.
    event_loop: Mutex<Option<Py<PyAny>>>,
    waiting: Mutex<Vec<Py<Wakeup>>>,
    /// Whether the loop watches the descriptor.
    open: AtomicBool,
    /// Whether a timer looks if audio still comes.
    watched: AtomicBool,
}

impl LoopWaiter {
    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    fn runs_on(&self, event_loop: &Bound<'_, PyAny>) -> bool {
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
        if self.feed.is_closed() {
            return self.close(py);
        }
        let mut result = Ok(());
        if self.waited_for() && !matches!(self.feed.look(), Look::Wait) {
            // The tasks first: they have their audio, and have asked for more, before
            // any system call is made.
            self.waiter.came();
            result = self.wake(py, true);
        }
        self.waiter.drain();
        // What came meanwhile may have been silenced with the rest.
        if self.waited_for() && !self.arm()? {
            self.waiter.wake();
        }
        result
    }

    /// Asks for the next wake-up. False: there is no need to wait.
    pub(crate) fn arm(&self) -> PyResult<bool> {
        let Some(ticket) = self.feed.ticket().filter(|_| self.is_open()) else {
            return Ok(false);
        };
        match self.feed.look() {
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
    fn get_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_watched(&self, watched: bool) {
        self.watched.store(watched, Ordering::Relaxed);
    }

    /// When the newest audio was written, CLOCK_MONOTONIC nanoseconds.
    fn written_ns(&self) -> i64 {
        self.feed.written_ns()
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
