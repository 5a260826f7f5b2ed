//! `SpeechSegments`: the Python face of a client's [`Segments`].

use std::sync::Arc;

use pyo3::prelude::*;
use v2m_client::pcm::Dtype;
use v2m_client::progress::{Mapped, Source};
use v2m_client::segments::{Segments, Utterance};
use v2m_client::stream::Stream;
use v2m_client::vad::segment::Params;

use crate::chunk::{SpeechSegment, Stretch};
use crate::errors::Outcome;
use crate::source::{Items, iterable, usable};

#[doc = doc!("SpeechSegments")]
#[pyclass(frozen, extends = Items, module = "v2m_engine")]
pub(crate) struct SpeechSegments(Arc<Segments>);

impl SpeechSegments {
    /// Those of an open stream, which is that `object` of Python's.
    pub(crate) fn new(
        of: &Arc<Stream>,
        object: Py<PyAny>,
        params: Params,
        dtype: Dtype,
    ) -> Outcome<PyClassInitializer<Self>> {
        params.validate()?;
        usable(of)?;
        let segments = Arc::new(Segments::new(of.clone(), params)?);
        let make = move |found: Utterance| {
            let stretch = Stretch::new(found.window, dtype)?;
            Ok((stretch, found.is_final))
        };
        let items = Items::new(
            Mapped::new(segments.clone(), make),
            Some(object),
            dtype.is_copied(),
            |py, (stretch, is_final)| {
                let segment = Py::new(py, SpeechSegment::new(stretch, is_final))?;
                Ok(segment.into_any())
            },
        );
        Ok(PyClassInitializer::from(items).add_subclass(Self(segments)))
    }
}

#[pymethods]
impl SpeechSegments {
    #[doc = doc!("SpeechSegments.finish")]
    fn finish(&self) -> Outcome<bool> {
        iterable(self.0.stream())?;
        Ok(self.0.finish())
    }
}
