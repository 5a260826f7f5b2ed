//! `VADProcessor.speech_timestamps_many`: arrays and files that Python gives, on all cores.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString};
use v2m_client::Result;
use v2m_client::vad::corpus::{Found, Items, Search, Source};
use v2m_decode::Mono;

use crate::samples::Samples;
use crate::source::{Failure, Interrupts};
use crate::timestamps::{Form, Timestamp};
use crate::{chunk, errors, lock, params};

/// Samples that are read at once.
const BLOCK: usize = 8192;

/// What an item came to: where speech is in it, or the exception that it cost.
#[derive(IntoPyObject)]
pub(crate) enum Answer {
    Found(Vec<Timestamp>),
    Failed(Py<PyBaseException>),
}

/// Finds speech in `items`: an answer for each.
pub(crate) fn search(
    items: &Bound<'_, PyAny>,
    search: &Search,
    rate: u32,
    form: Form,
) -> PyResult<Vec<Answer>> {
    let py = items.py();
    let corpus = Corpus {
        rate,
        items: Mutex::new((items.try_iter()?.unbind(), 0)),
        results: Mutex::default(),
        failed: Mutex::default(),
        stop: AtomicBool::new(false),
        caller: thread::current().id(),
        interrupts: Mutex::new(Interrupts::new()),
    };
    let done = py.detach(|| search.run(&corpus));
    if let Some(error) = lock(&corpus.failed).take() {
        return Err(error);
    }
    done.map_err(errors::raise)?;
    let results = std::mem::take(&mut *lock(&corpus.results));
    let answer = |result: PyResult<Found>| match result {
        Ok(found) => {
            Answer::Found(form.list(&found.segments, |p| found.own(p), found.samples, found.rate))
        }
        Err(error) => Answer::Failed(error.into_value(py)),
    };
    Ok(results.into_iter().flatten().map(answer).collect())
}

/// A file as one channel at a rate.
#[doc = doc!("read_audio")]
#[pyfunction]
#[pyo3(signature = (path, sample_rate=16_000))]
pub(crate) fn read_audio(
    py: Python<'_>,
    path: PathBuf,
    #[pyo3(from_py_with = params::sample_rate)] sample_rate: u32,
) -> PyResult<Bound<'_, PyAny>> {
    let mut interrupts = Interrupts::new();
    let look = || interrupts.look();
    let samples: Result<_, Failure> = py.detach(|| v2m_decode::read(&path, sample_rate, look));
    chunk::array_of(py, &samples?)
}

/// Python's iterator, and what was found in what it gave.
struct Corpus {
    /// Of arrays.
    rate: u32,
    /// With how many it gave. Locked before the GIL is taken, never the other way round.
    items: Mutex<(Py<PyIterator>, usize)>,
    results: Mutex<Vec<Option<PyResult<Found>>>>,
    /// What ends all of it: the iterator's exception, or Ctrl-C.
    failed: Mutex<Option<PyErr>>,
    stop: AtomicBool,
    caller: ThreadId,
    interrupts: Mutex<Interrupts>,
}

/// What Python gave.
enum Item {
    File(PathBuf),
    Array(Samples),
}

impl Item {
    fn new(item: &Bound<'_, PyAny>) -> PyResult<Self> {
        let is_path = item.is_instance_of::<PyString>() || item.hasattr("__fspath__")?;
        match is_path {
            true => item.extract().map(Self::File),
            false => Samples::get(item).map(Self::Array),
        }
    }
}

impl Corpus {
    fn fail(&self, error: PyErr) {
        lock(&self.failed).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn put(&self, number: usize, result: PyResult<Found>) {
        let mut results = lock(&self.results);
        if results.len() <= number {
            results.resize_with(number + 1, || None);
        }
        results[number] = Some(result);
    }

    /// The next that is one.
    fn take(&self) -> Option<(usize, Item)> {
        loop {
            let mut items = lock(&self.items);
            let (iterator, count) = &mut *items;
            let next = Python::attach(|py| {
                let item = iterator.bind(py).clone().next()?;
                Some(item.map(|item| Item::new(&item)))
            });
            match next? {
                Err(error) => {
                    self.fail(error);
                    return None;
                }
                Ok(item) => {
                    let number = *count;
                    *count += 1;
                    match item {
                        Ok(item) => return Some((number, item)),
                        Err(error) => self.put(number, Err(error)),
                    }
                }
            }
        }
    }
}

impl Items for Corpus {
    fn next(&self) -> Option<(usize, Result<Box<dyn Source + '_>>)> {
        let (number, item) = self.take()?;
        let source: Result<Box<dyn Source>> = match item {
            Item::File(path) => Mono::open(&path).map(|file| Box::new(file) as _),
            Item::Array(samples) => Ok(Box::new(Array {
                samples,
                position: 0,
                rate: self.rate,
            })),
        };
        Some((number, source))
    }

    fn done(&self, number: usize, found: Result<Found>) {
        self.put(number, found.map_err(errors::raise));
    }

    fn stopped(&self) -> bool {
        // Python looks for signals in its main thread only.
        if thread::current().id() == self.caller {
            let looked = lock(&self.interrupts).look();
            if let Err(error) = looked {
                self.fail(error.into());
            }
        }
        self.stop.load(Ordering::Relaxed)
    }
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
