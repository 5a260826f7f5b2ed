//! `AudioCapture`: what to capture, and the engine that is kept for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use v2m_client::cursor::Hop;
use v2m_client::locator::{Keeper, Locator, Mode};
use v2m_client::quantum::Quantum;
use v2m_client::record::{Format, Options};
use v2m_client::ring::SAMPLE_RATE;
use v2m_client::ring::layout::MAX_HISTORY;
use v2m_client::stream::Stream;

use crate::errors;
use crate::lock;
use crate::params;
use crate::recording::Recording;
use crate::stream::AudioStream;
use crate::switch;

#[doc = doc!("AudioCapture")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct AudioCapture {
    locator: Locator,
    buffer_size: u64,
    /// The private engine that is kept from one stream to the next.
    keeper: Arc<Keeper>,
}

#[pymethods]
impl AudioCapture {
    #[new]
    #[pyo3(signature = (
        sample_rate=16_000, buffer_size=4096, *, source=None, channel=None, engine="auto",
        latency=None,
    ))]
    fn new(
        py: Python<'_>,
        sample_rate: i64,
        buffer_size: i64,
        source: Option<String>,
        channel: Option<&Bound<'_, PyAny>>,
        engine: &str,
        latency: Option<&str>,
    ) -> PyResult<Self> {
        if sample_rate != i64::from(SAMPLE_RATE) {
            return Err(PyValueError::new_err(format!(
                "sample_rate={sample_rate}: the engine gives {SAMPLE_RATE} only"
            )));
        }
        let largest = MAX_HISTORY / 2;
        let size = u64::try_from(buffer_size).ok();
        let Some(buffer_size) = size.filter(|size| (1..=largest).contains(size)) else {
            return Err(PyValueError::new_err(format!(
                "buffer_size={buffer_size}: must be 1 to {largest} samples"
            )));
        };
        let mode = match engine {
            "auto" => Mode::Auto,
            "service" => Mode::Service,
            "private" => Mode::Private,
            other => {
                return Err(PyValueError::new_err(format!(
                    "engine={other:?}: must be \"auto\", \"service\" or \"private\""
                )));
            }
        };
        let latency: Option<Quantum> = latency
            .map(|text| text.parse().map_err(errors::raise))
            .transpose()?;
        let keeper = Arc::new(Keeper::default());
        let locator = Locator {
            mode,
            source,
            channel: channel.map(channel_of).transpose()?,
            latency,
            observe: false,
            program: None,
            places: places(py)?,
            onnxruntime: onnxruntime(py).ok().flatten(),
            keeper: Arc::downgrade(&keeper),
        };
        Ok(Self {
            locator,
            buffer_size,
            keeper,
        })
    }

    #[doc = doc!("AudioCapture.stream")]
    #[pyo3(signature = (hop=None, *, timeout=Some(10.0), switch_interval=None))]
    fn stream(
        &self,
        hop: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        switch_interval: Option<f64>,
    ) -> PyResult<AudioStream> {
        if let Some(seconds) = switch_interval
            && !(switch::SHORTEST..=switch::LONGEST).contains(&seconds)
        {
            return Err(PyValueError::new_err(format!(
                "switch_interval={seconds}: must be 0.000001 to 1 second, or None"
            )));
        }
        let size = self.buffer_size;
        let (hop, timeout) = (hop_of(hop, size)?, params::timeout(timeout)?);
        let stream = Stream::new(self.locator.clone(), size, hop, timeout);
        Ok(AudioStream::new(stream, switch_interval))
    }

    #[doc = doc!("AudioCapture.record")]
    #[pyo3(signature = (
        path, *, format=None, speech=false, split=false, last=0.0, seconds=None,
        overwrite=false, sync=1.0,
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
    ) -> PyResult<Recording> {
        let format: Option<Format> = format
            .map(|text| text.parse().map_err(errors::raise))
            .transpose()?;
        let options = Options {
            format,
            overwrite,
            speech: speech || split,
            split,
            last: duration("last", last)?,
            length: seconds.map(|s| duration("seconds", s)).transpose()?,
            sync: duration("sync", sync)?,
            ..Options::default()
        };
        options.validate().map_err(errors::raise)?;
        if format.is_none() && !path.is_dir() {
            Format::of(&path).map_err(errors::raise)?;
        }
        Ok(Recording::new(self.locator.clone(), path, options))
    }

    #[doc = doc!("AudioCapture.close")]
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let engine = lock(&self.keeper).take();
            drop(engine);
        });
    }

    #[doc = doc!("AudioCapture.sample_rate")]
    #[getter]
    fn sample_rate(&self) -> u32 {
        SAMPLE_RATE
    }

    #[doc = doc!("AudioCapture.buffer_size")]
    #[getter]
    fn buffer_size(&self) -> u64 {
        self.buffer_size
    }

    /// Pickling: the settings; the copy has an engine of its own.
    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<((u32, u64), Bound<'py, PyDict>)> {
        let named = PyDict::new(py);
        named.set_item("source", &self.locator.source)?;
        let engine = match self.locator.mode {
            Mode::Auto => "auto",
            Mode::Service => "service",
            Mode::Private => "private",
        };
        named.set_item("engine", engine)?;
        let latency = self.locator.latency.map(|latency| latency.to_string());
        named.set_item("latency", latency)?;
        Ok(((SAMPLE_RATE, self.buffer_size), named))
    }

    fn __repr__(&self) -> String {
        let source = self.locator.source.as_deref().unwrap_or("default");
        let size = self.buffer_size;
        format!("<AudioCapture of {source}, {size} samples at {SAMPLE_RATE} Hz>")
    }
}

impl Drop for AudioCapture {
    fn drop(&mut self) {
        // The last one to let go of a private engine waits for its end.
        Python::attach(|py| self.close(py));
    }
}

/// A channel's name or its number from 1, as the engine's arguments have it.
fn channel_of(channel: &Bound<'_, PyAny>) -> PyResult<String> {
    let wrong = || {
        PyValueError::new_err(format!(
            "channel={}: must be \"auto\", \"mix\", a channel's name or its number from 1",
            channel
                .repr()
                .map_or_else(|_| "?".into(), |text| text.to_string())
        ))
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match channel.extract::<String>() {
        Ok(name) if name.bytes().all(named) && !matches!(&*name, "" | "0") => {
            // As the engine writes it.
            Ok(match &*name.to_ascii_lowercase() {
                word @ ("auto" | "mix") => word.to_owned(),
                _ => name.to_ascii_uppercase(),
            })
        }
        Ok(_) => Err(wrong()),
        Err(_) => match channel.extract::<u8>() {
            Ok(number @ 1..=64) => Ok(number.to_string()),
            _ => Err(wrong()),
        },
    }
}

fn hop_of(hop: Option<&Bound<'_, PyAny>>, size: u64) -> PyResult<Hop> {
    let Some(hop) = hop else {
        return Ok(Hop::Samples(size));
    };
    if hop.extract::<&str>().is_ok_and(|word| word == "quantum") {
        return Ok(Hop::Quantum);
    }
    match hop.extract::<u64>() {
        Ok(samples) if (1..=size).contains(&samples) => Ok(Hop::Samples(samples)),
        _ => Err(PyValueError::new_err(format!(
            "hop={}: must be 1 to {size} samples (the buffer size), or \"quantum\"",
            hop.repr()?
        ))),
    }
}

/// Seconds, as an argument of this name.
fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        PyValueError::new_err(format!("{name}={seconds}: must be seconds, zero or more"))
    })
}

/// The directory of the Python package onnxruntime, found without importing it.
fn onnxruntime(py: Python<'_>) -> PyResult<Option<PathBuf>> {
    let found = py
        .import(intern!(py, "importlib.util"))?
        .call_method1(intern!(py, "find_spec"), ("onnxruntime",))?;
    if found.is_none() {
        return Ok(None);
    }
    let places = found.getattr(intern!(py, "submodule_search_locations"))?;
    places.get_item(0)?.extract().map(Some)
}

/// Where the engine's program may have been installed with this package.
fn places(py: Python<'_>) -> PyResult<Vec<PathBuf>> {
    let package = py.import(intern!(py, "v2m_engine"))?;
    let mut places: Vec<PathBuf> = package
        .getattr(intern!(py, "__path__"))?
        .try_iter()?
        .map(|directory| Ok(directory?.extract::<PathBuf>()?.join("bin/v2m-engine")))
        .collect::<PyResult<_>>()?;
    let python = py
        .import(intern!(py, "sys"))?
        .getattr(intern!(py, "executable"))?;
    if let Some(directory) = python
        .extract::<PathBuf>()
        .ok()
        .as_deref()
        .and_then(|p| p.parent())
    {
        places.push(directory.join("v2m-engine"));
    }
    Ok(places)
}
