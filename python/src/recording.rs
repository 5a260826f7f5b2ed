//! `Recording`: the core's recorder on a thread of its own, which no GIL can hold up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use v2m_client::engine::generation;
use v2m_client::locator::Locator;
use v2m_client::record::{Options, Progress, Recorder, Stop};
use v2m_client::vad::follow;
use v2m_client::{Error, Result};

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
    progress: Arc<Mutex<Progress>>,
}

enum State {
    New,
    /// Connecting.
    Opening,
    Running(Arc<Running>),
    /// Whoever was entering gave up.
    Abandoned,
}

/// Its thread, as others see it.
struct Running {
    stop: Stop,
    end: Arc<End>,
    generation: u32,
}

/// How it ended, once it has.
#[derive(Default)]
struct End {
    result: Mutex<Option<Result<Progress>>>,
    came: Condvar,
}

impl End {
    /// Waits for it, at most `timeout`; no lock is held meanwhile.
    fn wait(&self, timeout: Duration) -> bool {
        let result = lock(&self.result);
        let wait = self
            .came
            .wait_timeout_while(result, timeout, |result| result.is_none());
        let (result, _) = wait.unwrap_or_else(PoisonError::into_inner);
        result.is_some()
    }
}

impl Recording {
    pub(crate) fn new(locator: Locator, path: PathBuf, options: Options) -> Self {
        Self {
            locator,
            path,
            options,
            state: Mutex::new(State::New),
            told: AtomicBool::new(false),
            progress: Arc::default(),
        }
    }

    /// Connects, opens the file, starts the thread. Blocks.
    fn begin(&self) -> Result<Running> {
        let engine = self.locator.connect()?;
        if self.options.speech
            && let Some(status) = engine.status()
        {
            follow::check(&status)?;
        }
        let options = self.options.clone();
        let recorder = Recorder::open(engine, self.locator.clone(), &self.path, options)?;
        let (stop, end) = (Stop::new()?, Arc::new(End::default()));
        let (asked, ended, progress) = (stop.clone(), end.clone(), self.progress.clone());
        let run = move || {
            let report = |now: &Progress| *lock(&progress) = now.clone();
            let result = recorder.run(&asked, report);
            *lock(&ended.result) = Some(result);
            ended.came.notify_all();
        };
        std::thread::Builder::new()
            .name("v2m-record".into())
            .spawn(run)
            .map_err(|cause| Error::system("cannot start a thread to record on", cause))?;
        Ok(Running {
            stop,
            end,
            generation: generation(),
        })
    }

    fn running(&self) -> Option<Arc<Running>> {
        match &*lock(&self.state) {
            State::Running(running) => Some(running.clone()),
            State::New | State::Opening | State::Abandoned => None,
        }
    }

    /// Waits for the end; Ctrl-C gets through. False: not within `timeout`.
    fn wait_for_end(
        py: Python<'_>,
        running: &Running,
        timeout: Option<Duration>,
    ) -> PyResult<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()));
            if py.detach(|| running.end.wait(left.min(SLICE))) {
                return Ok(true);
            }
            py.check_signals()?;
            if deadline.is_some_and(|end| Instant::now() >= end) {
                return Ok(false);
            }
        }
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
        if running.generation != generation() {
            return Err(V2MError::new_err(
                "the recording belongs to the process that began it",
            ));
        }
        let ended = Self::wait_for_end(py, &running, timeout)?;
        match &*lock(&running.end.result) {
            Some(Err(error)) if !self.told.swap(true, Ordering::AcqRel) => {
                Err(errors::raise(error.clone()))
            }
            _ => Ok(ended),
        }
    }

    #[doc = doc!("Recording.close")]
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.running() {
            Some(running) if running.generation == generation() => {
                running.stop.ask();
                self.wait(py, None).map(drop)
            }
            _ => Ok(()),
        }
    }

    #[doc = doc!("Recording.done")]
    #[getter]
    fn done(&self) -> bool {
        self.running()
            .is_some_and(|running| running.end.wait(Duration::ZERO))
    }

    #[doc = doc!("Recording.files")]
    #[getter]
    fn files(&self) -> Vec<PathBuf> {
        lock(&self.progress).files.clone()
    }

    #[doc = doc!("Recording.samples")]
    #[getter]
    fn samples(&self) -> u64 {
        lock(&self.progress).samples
    }

    #[doc = doc!("Recording.lost")]
    #[getter]
    fn lost(&self) -> u64 {
        lock(&self.progress).lost
    }

    #[doc = doc!("Recording.trouble")]
    #[getter]
    fn trouble(&self) -> Option<String> {
        lock(&self.progress).trouble.clone()
    }

    fn __repr__(&self) -> String {
        let state = match (self.running().is_some(), self.done()) {
            (false, _) => "not begun",
            (true, false) => "running",
            (true, true) => "ended",
        };
        let samples = lock(&self.progress).samples;
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
        let begun = py.detach(|| self.begin());
        let mut state = lock(&self.state);
        match (begun, &*state) {
            (Ok(running), State::Abandoned) => running.stop.ask(),
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
            State::Running(running) => running.stop.ask(),
            state => *state = State::Abandoned,
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Without anybody to hear of it; the thread ends the file by itself.
        if let Some(running) = self.running()
            && running.generation == generation()
        {
            running.stop.ask();
        }
    }
}
