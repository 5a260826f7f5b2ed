//! `AudioChunk` and `SpeechSegment`: a stretch of a ring and what is known about it.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView, PyTuple};
use v2m_client::Result;
use v2m_client::judge;
use v2m_client::pcm::{self, Dtype};
use v2m_client::ring::Reader;
use v2m_client::stream;

use crate::errors;
use crate::python;
use crate::window::Window;

/// On its way to Python, of which it knows nothing yet.
pub(crate) struct Stretch {
    of: stream::Window,
    memory: Window,
    dtype: Dtype,
}

impl Stretch {
    /// Fails with [`ErrorKind::Overrun`] if it is overwritten already.
    pub(crate) fn new(of: stream::Window, dtype: Dtype) -> Result<Self> {
        let memory = match dtype {
            Dtype::Float32 => Window::samples(&of.ring, of.position, of.count)?,
            Dtype::Int16 => Window::own(pcm::int16(&of.ring, of.position, of.count)?),
        };
        Ok(Self { of, memory, dtype })
    }

    pub(crate) fn chunk(self) -> PyClassInitializer<AudioChunk> {
        let dtype = self.dtype;
        let chunk = AudioChunk { of: self.of, dtype };
        PyClassInitializer::from(self.memory).add_subclass(chunk)
    }
}

#[doc = doc!("AudioChunk")]
#[pyclass(frozen, subclass, extends = Window, module = "v2m_engine")]
pub(crate) struct AudioChunk {
    of: stream::Window,
    dtype: Dtype,
}

impl AudioChunk {
    /// Where it lies: a ring's samples from one position to another.
    pub(crate) fn stretch(&self) -> (&Arc<Reader>, u64, u64) {
        let of = &self.of;
        (&of.ring, of.position, of.position + of.count)
    }

    fn seconds(&self) -> f64 {
        self.of.ring.rate().seconds(self.of.count)
    }

    /// Not overwritten, or a copy of its own.
    fn is_valid(&self) -> bool {
        self.dtype.is_copied() || self.of.ring.is_valid(self.of.position)
    }

    /// What a representation says after the length: how it is now.
    fn remarks(&self) -> String {
        let gap = if self.of.gap { ", gap" } else { "" };
        let gone = if self.is_valid() { "" } else { ", overwritten" };
        format!("{gap}{gone}")
    }

    /// Says what was overwritten while, or before, it was copied.
    fn check_copied(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_valid() {
            return Ok(());
        }
        let (ring, start, end) = self.stretch();
        let gone = ring.oldest().min(end) - start;
        let message =
            format!("{gone} samples of the chunk were overwritten before they were copied");
        Err(errors::overrun(py, gone, message))
    }
}

#[pymethods]
impl AudioChunk {
    #[doc = doc!("AudioChunk.speech")]
    #[getter]
    fn speech<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let (ring, start, end) = self.stretch();
        let (first, windows) = py.detach(|| judge::track(ring, start, end - start));
        let window = Window::speech(ring, first, windows)
            .map_err(|error| errors::overwritten(py, error, end - start))?;
        PyMemoryView::from(Bound::new(py, window)?.as_any())
    }

    #[doc = doc!("AudioChunk.echo")]
    #[getter]
    fn echo<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let echoes = self.of.ring.echoes(self.of.position, self.of.count);
        let told = echoes.into_iter().map(|echo| {
            let fields = (echo.cancelled_db, echo.plays, echo.both, echo.converging);
            python(py, "_echo", "Echo", fields)
        });
        PyTuple::new(py, told.collect::<PyResult<Vec<_>>>()?)
    }

    #[doc = doc!("AudioChunk.copy")]
    fn copy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let bytes = PyMemoryView::from(slf)?.call_method1(intern!(slf.py(), "cast"), ("B",))?;
        let copy = array(slf.py(), slf.get().dtype, &bytes)?;
        slf.get().check_copied(slf.py())?;
        Ok(copy)
    }

    fn __bytes__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let bytes = PyMemoryView::from(slf)?.call_method0(intern!(slf.py(), "tobytes"))?;
        slf.get().check_copied(slf.py())?;
        Ok(bytes)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a chunk lies in the engine's memory and can't be pickled: pickle its copy()",
        ))
    }

    fn __len__(&self) -> usize {
        self.of.count as usize
    }

    fn __repr__(&self) -> String {
        format!(
            "<AudioChunk of {} samples ({:.0} ms) from {}{}>",
            self.of.count,
            (self.seconds() * 1000.0).floor(),
            self.of.position,
            self.remarks()
        )
    }
}

getters! { AudioChunk, "AudioChunk", |this, _py|
    position: u64 = this.of.position;
    time_ns: i64 = this.of.time_ns;
    gap: bool = this.of.gap;
    valid: bool = this.is_valid();
}

#[doc = doc!("SpeechSegment")]
#[pyclass(frozen, extends = AudioChunk, module = "v2m_engine")]
pub(crate) struct SpeechSegment {
    #[doc = doc!("SpeechSegment.final")]
    #[pyo3(get, name = "final")]
    is_final: bool,
}

impl SpeechSegment {
    /// That utterance.
    pub(crate) fn new(stretch: Stretch, is_final: bool) -> PyClassInitializer<Self> {
        stretch.chunk().add_subclass(Self { is_final })
    }
}

#[pymethods]
impl SpeechSegment {
    #[doc = doc!("SpeechSegment.end")]
    #[getter]
    fn end(slf: PyRef<'_, Self>) -> u64 {
        slf.as_super().stretch().2
    }

    #[doc = doc!("SpeechSegment.duration")]
    #[getter]
    fn duration(slf: PyRef<'_, Self>) -> f64 {
        slf.as_super().seconds()
    }

    fn __repr__(slf: PyRef<'_, Self>) -> String {
        let growing = if slf.is_final { "" } else { ", growing" };
        let chunk = slf.as_super();
        let (_, start, end) = chunk.stretch();
        let (seconds, remarks) = (chunk.seconds(), chunk.remarks());
        format!("<SpeechSegment of {seconds:.2} s from {start} to {end}{growing}{remarks}>")
    }
}

/// An `array.array` with a copy of these bytes.
pub(crate) fn array<'py>(
    py: Python<'py>,
    dtype: Dtype,
    bytes: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    static ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let typecode = match dtype {
        Dtype::Float32 => "f",
        Dtype::Int16 => "h",
    };
    let array = ARRAY.import(py, "array", "array")?.call1((typecode,))?;
    array.call_method1(intern!(py, "frombytes"), (bytes,))?;
    Ok(array)
}

/// An `array.array` of its own with these values.
pub(crate) fn array_of<'py>(py: Python<'py>, values: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    array(py, Dtype::Float32, PyBytes::new(py, &bytes).as_any())
}
