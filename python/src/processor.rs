//! `VADProcessor`: where there is speech in any audio. For audio of a live stream the
//! engine's speech track knows; anything else goes through the model here.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use v2m_client::ErrorKind;
use v2m_client::processor::{Judged, Processor};
use v2m_client::ring::{Reader, SAMPLE_RATE};
use v2m_client::vad::corpus::Search;
use v2m_client::vad::segment::Params;

use crate::chunk::{self, AudioChunk};
use crate::corpus::{self, Form};
use crate::errors::{self, Failure, Outcome};
use crate::params::{self, invalid};
use crate::python;
use crate::samples::{self, Samples};
use crate::source::Interrupts;
use crate::stream::AudioStream;

#[doc = doc!("VADProcessor")]
#[pyclass(frozen, name = "VADProcessor", module = "v2m_engine")]
pub(crate) struct VadProcessor(Processor);

/// What is asked about.
enum Audio {
    /// A stretch of a ring.
    Live {
        ring: Arc<Reader>,
        start: u64,
        end: u64,
    },
    Buffer(Samples),
}

impl Audio {
    fn get(audio: &Bound<'_, PyAny>, rate: u32) -> Outcome<Self> {
        let live = |chunk: &AudioChunk| {
            let own = chunk.ring().rate().hz();
            if rate != SAMPLE_RATE && rate != own {
                let why = format!("audio of this stream has {own} Hz");
                return Err(invalid("sample_rate", rate, why).into());
            }
            Ok(Self::Live {
                ring: chunk.ring().clone(),
                start: chunk.start(),
                end: chunk.end(),
            })
        };
        if let Ok(stream) = audio.cast::<AudioStream>() {
            return live(stream.get().latest(audio.py())?.get());
        }
        if let Ok(chunk) = audio.cast::<AudioChunk>() {
            return live(chunk.get());
        }
        Ok(Self::Buffer(Samples::get(audio)?))
    }
}

impl VadProcessor {
    fn judge(&self, audio: &Bound<'_, PyAny>, rate: u32, resume: bool) -> Outcome<Judged> {
        let py = audio.py();
        let samples = match Audio::get(audio, rate)? {
            Audio::Live { ring, start, end } => {
                let judged = py.detach(|| self.0.live(&ring, start, end));
                return judged.map_err(|error| match error.kind() {
                    ErrorKind::Overrun => {
                        errors::overrun(py, end - start, error.to_string()).into()
                    }
                    _ => error.into(),
                });
            }
            Audio::Buffer(samples) => samples,
        };
        py.detach(|| {
            samples.check()?;
            let length = samples.len() as u64;
            let (mut interrupts, mut looked) = (Interrupts::new(), Ok(()));
            let blocks = |take: &mut dyn FnMut(&[f32])| {
                samples.blocks(|_, block| {
                    if looked.is_ok() {
                        take(block);
                        // Half a piece would move all that follow.
                        looked = if resume { Ok(()) } else { interrupts.look() };
                    }
                });
            };
            let judged = if resume {
                self.0.piece(rate, length, blocks)
            } else {
                self.0.whole(rate, length, blocks)
            };
            looked.and(judged.map_err(Failure::from))
        })
    }

    fn timestamps<'py>(
        &self,
        py: Python<'py>,
        judged: &Judged,
        form: Form,
    ) -> Outcome<Bound<'py, PyAny>> {
        let segments = self.0.segments(judged)?;
        let own = |position| judged.own(position);
        Ok(form.list(py, &segments, own, judged.samples, judged.rate)?)
    }
}

#[pymethods]
impl VadProcessor {
    #[new]
    #[pyo3(signature = (
        threshold=0.5, min_speech_ms=250, min_silence_ms=500, pad_ms=200, *, neg_threshold=None,
        max_s=f64::INFINITY, split_silence_ms=98, split="longest", hearing="plain",
    ))]
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

    /// Pickling: the settings; what `resume` goes on with stays here.
    fn __getnewargs_ex__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let settings = python(slf.py(), "_settings", "of", (slf,))?.cast_into()?;
        Ok((PyTuple::empty(slf.py()), settings))
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
