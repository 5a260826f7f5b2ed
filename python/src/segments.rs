//! `SpeechSegments`: the Python face of a client's [`Segments`].

use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use v2m_client::progress::Source;
use v2m_client::segments::{Segments, Utterance};
use v2m_client::stream::Stream;
use v2m_client::vad::segment::Params;

use crate::errors;
use crate::segment::SpeechSegment;
use crate::source::{self, aio, usable};

#[doc = doc!("SpeechSegments")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct SpeechSegments {
    segments: Segments,
    /// The `AudioStream`, which lives as long as segments of it are read.
    stream: Py<PyAny>,
}

impl SpeechSegments {
    /// Those of an open stream.
    pub(crate) fn new(of: &Arc<Stream>, stream: Py<PyAny>, params: Params) -> PyResult<Self> {
        params.validate().map_err(errors::raise)?;
        usable(of)?;
        let segments = Segments::new(of.clone(), params).map_err(errors::raise)?;
        Ok(Self { segments, stream })
    }
}

fn segment(py: Python<'_>, found: Option<Utterance>) -> PyResult<Option<Py<SpeechSegment>>> {
    let Some(utterance) = found else {
        return Ok(None);
    };
    let segment = SpeechSegment::new(&utterance).map_err(errors::raise)?;
    Py::new(py, segment).map(Some)
}

#[pymethods]
impl SpeechSegments {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<SpeechSegment>>> {
        segment(py, source::next(py, &self.segments)?)
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf, "following")
    }

    // For `_aio.py`; see `AudioStream`.

    fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<SpeechSegment>>> {
        segment(py, source::poll(py, &self.segments)?)
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

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stream)
    }
}
