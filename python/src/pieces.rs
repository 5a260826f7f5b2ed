//! `VADStream`: where speech starts and ends in audio that comes in pieces.

use std::sync::Mutex;

use pyo3::prelude::*;
use v2m_client::vad::pieces::{Event, Pieces};
use v2m_client::vad::segment::Params;

use crate::errors::Outcome;
use crate::python;
use crate::samples::Samples;
use crate::{lock, params};

#[doc = doc!("VADStream")]
#[pyclass(frozen, name = "VADStream", module = "v2m_engine")]
pub(crate) struct VadStream(Mutex<Pieces>);

#[pymethods]
impl VadStream {
    #[new]
    #[pyo3(signature = (
        threshold=0.5, min_silence_ms=100, pad_ms=30, *, min_speech_ms=0, neg_threshold=None,
        sample_rate=16_000, hearing="plain",
    ))]
    fn new(
        threshold: f32,
        #[pyo3(from_py_with = params::min_silence_ms)] min_silence_ms: u32,
        #[pyo3(from_py_with = params::pad_ms)] pad_ms: u32,
        #[pyo3(from_py_with = params::min_speech_ms)] min_speech_ms: u32,
        neg_threshold: Option<f32>,
        #[pyo3(from_py_with = params::sample_rate)] sample_rate: u32,
        hearing: &str,
    ) -> Outcome<Self> {
        let params = Params {
            threshold,
            neg_threshold,
            min_speech_ms,
            min_silence_ms,
            pad_ms,
            max_s: f64::INFINITY,
            ..Params::default()
        };
        let hearing = hearing.parse()?;
        let pieces = Pieces::new(&params, sample_rate, hearing)?;
        Ok(Self(Mutex::new(pieces)))
    }

    #[doc = doc!("VADStream.push")]
    fn push<'py>(&self, audio: &Bound<'py, PyAny>) -> Outcome<Vec<Bound<'py, PyAny>>> {
        let samples = Samples::get(audio)?;
        let pushed: Outcome<_> = audio.py().detach(|| {
            samples.check()?;
            let mut pieces = lock(&self.0);
            let mut found = Vec::new();
            samples.blocks(|_, block| pieces.push(block, &mut found))?;
            Ok((found, pieces.rate()))
        });
        let (found, rate) = pushed?;
        Ok(events(audio.py(), &found, rate)?)
    }

    #[doc = doc!("VADStream.finish")]
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut found = Vec::new();
        let rate = py.detach(|| {
            let mut pieces = lock(&self.0);
            pieces.finish(&mut found);
            pieces.rate()
        });
        events(py, &found, rate)
    }

    #[doc = doc!("VADStream.reset")]
    fn reset(&self, py: Python<'_>) {
        py.detach(|| lock(&self.0).reset());
    }
}

getters! { VadStream, "VADStream", |this, py|
    in_speech: bool = py.detach(|| lock(&this.0).in_speech());
    probability: Option<f32> = py.detach(|| lock(&this.0).probability());
    position: u64 = py.detach(|| lock(&this.0).position());
}

/// Those, as Python has them.
fn events<'py>(py: Python<'py>, events: &[Event], rate: u32) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let event = |event: &Event| {
        let (kind, position) = (event.name(), event.position());
        let time = position as f64 / f64::from(rate);
        python(py, "_vad_event", "VADEvent", (kind, position, time))
    };
    events.iter().map(event).collect()
}
