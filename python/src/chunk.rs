//! `AudioChunk`: a window of the ring and what is known about it.
#![allow(unsafe_code, reason = "the buffer protocol is in C")]

use std::ffi::c_int;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView};
use v2m_client::judge;
use v2m_client::ring::Reader;
use v2m_client::stream;
use v2m_client::{ErrorKind, Result};

use crate::errors;
use crate::window::Window;

#[doc = doc!("AudioChunk")]
#[pyclass(frozen, subclass, module = "v2m_engine")]
pub(crate) struct AudioChunk {
    window: Window,
    position: u64,
    time_ns: i64,
    gap: bool,
}

impl AudioChunk {
    /// That window.
    ///
    /// Fails with [`ErrorKind::Overrun`] if it is overwritten already.
    pub(crate) fn new(window: &stream::Window) -> Result<Self> {
        let ring = window.ring.clone();
        let start = ring.window(window.position, window.count)?;
        Ok(Self {
            window: Window::new(ring, start, window.count as usize),
            position: window.position,
            time_ns: window.time_ns,
            gap: window.gap,
        })
    }

    pub(crate) fn ring(&self) -> &Arc<Reader> {
        self.window.ring()
    }

    pub(crate) fn start(&self) -> u64 {
        self.position
    }

    pub(crate) fn end(&self) -> u64 {
        self.position + self.window.len() as u64
    }

    /// What a representation says after the length: how it is now.
    pub(crate) fn remarks(&self) -> String {
        let gap = if self.gap { ", gap" } else { "" };
        let gone = if self.valid() { "" } else { ", overwritten" };
        format!("{gap}{gone}")
    }
}

#[pymethods]
impl AudioChunk {
    #[doc = doc!("AudioChunk.position")]
    #[getter]
    fn position(&self) -> u64 {
        self.position
    }

    #[doc = doc!("AudioChunk.time_ns")]
    #[getter]
    fn time_ns(&self) -> i64 {
        self.time_ns
    }

    #[doc = doc!("AudioChunk.gap")]
    #[getter]
    fn gap(&self) -> bool {
        self.gap
    }

    #[doc = doc!("AudioChunk.valid")]
    #[getter]
    fn valid(&self) -> bool {
        self.window.ring().is_valid(self.position)
    }

    #[doc = doc!("AudioChunk.speech")]
    #[getter]
    fn speech<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let ring = self.window.ring();
        let window = ring.rate().window();
        let first = self.position / window;
        let all = self.end() / window;
        py.detach(|| judge::await_speech(ring, all));
        let end = all.min(ring.speech_committed());
        let count = end.saturating_sub(first);
        let start = ring
            .speech(first.min(end), count)
            .map_err(|error| match error.kind() {
                ErrorKind::Overrun => {
                    errors::overrun(py, self.window.len() as u64, error.to_string())
                }
                _ => errors::raise(error),
            })?;
        let window = Window::new(ring.clone(), start, count as usize);
        PyMemoryView::from(Bound::new(py, Probabilities { window })?.as_any())
    }

    #[doc = doc!("AudioChunk.copy")]
    fn copy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let copy = py
            .import(intern!(py, "array"))?
            .call_method1(intern!(py, "array"), ("f",))?;
        let bytes = PyMemoryView::from(slf)?.call_method1(intern!(py, "cast"), ("B",))?;
        copy.call_method1(intern!(py, "frombytes"), (bytes,))?;
        if this.valid() {
            return Ok(copy);
        }
        let gone = this.window.ring().oldest().min(this.end()) - this.position;
        Err(errors::overrun(
            py,
            gone,
            format!("{gone} samples of the chunk were overwritten before they were copied"),
        ))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a chunk lies in the engine's memory and can't be pickled: pickle its copy()",
        ))
    }

    fn __len__(&self) -> usize {
        self.window.len()
    }

    fn __repr__(&self) -> String {
        let length = self.window.len();
        let milliseconds = self.ring().rate().ns(length as i64) / 1_000_000;
        format!(
            "<AudioChunk of {length} samples ({milliseconds} ms) from {}{}>",
            self.position,
            self.remarks()
        )
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let owner = slf.clone().into_any();
        // SAFETY: CPython gives a view to fill; the window lies in this very object.
        unsafe { slf.get().window.export(owner, view, flags) }
    }
}

/// An `array.array` of its own with these values.
pub(crate) fn array_of<'py>(py: Python<'py>, values: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect();
    static ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    ARRAY
        .import(py, "array", "array")?
        .call1((intern!(py, "f"), PyBytes::new(py, &bytes)))
}

/// What `AudioChunk.speech` is a view of.
#[pyclass(frozen, module = "v2m_engine._native")]
struct Probabilities {
    window: Window,
}

#[pymethods]
impl Probabilities {
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let owner = slf.clone().into_any();
        // SAFETY: as in `AudioChunk`.
        unsafe { slf.get().window.export(owner, view, flags) }
    }
}
