//! `AudioStream`: the Python face of a client's [`Stream`]. Its asyncio half is `_aio.py`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyTimeoutError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use v2m_client::cursor::Hop;
use v2m_client::pcm::Dtype;
use v2m_client::progress::{Mapped, Poll, Source};
use v2m_client::reading::Pieces;
use v2m_client::stream::Stream;
use v2m_client::vad::segment::Params;

use crate::chunk::{AudioChunk, Stretch, array};
use crate::errors::{Outcome, V2MError};
use crate::events::StreamEvents;
use crate::params::{self, invalid};
use crate::python;
use crate::segments::SpeechSegments;
use crate::source::{Items, LoopReadiness, aio, iterable, overrun, signals, usable};
use crate::window::Exporter;

/// How long an engine may take to say how it is: a program can't wait for one that hangs.
const PATIENCE: Duration = Duration::from_secs(1);

#[doc = doc!("AudioStream")]
#[pyclass(frozen, extends = Exporter, weakref, module = "v2m_engine")]
pub(crate) struct AudioStream {
    pub(crate) stream: Arc<Stream>,
    pub(crate) dtype: Dtype,
    /// The interpreter's switch interval while the stream is open; None: as the program has it.
    lowered: Option<Py<PyAny>>,
}

impl AudioStream {
    pub(crate) fn new(
        stream: Stream,
        dtype: Dtype,
        lowered: Option<Py<PyAny>>,
    ) -> PyClassInitializer<Self> {
        let stream = Arc::new(stream);
        let items = Items::new(
            Mapped::new(stream.clone(), move |window| Stretch::new(window, dtype)),
            None,
            dtype.is_copied(),
            |py, stretch| Ok(Py::new(py, stretch.chunk())?.into_any()),
        );
        let of = stream.clone();
        // As a buffer it is its newest window.
        let newest = move |py: Python<'_>| Ok(newest(py, &of, dtype)?.into_any());
        PyClassInitializer::from(items)
            .add_subclass(Exporter(Box::new(newest)))
            .add_subclass(Self {
                stream,
                dtype,
                lowered,
            })
    }
}

fn newest(py: Python<'_>, stream: &Stream, dtype: Dtype) -> Outcome<Py<AudioChunk>> {
    usable(stream)?;
    let make = || {
        let window = stream.latest()?;
        window.map(|window| Stretch::new(window, dtype)).transpose()
    };
    let found = if dtype.is_copied() {
        py.detach(make)
    } else {
        make()
    };
    let Some(found) = found? else {
        // It may have been closed meanwhile.
        usable(stream)?;
        let size = stream.size();
        let message = format!("the buffer of {size} samples is not full yet");
        return Err(V2MError::new_err(message).into());
    };
    Ok(Py::new(py, found.chunk())?)
}

#[pymethods]
impl AudioStream {
    fn __enter__<'py>(slf: Bound<'py, Self>) -> Outcome<Bound<'py, Self>> {
        let (py, this) = (slf.py(), slf.get());
        this._open(py)?;
        let first = py.detach(|| this.stream.await_news(|_| signals()));
        match first.and_then(|()| this._check_first()) {
            Ok(()) => Ok(slf),
            Err(error) => {
                this.close(py);
                Err(error)
            }
        }
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) {
        self.close(py);
    }

    fn __iter__(slf: Bound<'_, Self>) -> Outcome<Bound<'_, Self>> {
        usable(&slf.get().stream)?;
        Ok(slf)
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf, "enter")
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _exception: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        aio(slf, "leave")
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Outcome<Bound<'_, Self>> {
        Self::__iter__(slf)
    }

    #[doc = doc!("AudioStream.latest")]
    pub(crate) fn latest(&self, py: Python<'_>) -> Outcome<Py<AudioChunk>> {
        newest(py, &self.stream, self.dtype)
    }

    #[doc = doc!("AudioStream.read")]
    #[pyo3(signature = (n, timeout=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = params::n)] n: u64,
        timeout: Option<f64>,
    ) -> Outcome<Bound<'py, PyAny>> {
        iterable(&self.stream)?;
        let timeout = params::timeout(timeout)?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let pieces = Pieces::new(&self.stream, n).map_err(|why| invalid("n", n, why))?;
        let found = py.detach(|| pieces.bytes_until(self.dtype, deadline, |_| signals()))?;
        let bytes = match found {
            Poll::Ready(bytes) => bytes,
            Poll::Overrun(lost) => return Err(overrun(py, &self.stream, lost)),
            Poll::Pending => {
                let message = format!("no {n} samples within {:?}", timeout.unwrap_or_default());
                return Err(PyTimeoutError::new_err(message).into());
            }
            _ => Vec::new(),
        };
        Ok(array(py, self.dtype, PyBytes::new(py, &bytes).as_any())?)
    }

    #[doc = doc!("AudioStream.events")]
    fn events(slf: &Bound<'_, Self>) -> Outcome<Py<StreamEvents>> {
        let object = slf.clone().into_any().unbind();
        let events = StreamEvents::new(&slf.get().stream, object)?;
        Ok(Py::new(slf.py(), events)?)
    }

    #[doc = doc!("AudioStream.segments")]
    #[pyo3(signature = (
        min_speech_ms=250, min_silence_ms=500, pad_ms=200, max_s=30.0, partial_ms=None,
        *, threshold=0.5, neg_threshold=None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "the signature in Python")]
    fn segments(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = params::min_speech_ms)] min_speech_ms: u32,
        #[pyo3(from_py_with = params::min_silence_ms)] min_silence_ms: u32,
        #[pyo3(from_py_with = params::pad_ms)] pad_ms: u32,
        max_s: f64,
        #[pyo3(from_py_with = params::partial_ms)] partial_ms: Option<u32>,
        threshold: f32,
        neg_threshold: Option<f32>,
    ) -> Outcome<Py<SpeechSegments>> {
        let params = Params {
            threshold,
            neg_threshold,
            min_speech_ms,
            min_silence_ms,
            pad_ms,
            max_s,
            partial_ms,
            ..Params::default()
        };
        let (this, object) = (slf.get(), slf.clone().into_any().unbind());
        let segments = SpeechSegments::new(&this.stream, object, params, this.dtype)?;
        Ok(Py::new(slf.py(), segments)?)
    }

    #[doc = doc!("AudioStream.close")]
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.stream.close());
        if let Some(lowered) = &self.lowered
            && let Err(error) = lowered.call_method0(py, "restore")
        {
            error.write_unraisable(py, None);
        }
    }

    #[doc = doc!("AudioStream.hop")]
    #[getter]
    fn hop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.stream.hop() {
            Hop::Samples(samples) => Ok(samples.into_pyobject(py)?.into_any()),
            Hop::Quantum => Ok(intern!(py, "quantum").clone().into_any()),
        }
    }

    #[doc = doc!("AudioStream.health")]
    #[getter]
    fn health<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyAny>> {
        let engine = usable(&self.stream)?;
        let status = py.detach(|| engine.status_within(PATIENCE)?.to_json());
        Ok(python(py, "_health", "of", (status?,))?)
    }

    fn __len__(&self) -> usize {
        self.stream.size() as usize
    }

    fn __repr__(&self) -> String {
        let state = match self.stream.engine() {
            Some(engine) => format!("of {} at {}", engine.source(), engine.ring().committed()),
            None if self.stream.is_closed() => "closed".into(),
            None => "not open".into(),
        };
        format!("<AudioStream {state}>")
    }

    // For `_aio.py`.

    /// Connects. Blocks, without the GIL.
    fn _open(&self, py: Python<'_>) -> Outcome<()> {
        py.detach(|| self.stream.open().map(drop))?;
        if let Some(lowered) = &self.lowered {
            lowered.call_method0(py, "lower")?;
            // Closed meanwhile, by another thread that found nothing to restore.
            if self.stream.is_closed() {
                self.close(py);
            }
        }
        Ok(())
    }

    /// After the wait for the first window: is it there?
    fn _check_first(&self) -> Outcome<()> {
        usable(&self.stream)?;
        Ok(self.stream.check_first()?)
    }

    /// The exception for a wait in which nothing came. Blocks, without the GIL.
    fn _stalled(&self, py: Python<'_>) -> PyErr {
        let usable = usable(&self.stream);
        let why = usable
            .err()
            .unwrap_or_else(|| py.detach(|| self.stream.stalled()).into());
        why.into()
    }

    #[getter]
    fn _timeout(&self) -> Option<f64> {
        self.stream.timeout().map(|timeout| timeout.as_secs_f64())
    }

    fn _readiness(&self) -> Outcome<LoopReadiness> {
        LoopReadiness::new(&self.stream)
    }
}

getters! { AudioStream, "AudioStream", |this, _py|
    closed: bool = this.stream.is_closed();
    sample_rate: u32 = this.stream.rate().hz();
    dtype: &'static str = this.dtype.name();
    buffer_size: u64 = this.stream.size();
    position: Outcome<u64> = Ok(usable(&this.stream)?.ring().committed());
    written_ns: Outcome<i64> = Ok(usable(&this.stream)?.ring().written_ns());
    history: Outcome<u64> = Ok(usable(&this.stream)?.ring().layout().history());
    source: Outcome<String> = Ok(usable(&this.stream)?.source().to_owned());
    private_engine_pid: Outcome<Option<u32>> = Ok(usable(&this.stream)?.private_pid());
}

impl Drop for AudioStream {
    fn drop(&mut self) {
        Python::attach(|py| {
            // Python must not be called while an exception is on its way, as one may be.
            let raised = PyErr::take(py);
            self.close(py);
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}
