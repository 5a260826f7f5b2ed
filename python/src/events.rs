//! `StreamEvents`: the Python face of a client's [`Events`].

use std::sync::Arc;

use pyo3::prelude::*;
use v2m_client::events::{Event, Events};
use v2m_client::progress::Source;
use v2m_client::stream::Stream;

use crate::errors;
use crate::params::Dtype;
use crate::source::{self, aio, python, usable};

#[doc = doc!("StreamEvents")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct StreamEvents {
    events: Events,
    /// The `AudioStream`, which lives as long as events of it are read.
    stream: Py<PyAny>,
}

impl StreamEvents {
    /// Those of an open stream.
    pub(crate) fn new(of: &Arc<Stream>, stream: Py<PyAny>) -> PyResult<Self> {
        usable(of)?;
        let events = Events::new(of.clone()).map_err(errors::raise)?;
        Ok(Self { events, stream })
    }
}

fn event(py: Python<'_>, found: Option<Event>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let Some(event) = found else {
        return Ok(None);
    };
    let (kind, detail) = (event.what.name(), event.what.detail());
    let fields = (kind, event.position, event.time_ns, event.length, detail);
    python(py, "_events", "Event", fields).map(Some)
}

#[pymethods]
impl StreamEvents {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        event(py, source::next(py, &self.events, Dtype::Float32, Ok)?)
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf, "following")
    }

    // For `_aio.py`; see `AudioStream`.

    fn _poll<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        event(py, source::poll(py, &self.events, Dtype::Float32, Ok)?)
    }

    fn _pending(&self) -> bool {
        self.events.is_pending()
    }

    /// One attempt to connect again; False: try once more. Blocks, without the GIL.
    fn _recover(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| self.events.recover()).map_err(errors::raise)
    }

    #[getter]
    fn _stream(&self, py: Python<'_>) -> Py<PyAny> {
        self.stream.clone_ref(py)
    }
}
