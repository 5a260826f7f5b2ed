//! Files and arrays that Python gives, on all cores.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyString;
use v2m_client::Result;
use v2m_client::vad::corpus::{Search, Source, own_position};
use v2m_client::vad::segment::Segment;
use v2m_decode::Item;

use crate::errors::Outcome;
use crate::samples::Samples;
use crate::source::Interrupts;
use crate::{chunk, params, python};

/// Samples that are read at once.
const BLOCK: usize = 8192;

/// How timestamps are given: in seconds or in samples, and with how many decimals; None: as
/// they are.
#[derive(Clone, Copy)]
pub(crate) struct Form(pub(crate) bool, pub(crate) Option<usize>);

impl Form {
    /// Segments at 16 kHz of audio of so many `samples` of its own, `rate` a second.
    pub(crate) fn list<'py>(
        self,
        py: Python<'py>,
        segments: &[Segment],
        samples: u64,
        rate: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let own = |position| own_position(position, rate).min(samples);
        let stretches = segments.iter().map(|s| (own(s.start), own(s.end)));
        let stretches: Vec<_> = stretches.collect();
        let arguments = (stretches, samples, rate, self.0, self.1);
        python(py, "_timestamps", "of", arguments)
    }
}

/// Finds speech in `items`, whose arrays have so many samples a second: for each where it is, or
/// the exception that it cost.
pub(crate) fn search<'py>(
    items: &Bound<'py, PyAny>,
    search: &Search,
    rate: u32,
    form: Form,
) -> Outcome<Vec<Bound<'py, PyAny>>> {
    let py = items.py();
    let iterator = items.try_iter()?.unbind();
    let next = || {
        Python::attach(|py| match iterator.bind(py).clone().next().transpose()? {
            Some(given) => Ok(Some(item(&given, rate).map_err(Into::into))),
            None => Ok(None),
        })
    };
    // On the calling thread, as Python looks for signals in its main thread only.
    let mut interrupts = Interrupts::new();
    let found = py.detach(|| v2m_decode::search(search, next, || interrupts.look()))?;
    let answers = found.into_iter().map(|found| match found {
        Ok(found) => form.list(py, &found.segments, found.samples, found.rate),
        Err(failure) => Ok(PyErr::from(failure)
            .into_value(py)
            .into_bound(py)
            .into_any()),
    });
    Ok(answers.collect::<PyResult<_>>()?)
}

/// What Python gave: a path, or audio.
fn item(item: &Bound<'_, PyAny>, rate: u32) -> PyResult<Item> {
    if item.is_instance_of::<PyString>() || item.hasattr("__fspath__")? {
        return item.extract().map(Item::File);
    }
    Ok(Item::Audio(Box::new(Array {
        samples: Samples::get(item)?,
        position: 0,
        rate,
    })))
}

struct Array {
    samples: Samples,
    position: usize,
    rate: u32,
}

impl Source for Array {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        let count = BLOCK.min(self.samples.len() - self.position);
        let before = out.len();
        out.resize(before + count, 0.0);
        self.samples.read(self.position, &mut out[before..]);
        self.position += count;
        Ok(self.position < self.samples.len())
    }
}

/// A file as one channel at a rate.
#[doc = doc!("read_audio")]
#[pyfunction]
#[pyo3(signature = (path, sample_rate=16_000))]
pub(crate) fn read_audio(
    py: Python<'_>,
    path: PathBuf,
    #[pyo3(from_py_with = params::sample_rate)] sample_rate: u32,
) -> Outcome<Bound<'_, PyAny>> {
    let mut interrupts = Interrupts::new();
    let look = || interrupts.look();
    let samples: Outcome<_> = py.detach(|| v2m_decode::read(&path, sample_rate, look));
    Ok(chunk::array_of(py, &samples?)?)
}
