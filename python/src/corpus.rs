//! `VADProcessor.speech_timestamps_many`: arrays and files that Python gives, on all cores.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString};
use v2m_client::Result;
use v2m_client::vad::corpus::{Found, Items, Search, Source};
use v2m_client::vad::segment::Segment;
use v2m_decode::Mono;

use crate::errors::{Failure, Outcome};
use crate::samples::Samples;
use crate::source::Interrupts;
use crate::{chunk, lock, params, python};

/// Samples that are read at once.
const BLOCK: usize = 8192;

/// How timestamps are given: in seconds or in samples, and with how many decimals; None: as
/// they are.
#[derive(Clone, Copy)]
pub(crate) struct Form(pub(crate) bool, pub(crate) Option<usize>);

impl Form {
    /// Segments at 16 kHz of audio of so many `samples`, which `own` counts.
    pub(crate) fn list<'py>(
        self,
        py: Python<'py>,
        segments: &[Segment],
        own: impl Fn(u64) -> u64,
        samples: u64,
        rate: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let stretches = segments.iter().map(|s| (own(s.start), own(s.end)));
        let stretches: Vec<_> = stretches.collect();
        python(
            py,
            "_timestamps",
            "of",
            (stretches, samples, rate, self.0, self.1),
        )
    }
}

/// Finds speech in `items`: for each where it is, or the exception that it cost.
pub(crate) fn search<'py>(
    items: &Bound<'py, PyAny>,
    search: &Search,
    rate: u32,
    form: Form,
) -> Outcome<Vec<Bound<'py, PyAny>>> {
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
    done?;
    let results = std::mem::take(&mut *lock(&corpus.results));
    let answer = |result: Outcome<Found>| match result {
        Ok(found) => form.list(
            py,
            &found.segments,
            |p| found.own(p),
            found.samples,
            found.rate,
        ),
        Err(failure) => Ok(PyErr::from(failure)
            .into_value(py)
            .into_bound(py)
            .into_any()),
    };
    let answers = results.into_iter().flatten().map(answer);
    Ok(answers.collect::<PyResult<_>>()?)
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

/// Python's iterator, and what was found in what it gave.
struct Corpus {
    /// Of arrays.
    rate: u32,
    /// With how many it gave. Locked before the GIL is taken, never the other way round.
    items: Mutex<(Py<PyIterator>, usize)>,
    results: Mutex<Vec<Option<Outcome<Found>>>>,
    /// What ends all of it: the iterator's exception, or Ctrl-C.
    failed: Mutex<Option<Failure>>,
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
    fn fail(&self, error: Failure) {
        lock(&self.failed).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn put(&self, number: usize, result: Outcome<Found>) {
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
                    self.fail(error.into());
                    return None;
                }
                Ok(item) => {
                    let number = *count;
                    *count += 1;
                    match item {
                        Ok(item) => return Some((number, item)),
                        Err(error) => self.put(number, Err(error.into())),
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
        self.put(number, found.map_err(Failure::from));
    }

    fn stopped(&self) -> bool {
        // Python looks for signals in its main thread only.
        if thread::current().id() == self.caller {
            let looked = lock(&self.interrupts).look();
            if let Err(error) = looked {
                self.fail(error);
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
