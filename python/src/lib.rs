//! The Python binding: the ring's reader as Python objects, and nothing of the
//! audio itself. `v2m_engine/_native.pyi` documents what Python sees.
//!
//! Read in this order: `capture` (what to capture), `stream` (the face of
//! `feed`, which uses `cursor` for positions and `engine` for connections),
//! `chunk` and `window` (memory for Python), `segments` and `segment` (speech),
//! `health` (what is wrong with the source), `processor` (speech in any audio), `recording` (files), `link` and `waiter` (event loops),
//! `task` (what waits on them), `switch` (the GIL's switch interval).

mod capture;
mod chunk;
mod cursor;
mod engine;
mod errors;
mod feed;
mod health;
mod link;
mod params;
mod processor;
mod recording;
mod samples;
mod segment;
mod segments;
mod stream;
mod switch;
mod task;
mod waiter;
mod window;

extern crate v2m_client as v2m_engine;

use pyo3::prelude::*;

/// The module `v2m_engine._native`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<capture::AudioCapture>()?;
    module.add_class::<stream::AudioStream>()?;
    module.add_class::<health::Health>()?;
    module.add_class::<health::Finding>()?;
    module.add_class::<chunk::AudioChunk>()?;
    module.add_class::<segments::SpeechSegments>()?;
    module.add_class::<segment::SpeechSegment>()?;
    module.add_class::<processor::VadProcessor>()?;
    module.add_class::<recording::Recording>()?;
    module.add_class::<task::Wakeup>()?;
    errors::register(module)?;
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
    engine::forked();
}
