//! `Together`: the Python face of several of a client's streams read together.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use v2m_client::Result;
use v2m_client::progress::Source;
use v2m_client::stream::Window;
use v2m_client::together as client;

use crate::chunk::Stretch;
use crate::errors;
use crate::params::Dtype;
use crate::source::{self, aio, usable};
use crate::stream::AudioStream;

#[doc = doc!("Together")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct Together {
    together: client::Together,
    /// The `AudioStream`s, which live as long as they are read.
    streams: Vec<Py<AudioStream>>,
    dtypes: Vec<Dtype>,
}

impl Together {
    fn make(&self, windows: Vec<Window>) -> Result<Vec<Stretch>> {
        let each = windows.into_iter().zip(&self.dtypes);
        each.map(|(window, dtype)| Stretch::new(window, *dtype))
            .collect()
    }

    /// What decides whether memory is copied, and the GIL given up for it.
    fn dtype(&self) -> Dtype {
        let copied = self.dtypes.iter().find(|dtype| **dtype == Dtype::Int16);
        copied.copied().unwrap_or(Dtype::Float32)
    }
}

fn chunks(py: Python<'_>, found: Option<Vec<Stretch>>) -> PyResult<Option<Py<PyTuple>>> {
    let Some(found) = found else { return Ok(None) };
    let chunks = found.into_iter().map(|one| Py::new(py, one.chunk()));
    let chunks: Vec<_> = chunks.collect::<PyResult<_>>()?;
    PyTuple::new(py, chunks).map(|chunks| Some(chunks.unbind()))
}

#[doc = doc!("together")]
#[pyfunction]
#[pyo3(signature = (*streams))]
pub(crate) fn together(py: Python<'_>, streams: Vec<Py<AudioStream>>) -> PyResult<Together> {
    for stream in &streams {
        usable(stream.get().of())?;
    }
    let all: Vec<_> = streams.iter().map(|one| one.get().of().clone()).collect();
    let together = py.detach(|| client::Together::new(all));
    Ok(Together {
        together: together.map_err(errors::raise)?,
        dtypes: streams
            .iter()
            .map(|stream| stream.get().samples())
            .collect(),
        streams,
    })
}

#[pymethods]
impl Together {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyTuple>>> {
        let make = |found| self.make(found);
        chunks(py, source::next(py, &self.together, self.dtype(), make)?)
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf, "following")
    }

    // For `_aio.py`; see `AudioStream`.

    fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyTuple>>> {
        let make = |found| self.make(found);
        chunks(py, source::poll(py, &self.together, self.dtype(), make)?)
    }

    fn _pending(&self) -> bool {
        self.together.is_pending()
    }

    /// One attempt to connect again; False: try once more. Blocks, without the GIL.
    fn _recover(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| self.together.recover()).map_err(errors::raise)
    }

    #[getter]
    fn _stream(&self, py: Python<'_>) -> Py<AudioStream> {
        self.streams[0].clone_ref(py)
    }
}
