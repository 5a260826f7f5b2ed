//! The Python binding: the ring's reader as Python objects, and nothing of the
//! audio itself. `v2m_engine/_native.pyi` documents what Python sees.
//!
//! Read in this order: `capture` (what to capture), `stream`, `segments` and `events` (the
//! faces of the client's, which `source` makes iterators; `together` is several streams), `chunk` and `window` (memory for
//! Python), `samples` (memory of Python's), `processor` (speech in any audio), `corpus` (in
//! much of it), `pieces` (while it comes), `recording` (files).
//! What needs neither memory nor threads is in Python, beside the module.

#![allow(
    clippy::doc_lazy_continuation,
    reason = "docstrings are Python's, where `>>>` begins an example"
)]

/// What `v2m_engine/_native.pyi` says of a class or a member (see `build.rs`).
macro_rules! doc {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/", $name))
    };
}

/// Attributes of a class by its names in Rust and in Python: each is an expression on the object.
macro_rules! getters {
    ($class:ident, $python:literal, |$this:ident, $py:ident| $($name:ident: $type:ty = $value:expr;)*) => {
        #[pymethods]
        impl $class {$(
            #[doc = include_str!(concat!(env!("OUT_DIR"), "/", $python, ".", stringify!($name)))]
            #[getter]
            fn $name(&self, $py: Python<'_>) -> $type {
                let $this = self;
                $value
            }
        )*}
    };
}

mod capture;
mod chunk;
mod corpus;
mod errors;
mod events;
mod params;
mod pieces;
mod processor;
mod recording;
mod samples;
mod segments;
mod source;
mod stream;
mod together;
mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::call::PyCallArgs;
use pyo3::prelude::*;

/// Locks; a panic elsewhere leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls a function of a Python module of this package.
fn python<'py>(
    py: Python<'py>,
    module: &str,
    name: &str,
    arguments: impl PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let module = py.import(format!("v2m_engine.{module}"))?;
    module.call_method1(name, arguments)
}

/// The module `v2m_engine._native`. It needs no GIL: every class is frozen, and what changes in
/// one is atomic or behind a lock. Where Python is entered under a lock (`corpus`), nobody waits
/// for that one who hasn't left Python.
#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<capture::AudioCapture>()?;
    module.add_class::<stream::AudioStream>()?;
    module.add_class::<chunk::AudioChunk>()?;
    module.add_class::<segments::SpeechSegments>()?;
    module.add_class::<events::StreamEvents>()?;
    module.add_class::<chunk::SpeechSegment>()?;
    module.add_class::<together::Together>()?;
    module.add_function(wrap_pyfunction!(together::together, module)?)?;
    module.add_class::<processor::VadProcessor>()?;
    module.add_class::<pieces::VadStream>()?;
    module.add_class::<recording::Recording>()?;
    module.add_function(wrap_pyfunction!(corpus::read_audio, module)?)?;
    errors::register(module)?;
    module.add_function(wrap_pyfunction!(capture::_programs, module)?)?;
    let forked = wrap_pyfunction!(after_fork, module)?;
    let hooks = pyo3::types::PyDict::new(py);
    hooks.set_item("after_in_child", forked)?;
    py.import("os")?
        .call_method("register_at_fork", (), Some(&hooks))?;
    Ok(())
}

/// A forked child has its parent's streams; they aren't its own.
#[pyfunction]
fn after_fork() {
    v2m_client::engine::forked();
}
