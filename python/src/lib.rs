//! The Python binding: the ring's reader as Python objects, and nothing of the
//! audio itself. `v2m_engine/_native.pyi` documents what Python sees.
//!
//! Read in this order: `capture` (what to capture); `stream`, `segments`, `events` and
//! `together` (faces of the client's, which `source` makes iterators); `chunk` and `window`
//! (memory for Python), `samples` (memory of Python's); `processor` (speech in any audio),
//! `corpus` (in much of it), `pieces` (while it comes); `recording` (files).
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
mod _native {
    use pyo3::prelude::*;
    use pyo3::types::IntoPyDict;

    #[pymodule_export]
    use crate::capture::{_programs, AudioCapture};
    #[pymodule_export]
    use crate::chunk::{AudioChunk, SpeechSegment};
    #[pymodule_export]
    use crate::corpus::read_audio;
    #[pymodule_export]
    use crate::errors::{
        DeviceError, EngineUnavailableError, NeedsRecovery, OverrunError, V2MError,
    };
    #[pymodule_export]
    use crate::events::StreamEvents;
    #[pymodule_export]
    use crate::pieces::VadStream;
    #[pymodule_export]
    use crate::processor::VadProcessor;
    #[pymodule_export]
    use crate::recording::Recording;
    #[pymodule_export]
    use crate::segments::SpeechSegments;
    #[pymodule_export]
    use crate::stream::AudioStream;
    #[pymodule_export]
    use crate::together::{Together, together};

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// A forked child has its parent's streams; they aren't its own.
    #[pyfunction]
    fn _forked() {
        v2m_client::engine::forked();
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.getattr("OverrunError")?.setattr("lost", 0)?;
        let hooks = [("after_in_child", module.getattr("_forked")?)].into_py_dict(module.py())?;
        let os = module.py().import("os")?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
        Ok(())
    }
}
