//! `VADProcessor`: where there is speech in any audio. For audio of a live stream the
//! engine's speech track knows; anything else goes through the model here.

use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use v2m_client::judge;
use v2m_client::ring::{Rate, Reader, SAMPLE_RATE, WINDOW};
use v2m_client::vad::corpus::Search;
use v2m_client::vad::hearing::Hearing;
use v2m_client::vad::recording::{Recording, at_model_rate};
use v2m_client::vad::segment::{Params, Segment, Segmenter};
use v2m_client::{ErrorKind, Result};

use crate::chunk::{self, AudioChunk};
use crate::corpus::{self, Form};
use crate::errors;
use crate::lock;
use crate::params;
use crate::samples::{self, Samples};
use crate::stream::AudioStream;

#[doc = doc!("VADProcessor")]
#[pyclass(frozen, name = "VADProcessor", module = "v2m_engine")]
pub(crate) struct VadProcessor {
    params: Params,
    hearing: Hearing,
    /// Models that are not in use.
    idle: Mutex<Vec<Recording>>,
    /// What `resume` goes on with.
    resumed: Mutex<Option<Resumed>>,
}

/// Audio that comes in pieces.
struct Resumed {
    recording: Recording,
    /// Of its last window; None before the first.
    last: Option<f32>,
}

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

/// What is known about it.
struct Judged {
    probabilities: Vec<f32>,
    /// At 16 kHz from the audio's begin: where the first window begins (before it, in
    /// live audio), and where the audio ends.
    start: i64,
    end: u64,
    /// Of a piece that completes no window: of the last one before.
    before: Option<f32>,
    /// The audio's own.
    rate: u32,
}

impl VadProcessor {
    fn audio(audio: &Bound<'_, PyAny>, rate: u32) -> PyResult<Audio> {
        let live = |chunk: &AudioChunk| {
            let own = chunk.ring().rate().hz();
            if rate != SAMPLE_RATE && rate != own {
                return Err(PyValueError::new_err(format!(
                    "sample_rate={rate}: audio of this stream has {own} Hz"
                )));
            }
            Ok(Audio::Live {
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
        Samples::get(audio).map(Audio::Buffer)
    }

    fn judge(
        &self,
        py: Python<'_>,
        audio: &Bound<'_, PyAny>,
        rate: i64,
        resume: bool,
    ) -> PyResult<Judged> {
        let rate = samples::rate(rate);
        let audio = Self::audio(audio, rate)?;
        py.detach(|| match &audio {
            Audio::Live { ring, start, end } => {
                live(ring, *start, *end, self.hearing).map_err(|error| {
                    let lost = match error.kind() {
                        ErrorKind::Overrun => Some(end - start),
                        _ => None,
                    };
                    (error, lost)
                })
            }
            Audio::Buffer(samples) => self.buffer(samples, rate, resume).map_err(|e| (e, None)),
        })
        .map_err(|(error, lost)| match lost {
            Some(lost) => errors::overrun(py, lost, error.to_string()),
            None => errors::raise(error),
        })
    }

    fn buffer(&self, samples: &Samples, rate: u32, resume: bool) -> Result<Judged> {
        samples.check()?;
        let mut probabilities = Vec::new();
        let mut before = None;
        if resume {
            let mut resumed = lock(&self.resumed);
            let Resumed { recording, last } = match &mut *resumed {
                Some(resumed) if resumed.recording.rate() != rate => {
                    let message = format!(
                        "sample_rate={rate}: what is resumed has {} Hz; reset() before another rate",
                        resumed.recording.rate()
                    );
                    return Err(v2m_client::Error::new(ErrorKind::Invalid, message));
                }
                Some(resumed) => resumed,
                None => resumed.insert(Resumed {
                    recording: self.recording(rate)?,
                    last: None,
                }),
            };
            samples.blocks(|_, block| recording.push(block, &mut probabilities));
            before = std::mem::replace(last, probabilities.last().copied().or(*last));
        } else {
            let mut recording = self.recording(rate)?;
            samples.blocks(|_, block| recording.push(block, &mut probabilities));
            recording.finish(&mut probabilities);
            lock(&self.idle).push(recording);
        }
        Ok(Judged {
            probabilities,
            start: 0,
            end: at_model_rate(samples.len() as u64, rate),
            before,
            rate,
        })
    }

    /// A recording of its own for whoever asks, so that threads don't wait for each other.
    fn recording(&self, rate: u32) -> Result<Recording> {
        let mut idle = lock(&self.idle);
        match idle.iter().position(|recording| recording.rate() == rate) {
            Some(at) => Ok(idle.swap_remove(at)),
            None => {
                drop(idle);
                Recording::with_hearing(rate, self.hearing)
            }
        }
    }
}

fn live(ring: &Reader, start: u64, end: u64, hearing: Hearing) -> Result<Judged> {
    let (first, probabilities) = judge::stretch(ring, start, end, hearing)?;
    let rate = ring.rate();
    let at_16_khz = |position| Rate::SPEECH.convert(position, rate);
    Ok(Judged {
        probabilities,
        start: (first * WINDOW) as i64 - at_16_khz(start) as i64,
        end: at_16_khz(end) - at_16_khz(start),
        before: None,
        rate: rate.hz(),
    })
}

impl VadProcessor {
    /// Where speech is, at 16 kHz from the audio's begin.
    fn segments(&self, judged: &Judged) -> Result<Vec<Segment>> {
        let mut segmenter = Segmenter::new(&self.params)?;
        // Positions are never negative: counted from the first window.
        let before = judged.start.min(0).unsigned_abs();
        segmenter.begin(0, before);
        let mut found = Vec::new();
        for (index, &p) in (0..).zip(&judged.probabilities) {
            segmenter.push(index, p, &mut found);
        }
        segmenter.finish(judged.end + before, &mut found);
        for segment in &mut found {
            segment.start -= before;
            segment.end -= before;
        }
        Ok(found)
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
        threshold: f64,
        min_speech_ms: i64,
        min_silence_ms: i64,
        pad_ms: i64,
        neg_threshold: Option<f64>,
        max_s: f64,
        split_silence_ms: i64,
        split: &str,
        hearing: &str,
    ) -> PyResult<Self> {
        let params = Params {
            threshold: threshold as f32,
            neg_threshold: neg_threshold.map(|threshold| threshold as f32),
            min_speech_ms: params::ms("min_speech_ms", min_speech_ms)?,
            min_silence_ms: params::ms("min_silence_ms", min_silence_ms)?,
            pad_ms: params::ms("pad_ms", pad_ms)?,
            max_s,
            split_silence_ms: params::ms("split_silence_ms", split_silence_ms)?,
            split: split.parse().map_err(errors::raise)?,
            partial_ms: None,
        };
        params.validate().map_err(errors::raise)?;
        Ok(Self {
            params,
            hearing: hearing.parse().map_err(errors::raise)?,
            idle: Mutex::default(),
            resumed: Mutex::default(),
        })
    }

    #[doc = doc!("VADProcessor.contains_speech")]
    #[pyo3(signature = (audio, *, sample_rate=16_000, resume=false))]
    fn contains_speech(
        &self,
        audio: &Bound<'_, PyAny>,
        sample_rate: i64,
        resume: bool,
    ) -> PyResult<bool> {
        let judged = self.judge(audio.py(), audio, sample_rate, resume)?;
        let speech = |&p: &f32| p >= self.params.threshold;
        Ok(match judged.probabilities.is_empty() {
            true => judged.before.is_some_and(|p| speech(&p)),
            false => judged.probabilities.iter().any(speech),
        })
    }

    #[doc = doc!("VADProcessor.probabilities")]
    #[pyo3(signature = (audio, *, sample_rate=16_000, resume=false))]
    fn probabilities<'py>(
        &self,
        audio: &Bound<'py, PyAny>,
        sample_rate: i64,
        resume: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let judged = self.judge(audio.py(), audio, sample_rate, resume)?;
        chunk::array_of(audio.py(), &judged.probabilities)
    }

    #[doc = doc!("VADProcessor.speech_timestamps")]
    #[pyo3(signature = (audio, return_seconds=false, *, sample_rate=16_000, time_resolution=None))]
    fn speech_timestamps<'py>(
        &self,
        audio: &Bound<'py, PyAny>,
        return_seconds: bool,
        sample_rate: i64,
        time_resolution: Option<i32>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = audio.py();
        let judged = self.judge(py, audio, sample_rate, false)?;
        let found = self.segments(&judged).map_err(errors::raise)?;
        let form = Form::new(return_seconds, time_resolution);
        // A rate that the model heard.
        form.list(py, &found, judged.end, judged.rate)
    }

    #[doc = doc!("VADProcessor.speech_timestamps_from")]
    #[pyo3(signature = (
        probabilities, length=None, *, return_seconds=false, sample_rate=16_000,
        time_resolution=None,
    ))]
    fn speech_timestamps_from<'py>(
        &self,
        py: Python<'py>,
        probabilities: Vec<f32>,
        length: Option<u64>,
        return_seconds: bool,
        sample_rate: i64,
        time_resolution: Option<i32>,
    ) -> PyResult<Bound<'py, PyList>> {
        let rate = samples::rate(sample_rate);
        let windows = probabilities.len() as u64 * WINDOW;
        let judged = Judged {
            probabilities,
            start: 0,
            end: length.map_or(windows, |length| at_model_rate(length, rate).min(windows)),
            before: None,
            rate,
        };
        let found = self.segments(&judged).map_err(errors::raise)?;
        let form = Form::new(return_seconds, time_resolution);
        form.list(py, &found, judged.end, rate)
    }

    #[doc = doc!("VADProcessor.speech_timestamps_many")]
    #[pyo3(signature = (
        items, jobs=None, *, return_seconds=false, sample_rate=16_000, time_resolution=None,
    ))]
    fn speech_timestamps_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        jobs: Option<i64>,
        return_seconds: bool,
        sample_rate: i64,
        time_resolution: Option<i32>,
    ) -> PyResult<Bound<'py, PyList>> {
        let search = Search {
            params: self.params.clone(),
            hearing: self.hearing,
            jobs: jobs.map(|jobs| usize::try_from(jobs).unwrap_or(0)),
            probabilities: false,
        };
        let form = Form::new(return_seconds, time_resolution);
        corpus::search(items, &search, samples::rate(sample_rate), form)
    }

    #[doc = doc!("VADProcessor.reset")]
    fn reset(&self, py: Python<'_>) {
        py.detach(|| {
            let before = lock(&self.resumed).take();
            drop(before);
        });
    }

    #[doc = doc!("VADProcessor.threshold")]
    #[getter]
    fn threshold(&self) -> f64 {
        params::decimal(self.params.threshold)
    }

    #[doc = doc!("VADProcessor.min_speech_ms")]
    #[getter]
    fn min_speech_ms(&self) -> u32 {
        self.params.min_speech_ms
    }

    #[doc = doc!("VADProcessor.min_silence_ms")]
    #[getter]
    fn min_silence_ms(&self) -> u32 {
        self.params.min_silence_ms
    }

    #[doc = doc!("VADProcessor.pad_ms")]
    #[getter]
    fn pad_ms(&self) -> u32 {
        self.params.pad_ms
    }

    #[doc = doc!("VADProcessor.neg_threshold")]
    #[getter]
    fn neg_threshold(&self) -> Option<f64> {
        self.params.neg_threshold.map(params::decimal)
    }

    #[doc = doc!("VADProcessor.max_s")]
    #[getter]
    fn max_s(&self) -> f64 {
        self.params.max_s
    }

    #[doc = doc!("VADProcessor.split_silence_ms")]
    #[getter]
    fn split_silence_ms(&self) -> u32 {
        self.params.split_silence_ms
    }

    #[doc = doc!("VADProcessor.split")]
    #[getter]
    fn split(&self) -> &'static str {
        self.params.split.name()
    }

    #[doc = doc!("VADProcessor.hearing")]
    #[getter]
    fn hearing(&self) -> &'static str {
        self.hearing.name()
    }

    /// Pickling: the settings; what `resume` goes on with stays here.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<((f64,), Bound<'py, PyDict>)> {
        let named = PyDict::new(py);
        named.set_item("min_speech_ms", self.min_speech_ms())?;
        named.set_item("min_silence_ms", self.min_silence_ms())?;
        named.set_item("pad_ms", self.pad_ms())?;
        named.set_item("neg_threshold", self.neg_threshold())?;
        named.set_item("max_s", self.max_s())?;
        named.set_item("split_silence_ms", self.split_silence_ms())?;
        named.set_item("split", self.split())?;
        named.set_item("hearing", self.hearing())?;
        Ok(((self.threshold(),), named))
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<String> {
        let ((threshold,), named) = self.__getnewargs_ex__(py)?;
        let mut shown = vec![format!("threshold={threshold}")];
        let defaults = Self::new(
            0.5,
            250,
            500,
            200,
            None,
            f64::INFINITY,
            98,
            "longest",
            "plain",
        )?;
        let (_, usual) = defaults.__getnewargs_ex__(py)?;
        for (name, value) in named {
            // Those that every one has, and what was changed.
            let always = ["min_speech_ms", "min_silence_ms", "pad_ms", "hearing"];
            let always = always.contains(&name.extract::<&str>()?);
            if always
                || !usual
                    .get_item(&name)?
                    .is_some_and(|v| value.eq(v).unwrap_or(false))
            {
                shown.push(format!("{name}={}", value.repr()?));
            }
        }
        Ok(format!("VADProcessor({})", shown.join(", ")))
    }
}
