//! Audio that Python gives: checked, and read where it lies, without the GIL.
#![allow(unsafe_code, reason = "reads memory that others may write")]

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use v2m_client::Result;
use v2m_client::vad::recording::check;

use crate::params::invalid;

/// Full scale of 16 bit samples.
const FULL_SCALE: f32 = 32_768.0;

/// One channel of samples in a buffer of Python's, which stays where it is as long as
/// this lives.
pub(crate) struct Samples {
    buffer: PyUntypedBuffer,
    format: Format,
}

#[derive(Clone, Copy)]
enum Format {
    Float32,
    Int16,
}

impl Samples {
    /// Fails with ValueError, or TypeError for what is no buffer at all.
    pub(crate) fn get(audio: &Bound<'_, PyAny>) -> PyResult<Self> {
        let invalid = |message: String| Err(PyValueError::new_err(message));
        let Some(buffer) = one_dimension(audio, "audio")? else {
            return Err(PyTypeError::new_err(format!(
                "audio must be a stream, a chunk, a segment, or a buffer of float32 or int16 \
                 (a NumPy array, array.array, memoryview), not {}",
                audio.get_type().name()?
            )));
        };
        // In this machine's byte order; PyO3's own check (0.30) takes big-endian samples for it.
        let order = if cfg!(target_endian = "little") {
            "<"
        } else {
            ">"
        };
        let name = buffer.format().to_string_lossy();
        let format = match name.trim_start_matches(['@', '=']) {
            "f" => Format::Float32,
            "h" => Format::Int16,
            other if other.strip_prefix(order) == Some("f") => Format::Float32,
            other if other.strip_prefix(order) == Some("h") => Format::Int16,
            _ => {
                return invalid(format!(
                    "audio of format {name:?}: must be float32 (\"f\", full scale 1.0) or int16 (\"h\"), \
                     for instance by .astype(np.float32) or memoryview(data).cast(\"h\")"
                ));
            }
        };
        let aligned = match format {
            // Nothing may be anywhere.
            _ if buffer.item_count() == 0 => true,
            Format::Float32 => buffer.buf_ptr().cast::<u32>().is_aligned(),
            Format::Int16 => buffer.buf_ptr().cast::<u16>().is_aligned(),
        };
        if !buffer.is_c_contiguous() || !aligned {
            return invalid(
                "audio that is not contiguous in memory: copy it first, by np.ascontiguousarray(audio) or .copy()"
                    .into(),
            );
        }
        Ok(Self { buffer, format })
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.item_count()
    }

    /// Copies samples from number `first` on, full scale 1.0.
    pub(crate) fn read(&self, first: usize, out: &mut [f32]) {
        assert!(first + out.len() <= self.len());
        let start = self.buffer.buf_ptr();
        match self.format {
            Format::Float32 => {
                for (i, sample) in out.iter_mut().enumerate() {
                    // SAFETY:
                    // - inside the buffer (asserted), contiguous and aligned (seen in `get`);
                    // - CPython keeps the memory while the buffer is held;
                    // - others may write to it meanwhile, as to any array without the
                    //   GIL: it is loaded as atomics, of which every bit pattern is one.
                    let word = unsafe { AtomicU32::from_ptr(start.cast::<u32>().add(first + i)) };
                    *sample = f32::from_bits(word.load(Ordering::Relaxed));
                }
            }
            Format::Int16 => {
                for (i, sample) in out.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let word = unsafe { AtomicU16::from_ptr(start.cast::<u16>().add(first + i)) };
                    *sample = f32::from(word.load(Ordering::Relaxed).cast_signed()) / FULL_SCALE;
                }
            }
        }
    }

    /// Hands over all samples in blocks, each with the number of its first, until one fails.
    pub(crate) fn blocks<E>(
        &self,
        take: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        // A window at a time should not pay for clearing room for sixteen.
        match self.len() {
            ..=512 => self.blocks_of::<512, E>(take),
            _ => self.blocks_of::<8192, E>(take),
        }
    }

    fn blocks_of<const N: usize, E>(
        &self,
        mut take: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut block = [0.0; N];
        (0..self.len()).step_by(N).try_for_each(|first| {
            let count = N.min(self.len() - first);
            self.read(first, &mut block[..count]);
            take(first, &block[..count])
        })
    }

    /// Fails unless all of it is audio of full scale 1.0.
    pub(crate) fn check(&self) -> Result<()> {
        match self.format {
            Format::Float32 => self.blocks(|first, block| check(block, first as u64)),
            Format::Int16 => Ok(()),
        }
    }
}

/// Probabilities that Python gives, in a sequence of one dimension.
pub(crate) fn probabilities(values: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    one_dimension(values, "probabilities")?;
    let given: Vec<f32> = values.extract()?;
    match given.iter().position(|p| !(0.0..=1.0).contains(p)) {
        Some(at) => Err(invalid(
            &format!("probabilities[{at}]"),
            given[at],
            "must be 0 to 1",
        )),
        None => Ok(given),
    }
}

/// The memory of a buffer of one dimension; None: no buffer at all.
fn one_dimension(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Option<PyUntypedBuffer>> {
    let why = match PyUntypedBuffer::get(value) {
        Ok(buffer) if buffer.dimensions() == 1 => return Ok(Some(buffer)),
        Ok(buffer) => format!(
            "of {} dimensions (shape {:?})",
            buffer.dimensions(),
            buffer.shape()
        ),
        Err(error) if error.is_instance_of::<PyTypeError>(value.py()) => return Ok(None),
        // A single number, for instance.
        Err(error) => format!("that is no sequence ({})", error.value(value.py())),
    };
    let message = format!("{what} {why}: give one channel, of one dimension");
    Err(PyValueError::new_err(message))
}
