//! `VADStream`: where speech starts and ends in audio that comes in pieces.

use std::sync::Mutex;

use pyo3::prelude::*;
use v2m_client::vad::pieces::{Event, Pieces};
use v2m_client::vad::segment::Params;

use crate::samples::{Samples, rate};
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
        threshold: f64,
        min_silence_ms: i64,
        pad_ms: i64,
        min_speech_ms: i64,
        neg_threshold: Option<f64>,
        sample_rate: i64,
        hearing: &str,
    ) -> PyResult<Self> {
        let params = Params {
            threshold: threshold as f32,
            neg_threshold: neg_threshold.map(|threshold| threshold as f32),
            min_speech_ms: params::ms("min_speech_ms", min_speech_ms)?,
            min_silence_ms: params::ms("min_silence_ms", min_silence_ms)?,
            pad_ms: params::ms("pad_ms", pad_ms)?,
            max_s: f64::INFINITY,
            ..Params::default()
        };
        let hearing = hearing.parse().map_err(errors::raise)?;
        let pieces = Pieces::new(&params, rate(sample_rate), hearing).map_err(errors::raise)?;
        Ok(Self {
            pieces: Mutex::new(pieces),
        })
    }

    #[doc = doc!("VADStream.push")]
    fn push(&self, audio: &Bound<'_, PyAny>) -> PyResult<Vec<VadEvent>> {
        let samples = Samples::get(audio)?;
        let pushed = audio.py().detach(|| {
            samples.check()?;
            let mut pieces = lock(&self.pieces);
            let (mut events, mut failed) = (Vec::new(), Ok(()));
            samples.blocks(|_, block| {
                if failed.is_ok() {
                    failed = pieces.push(block, &mut events);
                }
            });
            failed.map(|()| (events, pieces.rate()))
        });
        let (events, rate) = pushed.map_err(errors::raise)?;
        Ok(events
            .iter()
            .map(|event| VadEvent::new(event, rate))
            .collect())
    }

    #[doc = doc!("VADStream.finish")]
    fn finish(&self, py: Python<'_>) -> Vec<VadEvent> {
        let mut events = Vec::new();
        let rate = py.detach(|| {
            let mut pieces = lock(&self.pieces);
            pieces.finish(&mut events);
            pieces.rate()
        });
        events
            .iter()
            .map(|event| VadEvent::new(event, rate))
            .collect()
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

#[doc = doc!("VADEvent")]
#[pyclass(frozen, eq, name = "VADEvent", module = "v2m_engine")]
#[derive(PartialEq)]
pub(crate) struct VadEvent {
    #[doc = doc!("VADEvent.kind")]
    #[pyo3(get)]
    kind: &'static str,
    #[doc = doc!("VADEvent.position")]
    #[pyo3(get)]
    position: u64,
    #[doc = doc!("VADEvent.time")]
    #[pyo3(get)]
    time: f64,
}

impl VadEvent {
    fn new(event: &Event, rate: u32) -> Self {
        let (kind, position) = match *event {
            Event::Start(position) => ("start", position),
            Event::End(position) => ("end", position),
            Event::Misfire(position) => ("misfire", position),
        };
        Self {
            kind,
            position,
            time: position as f64 / f64::from(rate),
        }
    }
}

#[pymethods]
impl VadEvent {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("kind", "position")
    }

    fn __repr__(&self) -> String {
        let Self {
            kind,
            position,
            time,
        } = self;
        format!("<VADEvent {kind} at {position} ({time:.3} s)>")
    }
}
