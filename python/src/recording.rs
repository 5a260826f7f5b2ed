//! `Recording`: the client's recorder, on a thread that no GIL can hold up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use v2m_client::locator::Locator;
use v2m_client::quantum::Quantum;
use v2m_client::record::{Background, Options, Progress, Recorder};

use crate::errors::{self, V2MError};
use crate::lock;
use crate::params;
use crate::source::aio;

/// How often a wait looks for Ctrl-C.
const SLICE: Duration = Duration::from_millis(100);

#[doc = doc!("Recording")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct Recording {
    locator: Locator,
    path: PathBuf,
    options: Options,
    state: Mutex<State>,
    /// Its failure was told.
    told: AtomicBool,
}

enum State {
    New,
    /// Connecting.
    Opening,
    Running(Arc<Background>),
    /// Whoever was entering gave up.
    Abandoned,
}

impl Recording {
    pub(crate) fn new(locator: Locator, path: PathBuf, options: Options) -> Self {
        // 20 ms don't matter to a file, and cost the others in the graph.
        let latency = locator.latency.or(Some(Quantum::RELAXED));
        Self {
            locator: Locator { latency, ..locator },
            path,
            options,
            state: Mutex::new(State::New),
            told: AtomicBool::new(false),
        }
    }

    fn running(&self) -> Option<Arc<Background>> {
        match &*lock(&self.state) {
            State::Running(running) => Some(running.clone()),
            State::New | State::Opening | State::Abandoned => None,
        }
    }

    fn progress(&self) -> Progress {
        self.running()
            .map_or_else(Progress::default, |running| running.progress())
    }
}

#[pymethods]
impl Recording {
    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        slf.get()._open(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*exception))]
    fn __exit__(&self, py: Python<'_>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let ended = self.close(py);
        match exception.get_item(0) {
            // What went wrong inside is worth more than what follows from it.
            Ok(kind) if !kind.is_none() => Ok(()),
            _ => ended,
        }
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf, "begin")
    }

    #[pyo3(signature = (*exception))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        exception: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let failed = exception.get_item(0).is_ok_and(|kind| !kind.is_none());
        aio(slf, if failed { "leave_quietly" } else { "end" })
    }

    #[doc = doc!("Recording.wait")]
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = params::timeout(timeout)?;
        let Some(running) = self.running() else {
            return Err(V2MError::new_err(
                "the recording has not begun: use it with `with` or `async with`",
            ));
        };
        if !running.is_own() {
            return Err(V2MError::new_err(
                "the recording belongs to the process that began it",
            ));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()));
            match py.detach(|| running.wait(left.min(SLICE))) {
                Some(Err(error)) if !self.told.swap(true, Ordering::AcqRel) => {
                    return Err(errors::raise(error));
                }
                Some(_) => return Ok(true),
                None => {}
            }
            py.check_signals()?;
            if deadline.is_some_and(|end| Instant::now() >= end) {
                return Ok(false);
            }
        }
    }

    #[doc = doc!("Recording.close")]
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.running().filter(|running| running.is_own()) {
            Some(running) => {
                running.stop();
                self.wait(py, None).map(drop)
            }
            None => Ok(()),
        }
    }

    #[doc = doc!("Recording.done")]
    #[getter]
    fn done(&self) -> bool {
        self.running()
            .is_some_and(|running| running.wait(Duration::ZERO).is_some())
    }

    #[doc = doc!("Recording.files")]
    #[getter]
    fn files(&self) -> Vec<PathBuf> {
        self.progress().files.clone()
    }

    #[doc = doc!("Recording.samples")]
    #[getter]
    fn samples(&self) -> u64 {
        self.progress().samples
    }

    #[doc = doc!("Recording.lost")]
    #[getter]
    fn lost(&self) -> u64 {
        self.progress().lost
    }

    #[doc = doc!("Recording.trouble")]
    #[getter]
    fn trouble(&self) -> Option<String> {
        self.progress().trouble.clone()
    }

    fn __repr__(&self) -> String {
        let state = match (self.running().is_some(), self.done()) {
            (false, _) => "not begun",
            (true, false) => "running",
            (true, true) => "ended",
        };
        let samples = self.progress().samples;
        format!(
            "<Recording to {}, {state}, {samples} samples>",
            self.path.display()
        )
    }

    // For `_aio.py`.

    /// Blocks, without the GIL.
    fn _open(&self, py: Python<'_>) -> PyResult<()> {
        match &mut *lock(&self.state) {
            state @ State::New => *state = State::Opening,
            _ => {
                return Err(V2MError::new_err(
                    "the recording was used already: make another by capture.record()",
                ));
            }
        }
        let begin = || {
            let (locator, options) = (self.locator.clone(), self.options.clone());
            Background::start(Recorder::connect(locator, &self.path, options)?)
        };
        let begun = py.detach(begin);
        let mut state = lock(&self.state);
        match (begun, &*state) {
            (Ok(running), State::Abandoned) => running.stop(),
            (Ok(running), _) => *state = State::Running(Arc::new(running)),
            (Err(error), _) => {
                *state = State::New;
                return Err(errors::raise(error));
            }
        }
        Ok(())
    }

    /// Ends it if it has begun, and as soon as it has; doesn't wait for that.
    fn _abandon(&self) {
        match &mut *lock(&self.state) {
            State::Running(running) => running.stop(),
            state => *state = State::Abandoned,
        }
    }
}
