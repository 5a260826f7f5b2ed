//! Memory handed to Python by the buffer protocol: one-dimensional, contiguous, read-only.
#![allow(unsafe_code, reason = "the buffer protocol is in C")]

use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use v2m_client::Result;
use v2m_client::ring::Reader;

use crate::source::Items;

/// Where samples lie that Python gets to see, and who keeps them.
enum Memory {
    /// A ring's own.
    Ring {
        _ring: Arc<Reader>,
        start: NonNull<f32>,
    },
    /// 16-bit copies.
    Own(Box<[i16]>),
}

// SAFETY: `start` points into memory that the `Reader` beside it, which is `Send` and
// `Sync`, keeps mapped, and nothing is written through it.
unsafe impl Send for Memory {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Memory {}

/// Samples, readable as long as this lives; what is exported keeps it.
#[pyclass(frozen, subclass, name = "_Window", module = "v2m_engine._native")]
pub(crate) struct Window {
    memory: Memory,
    /// Samples: what the shape of views points to.
    count: isize,
}

impl Window {
    /// `count` samples of a ring from `position` on, where they lie.
    ///
    /// Fails with `ErrorKind::Overrun` if they are overwritten already.
    pub(crate) fn samples(ring: &Arc<Reader>, position: u64, count: u64) -> Result<Self> {
        Ok(Self::of_ring(ring, ring.window(position, count)?, count))
    }

    /// The probabilities of `count` windows of a ring from number `first` on.
    ///
    /// Fails with `ErrorKind::Overrun` if they are overwritten already.
    pub(crate) fn speech(ring: &Arc<Reader>, first: u64, count: u64) -> Result<Self> {
        Ok(Self::of_ring(ring, ring.speech(first, count)?, count))
    }

    /// A copy of its own.
    pub(crate) fn own(samples: Box<[i16]>) -> Self {
        Self {
            count: samples.len() as isize,
            memory: Memory::Own(samples),
        }
    }

    fn of_ring(ring: &Arc<Reader>, start: NonNull<f32>, count: u64) -> Self {
        let _ring = ring.clone();
        Self {
            memory: Memory::Ring { _ring, start },
            count: count as isize,
        }
    }

    /// Where it begins, the bytes of a sample, and its format as the module `struct` names it.
    fn layout(&self) -> (*mut c_void, isize, &'static CStr) {
        let (start, item, format): (*const c_void, _, _) = match &self.memory {
            Memory::Ring { start, .. } => (start.as_ptr().cast(), size_of::<f32>(), c"f"),
            Memory::Own(samples) => (samples.as_ptr().cast(), size_of::<i16>(), c"h"),
        };
        (start.cast_mut(), item as isize, format)
    }
}

#[pymethods]
impl Window {
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let Some(mut view) = NonNull::new(view) else {
            return Err(PyBufferError::new_err("no view to fill"));
        };
        // SAFETY: CPython gives a view to fill.
        let view = unsafe { view.as_mut() };
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            view.obj = ptr::null_mut();
            return Err(PyBufferError::new_err(
                "the audio is read-only; use .copy()",
            ));
        }
        let this = slf.get();
        let (start, item, format) = this.layout();
        let bytes = this.count * item;
        // SAFETY: the view gets a reference to this object, with which memory and count live
        // on, where they are (a Python object never moves).
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, bytes, 1, flags) };
        if filled != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        // Filled for bytes, with a stride that points to the size of an item. CPython wants
        // the shape mutable and leaves it alone.
        view.itemsize = item;
        if !view.format.is_null() {
            view.format = format.as_ptr().cast_mut();
        }
        if !view.shape.is_null() {
            view.shape = (&raw const this.count).cast_mut();
        }
        Ok(())
    }
}

/// Items of which whoever asks for memory gets that of another object, made just then.
#[pyclass(frozen, subclass, extends = Items, name = "_Exporter", module = "v2m_engine._native")]
pub(crate) struct Exporter(pub(crate) Make);

type Make = Box<dyn Fn(Python<'_>) -> PyResult<Py<PyAny>> + Send + Sync>;

#[pymethods]
impl Exporter {
    unsafe fn __getbuffer__(
        &self,
        py: Python<'_>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let exporter = (self.0)(py)?;
        // SAFETY: CPython gives a view to fill; it will refer to `exporter`.
        match unsafe { ffi::PyObject_GetBuffer(exporter.as_ptr(), view, flags) } {
            0 => Ok(()),
            _ => Err(PyErr::fetch(py)),
        }
    }
}
