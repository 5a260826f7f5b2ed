//! `VADStream`: where speech starts and ends in audio that comes in pieces.

use std::sync::Mutex;

use pyo3::prelude::*;
use v2m_client::vad::pieces::{Event, Pieces};
use v2m_client::vad::segment::Params;

use crate::samples::Samples;
use crate::source::python;
use crate::{errors, lock, params};

#[doc = doc!("VADStream")]
#[pyclass(frozen, name = "VADStream", module = "v2m_engine")]
pub(crate) struct VadStream {
    pieces: Mutex<Pieces>,
}

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
    ) -> PyResult<Self> {
        let params = Params {
            threshold,
            neg_threshold,
            min_speech_ms,
            min_silence_ms,
            pad_ms,
            max_s: f64::INFINITY,
            ..Params::default()
        };
        let hearing = hearing.parse().map_err(errors::raise)?;
        let pieces = Pieces::new(&params, sample_rate, hearing).map_err(errors::raise)?;
        Ok(Self {
            pieces: Mutex::new(pieces),
        })
    }

    #[doc = doc!("VADStream.push")]
    fn push<'py>(&self, audio: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let samples = Samples::get(audio)?;
        let pushed = audio.py().detach(|| {
            samples.check()?;
            let mut pieces = lock(&self.pieces);
            let (mut found, mut failed) = (Vec::new(), Ok(()));
            samples.blocks(|_, block| {
                if failed.is_ok() {
                    failed = pieces.push(block, &mut found);
                }
            });
            failed.map(|()| (found, pieces.rate()))
        });
        let (found, rate) = pushed.map_err(errors::raise)?;
        events(audio.py(), &found, rate)
    }

    #[doc = doc!("VADStream.finish")]
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut found = Vec::new();
        let rate = py.detach(|| {
            let mut pieces = lock(&self.pieces);
            pieces.finish(&mut found);
            pieces.rate()
        });
        events(py, &found, rate)
    }

    #[doc = doc!("VADStream.reset")]
    fn reset(&self, py: Python<'_>) {
        py.detach(|| lock(&self.pieces).reset());
    }

    #[doc = doc!("VADStream.in_speech")]
    #[getter]
    fn in_speech(&self, py: Python<'_>) -> bool {
        py.detach(|| lock(&self.pieces).in_speech())
    }

    #[doc = doc!("VADStream.probability")]
    #[getter]
    fn probability(&self, py: Python<'_>) -> Option<f32> {
        py.detach(|| lock(&self.pieces).probability())
    }

    #[doc = doc!("VADStream.position")]
    #[getter]
    fn position(&self, py: Python<'_>) -> u64 {
        py.detach(|| lock(&self.pieces).position())
    }
}

/// Those, as Python has them.
fn events<'py>(py: Python<'py>, events: &[Event], rate: u32) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let event = |event: &Event| {
        let (kind, position) = match *event {
            Event::Start(position) => ("start", position),
            Event::End(position) => ("end", position),
            Event::Misfire(position) => ("misfire", position),
        };
        let time = position as f64 / f64::from(rate);
        python(py, "_vad_event", "VADEvent", (kind, position, time))
    };
    events.iter().map(event).collect()
}
