//! `StreamEvents`: the Python face of a client's [`Events`].

use std::sync::Arc;

use pyo3::prelude::*;
use v2m_client::events::{Event, Events};
use v2m_client::stream::Stream;

use crate::errors::Outcome;
use crate::python;
use crate::source::{Items, usable};

#[doc = doc!("StreamEvents")]
#[pyclass(frozen, extends = Items, module = "v2m_engine")]
pub(crate) struct StreamEvents;

impl StreamEvents {
    /// Those of an open stream, which is that `object` of Python's.
    pub(crate) fn new(of: &Arc<Stream>, object: Py<PyAny>) -> Outcome<PyClassInitializer<Self>> {
        usable(of)?;
        let events = Events::new(of.clone())?;
        let items = Items::new(events, Some(object), false, event);
        Ok(PyClassInitializer::from(items).add_subclass(Self))
    }
}

fn event(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    let (kind, detail) = (event.what.name(), event.what.detail());
    let fields = (kind, event.position, event.time_ns, event.length, detail);
    python(py, "_events", "Event", fields).map(Bound::unbind)
}
