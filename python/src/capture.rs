//! `AudioCapture`: what to capture, and the engine that is kept for it.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use v2m_client::dsp::channels::Selection;
use v2m_client::locator::{Keeper, Locator, Mode};
use v2m_client::pcm::Dtype;
use v2m_client::quantum::Quantum;
use v2m_client::record::{Once, Options};
use v2m_client::ring::Rate;
use v2m_client::stream::Stream;
use v2m_client::vad::segment::Params;

use crate::errors::Outcome;
use crate::lock;
use crate::params::{self, invalid};
use crate::python;
use crate::recording::Recording;
use crate::stream::AudioStream;

#[doc = doc!("AudioCapture")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct AudioCapture {
    locator: Locator,
    buffer_size: u64,
    dtype: Dtype,
    /// The private engine that is kept from one stream to the next.
    keeper: Arc<Keeper>,
}

#[pymethods]
impl AudioCapture {
    #[new]
    #[pyo3(
        signature = (
            sample_rate=16_000, buffer_size=4096, *, source=None, channel=None,
            dtype=Dtype::Float32, engine=Mode::Auto, latency=None,
        ),
        text_signature = "(sample_rate=16000, buffer_size=4096, *, source=None, channel=None, \
            dtype='float32', engine='auto', latency=None)",
    )]
    #[allow(clippy::too_many_arguments, reason = "the signature in Python")]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = params::stream_rate)] sample_rate: u32,
        #[pyo3(from_py_with = params::buffer_size)] buffer_size: u64,
        source: Option<String>,
        #[pyo3(from_py_with = params::channel)] channel: Option<Selection>,
        #[pyo3(from_py_with = params::dtype)] dtype: Dtype,
        #[pyo3(from_py_with = params::engine)] engine: Mode,
        #[pyo3(from_py_with = params::latency)] latency: Option<Quantum>,
    ) -> Outcome<Self> {
        if let Some(source) = source.as_ref().filter(|source| source.trim().is_empty()) {
            let why = "names no source: write \"default\", or a name that sources() gives";
            return Err(invalid("source", source, why).into());
        }
        let keeper = Arc::new(Keeper::default());
        let locator = Locator {
            mode: engine,
            source,
            channel: channel.map(|channel| channel.to_string()),
            rate: Rate::new(sample_rate)?,
            latency,
            observe: false,
            program: None,
            places: python(py, "_places", "engines", ())?.extract()?,
            onnxruntime: python(py, "_places", "onnxruntime", ())?.extract()?,
            keeper: Arc::downgrade(&keeper),
        };
        Ok(Self {
            locator,
            buffer_size,
            dtype,
            keeper,
        })
    }

    #[doc = doc!("AudioCapture.stream")]
    #[pyo3(
        signature = (hop=None, *, timeout=Some(10.0), switch_interval=None),
        text_signature = "($self, hop=None, *, timeout=10.0, switch_interval=None)",
    )]
    fn stream(
        &self,
        py: Python<'_>,
        hop: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        switch_interval: Option<f64>,
    ) -> PyResult<Py<AudioStream>> {
        let lowered = switch_interval
            .map(|seconds| python(py, "_switch", "Lowered", (seconds,)))
            .transpose()?;
        let size = self.buffer_size;
        let (hop, timeout) = (params::hop(hop, size)?, params::timeout(timeout)?);
        let stream = Stream::new(self.locator.clone(), size, hop, timeout);
        let lowered = lowered.map(Bound::unbind);
        Py::new(py, AudioStream::new(stream, self.dtype, lowered))
    }

    #[doc = doc!("AudioCapture.record")]
    #[pyo3(signature = (
        path, *, format=None, speech=false, split=false, last=0.0, seconds=None,
        overwrite=false, sync=1.0, min_speech_ms=250, min_silence_ms=500, pad_ms=200, max_s=30.0,
        threshold=0.5, neg_threshold=None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "the signature in Python")]
    fn record(
        &self,
        path: PathBuf,
        format: Option<&str>,
        speech: bool,
        split: bool,
        last: f64,
        seconds: Option<f64>,
        overwrite: bool,
        sync: f64,
        #[pyo3(from_py_with = params::min_speech_ms)] min_speech_ms: u32,
        #[pyo3(from_py_with = params::min_silence_ms)] min_silence_ms: u32,
        #[pyo3(from_py_with = params::pad_ms)] pad_ms: u32,
        max_s: f64,
        threshold: f32,
        neg_threshold: Option<f32>,
    ) -> Outcome<Recording> {
        let length = seconds.map(|length| params::seconds("seconds", length));
        let options = Options {
            format: format.map(str::parse).transpose()?,
            overwrite,
            speech: speech || split,
            split,
            detection: Params {
                threshold,
                neg_threshold,
                min_speech_ms,
                min_silence_ms,
                pad_ms,
                max_s,
                ..Params::default()
            },
            last: params::seconds("last", last)?,
            length: length.transpose()?,
            sync: params::seconds("sync", sync)?,
            ..Options::default()
        };
        let once = Once::new(self.locator.clone(), path, options)?;
        Ok(Recording(once))
    }

    #[doc = doc!("AudioCapture.close")]
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let engine = lock(&self.keeper).take();
            drop(engine);
        });
    }

    fn __repr__(&self) -> String {
        let source = self.locator.source.as_deref().unwrap_or("default");
        let (size, rate) = (self.buffer_size, self.locator.rate);
        format!("<AudioCapture of {source}, {size} samples at {rate} Hz>")
    }
}

getters! { AudioCapture, "AudioCapture", |this, _py|
    sample_rate: u32 = this.locator.rate.hz();
    buffer_size: u64 = this.buffer_size;
    dtype: &'static str = this.dtype.name();
    source: Option<String> = this.locator.source.clone();
    channel: Option<String> = this.locator.channel.clone();
    engine: String = this.locator.mode.to_string();
    latency: Option<String> = this.locator.latency.map(|quantum| quantum.to_string());
}

impl Drop for AudioCapture {
    fn drop(&mut self) {
        // The last one to let go of a private engine waits for its end.
        Python::attach(|py| self.close(py));
    }
}

/// The engine's programs, in the order of preference.
#[pyfunction]
pub(crate) fn _programs(py: Python<'_>) -> Outcome<Vec<PathBuf>> {
    let locator = Locator {
        places: python(py, "_places", "engines", ())?.extract()?,
        ..Locator::default()
    };
    Ok(locator.programs()?)
}
