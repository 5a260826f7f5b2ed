//! `SpeechSegment`: a chunk that is an utterance, or what there is of it so far.

use pyo3::prelude::*;
use v2m_client::Result;
use v2m_client::segments::Utterance;

use crate::chunk::AudioChunk;

#[doc = doc!("SpeechSegment")]
#[pyclass(frozen, extends = AudioChunk, module = "v2m_engine")]
pub(crate) struct SpeechSegment {
    is_final: bool,
}

impl SpeechSegment {
    /// That utterance.
    ///
    /// Fails with `ErrorKind::Overrun` if it is overwritten already.
    pub(crate) fn new(utterance: &Utterance) -> Result<(Self, AudioChunk)> {
        let chunk = AudioChunk::new(&utterance.window)?;
        let is_final = utterance.is_final;
        Ok((Self { is_final }, chunk))
    }
}

#[pymethods]
impl SpeechSegment {
    #[doc = doc!("SpeechSegment.final")]
    #[getter]
    #[pyo3(name = "final")]
    fn is_final(&self) -> bool {
        self.is_final
    }

    #[doc = doc!("SpeechSegment.end")]
    #[getter]
    fn end(slf: PyRef<'_, Self>) -> u64 {
        slf.as_super().end()
    }

    #[doc = doc!("SpeechSegment.duration")]
    #[getter]
    fn duration(slf: PyRef<'_, Self>) -> f64 {
        let chunk = slf.as_super();
        chunk.ring().rate().seconds(chunk.end() - chunk.start())
    }

    fn __repr__(slf: PyRef<'_, Self>) -> String {
        let growing = if slf.is_final { "" } else { ", growing" };
        let chunk = slf.as_super();
        let (start, end) = (chunk.start(), chunk.end());
        format!(
            "<SpeechSegment of {:.2} s from {start} to {end}{growing}{}>",
            chunk.ring().rate().seconds(end - start),
            chunk.remarks()
        )
    }
}
