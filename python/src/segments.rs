//! `SpeechSegments`: the Python face of a client's [`Segments`].

use std::sync::Arc;

use pyo3::prelude::*;
use v2m_client::Result;
use v2m_client::progress::Source;
use v2m_client::segments::{Segments, Utterance};
use v2m_client::stream::Stream;
use v2m_client::vad::segment::Params;

use crate::chunk::{SpeechSegment, Stretch};
use crate::errors;
use crate::params::Dtype;
use crate::source::{self, aio, iterable, usable};

#[doc = doc!("SpeechSegments")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct SpeechSegments {
    segments: Segments,
    /// The `AudioStream`, which lives as long as segments of it are read.
    stream: Py<PyAny>,
    dtype: Dtype,
}

impl SpeechSegments {
    /// Those of an open stream.
    pub(crate) fn new(
        of: &Arc<Stream>,
        stream: Py<PyAny>,
        params: Params,
        dtype: Dtype,
    ) -> PyResult<Self> {
        params.validate().map_err(errors::raise)?;
        usable(of)?;
        let segments = Segments::new(of.clone(), params).map_err(errors::raise)?;
        Ok(Self {
            segments,
            stream,
            dtype,
        })
    }

    fn read(&self, utterance: Utterance) -> Result<(Stretch, bool)> {
        let stretch = Stretch::new(utterance.window, self.dtype)?;
        Ok((stretch, utterance.is_final))
    }
}

fn segment(py: Python<'_>, found: Option<(Stretch, bool)>) -> PyResult<Option<Py<SpeechSegment>>> {
    let found = found.map(|(stretch, is_final)| SpeechSegment::new(stretch, is_final));
    found.map(|segment| Py::new(py, segment)).transpose()
}

#[pymethods]
impl SpeechSegments {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<SpeechSegment>>> {
        let make = |found| self.read(found);
        segment(py, source::next(py, &self.segments, self.dtype, make)?)
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf, "following")
    }

    #[doc = doc!("SpeechSegments.finish")]
    fn finish(&self) -> PyResult<bool> {
        iterable(self.segments.stream())?;
        Ok(self.segments.finish())
    }

    // For `_aio.py`; see `AudioStream`.

    fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<SpeechSegment>>> {
        let make = |found| self.read(found);
        segment(py, source::poll(py, &self.segments, self.dtype, make)?)
    }

    fn _pending(&self) -> bool {
        self.segments.is_pending()
    }

    /// One attempt to connect again, or the question whether the engine detects speech at
    /// all; False: try once more. Blocks, without the GIL.
    fn _recover(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| self.segments.recover()).map_err(errors::raise)
    }

    #[getter]
    fn _stream(&self, py: Python<'_>) -> Py<PyAny> {
        self.stream.clone_ref(py)
    }
}
