//! `Together`: the Python face of several of a client's streams read together.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use v2m_client::pcm::Dtype;
use v2m_client::progress::Mapped;
use v2m_client::stream::Window;
use v2m_client::together as client;

use crate::chunk::Stretch;
use crate::errors::Outcome;
use crate::source::{Items, usable};
use crate::stream::AudioStream;

#[doc = doc!("Together")]
#[pyclass(frozen, extends = Items, module = "v2m_engine")]
pub(crate) struct Together {
    /// All live as long as they are read.
    _streams: Vec<Py<AudioStream>>,
}

#[doc = doc!("together")]
#[pyfunction]
#[pyo3(signature = (*streams))]
pub(crate) fn together(py: Python<'_>, streams: Vec<Py<AudioStream>>) -> Outcome<Py<Together>> {
    for stream in &streams {
        usable(&stream.get().stream)?;
    }
    let all: Vec<_> = streams.iter().map(|one| one.get().stream.clone()).collect();
    let together = py.detach(|| client::Together::new(all))?;
    let dtypes: Vec<_> = streams.iter().map(|one| one.get().dtype).collect();
    let copied = dtypes.iter().copied().any(Dtype::is_copied);
    let make = move |windows: Vec<Window>| {
        let each = windows.into_iter().zip(&dtypes);
        let stretches = each.map(|(window, dtype)| Stretch::new(window, *dtype));
        stretches.collect()
    };
    let first = streams
        .first()
        .map(|stream| stream.clone_ref(py).into_any());
    let items = Items::new(Mapped::new(together, make), first, copied, chunks);
    let together = Together { _streams: streams };
    let together = PyClassInitializer::from(items).add_subclass(together);
    Ok(Py::new(py, together)?)
}

fn chunks(py: Python<'_>, stretches: Vec<Stretch>) -> PyResult<Py<PyAny>> {
    let chunks = stretches.into_iter().map(|one| Py::new(py, one.chunk()));
    let chunks: Vec<_> = chunks.collect::<PyResult<_>>()?;
    Ok(PyTuple::new(py, chunks)?.into_any().unbind())
}
