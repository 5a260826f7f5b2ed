//! Ring memory handed to Python by the buffer protocol: one-dimensional,
//! contiguous, read-only, format `f`.
#![allow(unsafe_code, reason = "the buffer protocol is in C")]

use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use v2m_client::ring::Reader;

const FORMAT: &CStr = c"f";
const ITEM: isize = size_of::<f32>() as isize;

/// `count` floats of a ring's memory, readable as long as this lives.
pub(crate) struct Window {
    /// Keeps the map.
    ring: Arc<Reader>,
    start: NonNull<f32>,
    /// The shape that views point to; CPython wants it mutable and leaves it alone.
    shape: [isize; 1],
    strides: [isize; 1],
}

// SAFETY: `start` points into memory that `ring` keeps mapped; both halves of a
// `Window` may be used from any thread (`Reader` is `Send` and `Sync`), and the
// memory is never written through it.
unsafe impl Send for Window {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Window {}

impl Window {
    /// `start` comes from `ring`, for at least `count` elements.
    pub(crate) fn new(ring: Arc<Reader>, start: NonNull<f32>, count: usize) -> Self {
        Self {
            ring,
            start,
            shape: [count as isize],
            strides: [ITEM],
        }
    }

    pub(crate) fn ring(&self) -> &Arc<Reader> {
        &self.ring
    }

    pub(crate) fn len(&self) -> usize {
        self.shape[0] as usize
    }

    /// Fills `view`, which will keep `owner` alive.
    ///
    /// # Safety
    /// `view` is null or points to a `Py_buffer` to be filled, and `owner` is the
    /// Python object that `self` lies in, without ever moving.
    pub(crate) unsafe fn export(
        &self,
        owner: Bound<'_, PyAny>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let Some(mut view) = NonNull::new(view) else {
            return Err(PyBufferError::new_err("no view to fill"));
        };
        // SAFETY: the caller's promise.
        let view = unsafe { view.as_mut() };
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            view.obj = ptr::null_mut();
            return Err(PyBufferError::new_err("the ring is read-only; use .copy()"));
        }
        let wants = |flag| flags & flag == flag;
        view.buf = self.start.as_ptr().cast::<c_void>();
        view.len = self.shape[0] * ITEM;
        view.itemsize = ITEM;
        view.readonly = 1;
        view.ndim = 1;
        view.format = match wants(ffi::PyBUF_FORMAT) {
            true => FORMAT.as_ptr().cast_mut(),
            false => ptr::null_mut(),
        };
        view.shape = match wants(ffi::PyBUF_ND) {
            true => self.shape.as_ptr().cast_mut(),
            false => ptr::null_mut(),
        };
        view.strides = match wants(ffi::PyBUF_STRIDES) {
            true => self.strides.as_ptr().cast_mut(),
            false => ptr::null_mut(),
        };
        view.suboffsets = ptr::null_mut();
        view.internal = ptr::null_mut();
        // The view's own reference: `shape`, `strides` and the map live on with it.
        view.obj = owner.into_ptr();
        Ok(())
    }
}

/// Gives out the buffer of `exporter` as if it were one's own.
///
/// # Safety
/// `view` is null or points to a `Py_buffer` to be filled.
pub(crate) unsafe fn delegate(
    exporter: &Bound<'_, PyAny>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    // SAFETY: the caller's promise; the view refers to `exporter`, not to us.
    match unsafe { ffi::PyObject_GetBuffer(exporter.as_ptr(), view, flags) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(exporter.py())),
    }
}
