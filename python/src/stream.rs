//! `AudioStream`: the Python face of a [`Feed`]. Its asyncio half is `_aio.py`.
#![allow(unsafe_code, reason = "the buffer protocol is in C")]

use std::ffi::c_int;
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3::{ffi, intern};
use v2m_engine::ring::SAMPLE_RATE;
use v2m_engine::vad::segment::Params;

use crate::chunk::AudioChunk;
use crate::cursor::Hop;
use crate::engine::lock;
use crate::errors::{self, DeviceError, EngineLost, EngineUnavailableError, V2MError};
use crate::feed::{Awaited, Feed, Look};
use crate::health::{self, Health};
use crate::link::{self, Link, LoopWaiter};
use crate::params;
use crate::segments::SpeechSegments;
use crate::switch::Lowered;
use crate::task::{NextChunk, running_loop};
use crate::window;

/// Audio as it arrives.
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct AudioStream {
    feed: Arc<Feed>,
    link: Link,
    /// Seconds that a busy thread may keep the GIL from us; None: as the program has it.
    switch_interval: Option<f64>,
    /// In force while the stream is open.
    lowered: Mutex<Option<Lowered>>,
}

impl AudioStream {
    pub(crate) fn new(feed: Feed, switch_interval: Option<f64>) -> Self {
        Self {
            feed: Arc::new(feed),
            link: Link::default(),
            switch_interval,
            lowered: Mutex::new(None),
        }
    }

    /// What it reads by.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// What a task on the running loop is to wait by, and that loop; None: `_aio.py` has
    /// something to do first, or to say.
    pub(crate) fn waiting_on(
        &self,
        py: Python<'_>,
    ) -> PyResult<Option<(Py<LoopWaiter>, Py<PyAny>)>> {
        let Some(link) = self.link.get(py) else {
            return Ok(None);
        };
        let link = link.bind(py);
        let waiter = link.getattr(intern!(py, "waiter"))?;
        let waiter = waiter.cast_into::<LoopWaiter>()?;
        let event_loop = running_loop(py)?;
        if waiter.get().stale() || !waiter.get().runs_on(&event_loop) {
            return Ok(None);
        }
        if !waiter.get().get_watched() {
            link.call_method0(intern!(py, "watch"))?;
        }
        Ok(Some((waiter.unbind(), event_loop.unbind())))
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
                Look::Lost => self.feed.recover(py)?,
                Look::Ready | Look::Deaf => {}
                Look::Wait => self.feed.wait(py)?,
            }
        }
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        link::aio(slf, "enter")
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _exception: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        link::aio(slf, "leave")
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

    #[pyo3(signature = (
        min_speech_ms=250, min_silence_ms=500, pad_ms=200, max_s=30.0, partial_ms=None,
        *, threshold=0.5, neg_threshold=None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "the signature in Python")]
    fn segments(
        &self,
        min_speech_ms: i64,
        min_silence_ms: i64,
        pad_ms: i64,
        max_s: f64,
        partial_ms: Option<i64>,
        threshold: f64,
        neg_threshold: Option<f64>,
    ) -> PyResult<SpeechSegments> {
        let params = Params {
            threshold: threshold as f32,
            neg_threshold: neg_threshold.map(|threshold| threshold as f32),
            min_speech_ms: params::ms("min_speech_ms", min_speech_ms)?,
            min_silence_ms: params::ms("min_silence_ms", min_silence_ms)?,
            pad_ms: params::ms("pad_ms", pad_ms)?,
            max_s,
            partial_ms: partial_ms
                .map(|ms| params::ms("partial_ms", ms))
                .transpose()?,
        };
        SpeechSegments::new(self.feed.clone(), params)
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
    fn health(&self, py: Python<'_>) -> PyResult<Health> {
        let engine = self.feed.engine()?;
        let status = py.detach(|| engine.status_within(health::PATIENCE));
        status.map(Health::new).map_err(errors::raise)
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
            Look::Ready | Look::Wait | Look::Deaf => Ok(()),
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
        LoopWaiter::new(self.feed.clone(), event_loop)
    }

    #[getter(_link)]
    fn link(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.link.get(py)
    }

    #[setter(_link)]
    fn set_link(&self, link: Option<Py<PyAny>>) {
        self.link.set(link);
    }
}

impl Drop for AudioStream {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}
