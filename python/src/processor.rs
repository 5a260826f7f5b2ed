//! `VADProcessor`: where there is speech in any audio. For audio of a live stream the
//! engine's speech track knows; anything else goes through the model here.

use pyo3::prelude::*;
use v2m_client::processor::{Judged, Processor};
use v2m_client::vad::corpus::Search;
use v2m_client::vad::segment::Params;

use crate::chunk::{self, AudioChunk};
use crate::corpus::{self, Form};
use crate::errors::{self, Outcome};
use crate::params;
use crate::python;
use crate::samples::{self, Samples};
use crate::source::Interrupts;
use crate::stream::AudioStream;

#[doc = doc!("VADProcessor")]
#[pyclass(frozen, name = "VADProcessor", module = "v2m_engine")]
pub(crate) struct VadProcessor(Processor);

/// Audio that a ring has: a stream's newest, or a chunk's.
fn live<'py>(audio: &Bound<'py, PyAny>) -> Outcome<Option<Bound<'py, AudioChunk>>> {
    if let Ok(stream) = audio.cast::<AudioStream>() {
        let newest = stream.get().latest(audio.py())?;
        return Ok(Some(newest.into_bound(audio.py())));
    }
    Ok(audio.cast::<AudioChunk>().ok().cloned())
}

impl VadProcessor {
    fn judge(&self, audio: &Bound<'_, PyAny>, rate: u32, resume: bool) -> Outcome<Judged> {
        let py = audio.py();
        if let Some(chunk) = live(audio)? {
            let (ring, start, end) = chunk.get().stretch();
            let judged = py.detach(|| self.0.live(ring, rate, start, end));
            return Ok(judged.map_err(|error| errors::overwritten(py, error, end - start))?);
        }
        let samples = Samples::get(audio)?;
        let (length, mut interrupts) = (samples.len() as u64, Interrupts::new());
        py.detach(|| {
            samples.check()?;
            let blocks = |take: &mut dyn FnMut(&[f32])| {
                samples.blocks(|_, block| {
                    take(block);
                    // Half a piece would move all that follow.
                    if resume { Ok(()) } else { interrupts.look() }
                })
            };
            if resume {
                self.0.piece(rate, length, blocks)
            } else {
                self.0.whole(rate, length, blocks)
            }
        })
    }

    fn timestamps<'py>(
        &self,
        py: Python<'py>,
        judged: &Judged,
        form: Form,
    ) -> Outcome<Bound<'py, PyAny>> {
        let segments = self.0.segments(judged)?;
        Ok(form.list(py, &segments, judged.samples, judged.rate)?)
    }
}

#[pymethods]
impl VadProcessor {
    #[new]
    #[pyo3(
        signature = (
            threshold=0.5, min_speech_ms=250, min_silence_ms=500, pad_ms=200, *,
            neg_threshold=None, max_s=f64::INFINITY, split_silence_ms=98, split="longest",
            hearing="plain",
        ),
        // Python reads 1e999 as infinity, which has no name there.
        text_signature = "(threshold=0.5, min_speech_ms=250, min_silence_ms=500, pad_ms=200, *, \
            neg_threshold=None, max_s=1e999, split_silence_ms=98, split='longest', \
            hearing='plain')",
    )]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        threshold: f32,
        #[pyo3(from_py_with = params::min_speech_ms)] min_speech_ms: u32,
        #[pyo3(from_py_with = params::min_silence_ms)] min_silence_ms: u32,
        #[pyo3(from_py_with = params::pad_ms)] pad_ms: u32,
        neg_threshold: Option<f32>,
        max_s: f64,
        #[pyo3(from_py_with = params::split_silence_ms)] split_silence_ms: u32,
        split: &str,
        hearing: &str,
    ) -> Outcome<Self> {
        let params = Params {
            threshold,
            neg_threshold,
            min_speech_ms,
            min_silence_ms,
            pad_ms,
            max_s,
            split_silence_ms,
            split: split.parse()?,
            partial_ms: None,
        };
        let hearing = hearing.parse()?;
        Ok(Self(Processor::new(params, hearing)?))
    }

    #[doc = doc!("VADProcessor.contains_speech")]
    #[pyo3(signature = (audio, *, sample_rate=16_000, resume=false))]
    fn contains_speech(
        &self,
        audio: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = params::sample_rate)] sample_rate: u32,
        resume: bool,
    ) -> Outcome<bool> {
        let judged = self.judge(audio, sample_rate, resume)?;
        Ok(self.0.contains_speech(&judged))
    }

    #[doc = doc!("VADProcessor.probabilities")]
    #[pyo3(signature = (audio, *, sample_rate=16_000, resume=false))]
    fn probabilities<'py>(
        &self,
        audio: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = params::sample_rate)] sample_rate: u32,
        resume: bool,
    ) -> Outcome<Bound<'py, PyAny>> {
        let judged = self.judge(audio, sample_rate, resume)?;
        Ok(chunk::array_of(audio.py(), &judged.probabilities)?)
    }

    #[doc = doc!("VADProcessor.speech_timestamps")]
    #[pyo3(signature = (audio, return_seconds=false, *, sample_rate=16_000, time_resolution=None))]
    fn speech_timestamps<'py>(
        &self,
        audio: &Bound<'py, PyAny>,
        return_seconds: bool,
        #[pyo3(from_py_with = params::sample_rate)] sample_rate: u32,
        #[pyo3(from_py_with = params::time_resolution)] time_resolution: Option<usize>,
    ) -> Outcome<Bound<'py, PyAny>> {
        let judged = self.judge(audio, sample_rate, false)?;
        self.timestamps(audio.py(), &judged, Form(return_seconds, time_resolution))
    }

    #[doc = doc!("VADProcessor.speech_timestamps_from")]
    #[pyo3(signature = (
        probabilities, length=None, *, return_seconds=false, sample_rate=16_000,
        time_resolution=None,
    ))]
    fn speech_timestamps_from<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = samples::probabilities)] probabilities: Vec<f32>,
        #[pyo3(from_py_with = params::length)] length: Option<u64>,
        return_seconds: bool,
        #[pyo3(from_py_with = params::sample_rate)] sample_rate: u32,
        #[pyo3(from_py_with = params::time_resolution)] time_resolution: Option<usize>,
    ) -> Outcome<Bound<'py, PyAny>> {
        let judged = self.0.given(probabilities, length, sample_rate)?;
        self.timestamps(py, &judged, Form(return_seconds, time_resolution))
    }

    #[doc = doc!("VADProcessor.speech_timestamps_many")]
    #[pyo3(signature = (
        items, jobs=None, *, return_seconds=false, sample_rate=16_000, time_resolution=None,
    ))]
    fn speech_timestamps_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = params::jobs)] jobs: Option<usize>,
        return_seconds: bool,
        #[pyo3(from_py_with = params::sample_rate)] sample_rate: u32,
        #[pyo3(from_py_with = params::time_resolution)] time_resolution: Option<usize>,
    ) -> Outcome<Vec<Bound<'py, PyAny>>> {
        let search = Search {
            params: self.0.params().clone(),
            hearing: self.0.hearing(),
            jobs,
            probabilities: false,
        };
        let form = Form(return_seconds, time_resolution);
        corpus::search(items, &search, sample_rate, form)
    }

    #[doc = doc!("VADProcessor.reset")]
    fn reset(&self, py: Python<'_>) {
        py.detach(|| self.0.reset());
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        python(slf.py(), "_settings", "shown", (slf,))
    }
}

getters! { VadProcessor, "VADProcessor", |this, _py|
    threshold: f64 = params::decimal(this.0.params().threshold);
    min_speech_ms: u32 = this.0.params().min_speech_ms;
    min_silence_ms: u32 = this.0.params().min_silence_ms;
    pad_ms: u32 = this.0.params().pad_ms;
    neg_threshold: Option<f64> = this.0.params().neg_threshold.map(params::decimal);
    max_s: f64 = this.0.params().max_s;
    split_silence_ms: u32 = this.0.params().split_silence_ms;
    split: &'static str = this.0.params().split.name();
    hearing: &'static str = this.0.hearing().name();
}
