//! A recording that is begun once, at some time, by whoever holds it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Background, Options, Progress, Recorder};
use crate::engine::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::locator::Locator;
use crate::quantum::Quantum;

/// How often a wait lets its caller look at other things.
const SLICE: Duration = Duration::from_millis(100);

/// What is to be recorded, and the recording once it has begun. Shared by threads.
#[derive(Debug)]
pub struct Once {
    locator: Locator,
    path: PathBuf,
    options: Options,
    state: Mutex<State>,
    /// A failure is told once.
    told: AtomicBool,
}

#[derive(Debug)]
enum State {
    New,
    /// Connecting.
    Opening,
    Running(Arc<Background>),
    /// Whoever was beginning it gave up.
    Abandoned,
}

impl Once {
    /// Not begun yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the options don't fit, or not what goes to `path`.
    pub fn new(locator: Locator, path: PathBuf, options: Options) -> Result<Self> {
        options.format_for(&path)?;
        // 20 ms don't matter to a file, and cost the others in the graph.
        let latency = locator.latency.or(Some(Quantum::RELAXED));
        Ok(Self {
            locator: Locator { latency, ..locator },
            path,
            options,
            state: Mutex::new(State::New),
            told: AtomicBool::new(false),
        })
    }

    /// The file or directory that was asked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins it. Blocks.
    ///
    /// # Errors
    /// Those of [`Recorder::connect`] and [`Background::start`], after which it can be tried
    /// again; [`ErrorKind::NotOpen`]: it was begun before.
    pub fn begin(&self) -> Result<()> {
        match &mut *lock(&self.state) {
            state @ State::New => *state = State::Opening,
            _ => {
                let message = "the recording was used already: make another";
                return Err(Error::new(ErrorKind::NotOpen, message));
            }
        }
        let (locator, options) = (self.locator.clone(), self.options.clone());
        let begun = Recorder::connect(locator, &self.path, options).and_then(Background::start);
        let mut state = lock(&self.state);
        match (begun, &*state) {
            (Ok(running), State::Abandoned) => running.stop(),
            (Ok(running), _) => *state = State::Running(Arc::new(running)),
            (Err(error), _) => {
                *state = State::New;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends it if it has begun, and as soon as it has. Doesn't wait for that.
    pub fn abandon(&self) {
        match &mut *lock(&self.state) {
            State::Running(running) => running.stop(),
            state => *state = State::Abandoned,
        }
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.running().is_some()
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        self.running()
            .is_some_and(|running| running.wait(Duration::ZERO).is_some())
    }

    /// How far it is, as of its last report.
    pub fn progress(&self) -> Progress {
        self.running()
            .map_or_else(Progress::default, |running| running.progress())
    }

    /// Waits until it has ended, `timeout` at most: whether it has. `idle` is called several
    /// times a second.
    ///
    /// # Errors
    /// Those of `idle`; why it ended early, to the first who asks;
    /// [`ErrorKind::NotOpen`]: it has not begun, or another process began it.
    pub fn wait<E: From<Error>>(
        &self,
        timeout: Option<Duration>,
        mut idle: impl FnMut() -> Result<(), E>,
    ) -> Result<bool, E> {
        let not_open = |message| Error::new(ErrorKind::NotOpen, message);
        let running = self
            .running()
            .ok_or_else(|| not_open("the recording has not begun"))?;
        if !running.is_own() {
            return Err(not_open("the recording belongs to the process that began it").into());
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()));
            match running.wait(left.min(SLICE)) {
                Some(Err(error)) if !self.told.swap(true, Ordering::AcqRel) => {
                    return Err(error.into());
                }
                Some(_) => return Ok(true),
                None => {}
            }
            idle()?;
            if deadline.is_some_and(|end| Instant::now() >= end) {
                return Ok(false);
            }
        }
    }

    /// Ends it with the audio that is there now, and waits for the disk. Nothing if it has not
    /// begun.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn close<E: From<Error>>(&self, idle: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        match self.running().filter(|running| running.is_own()) {
            Some(running) => {
                running.stop();
                self.wait(None, idle).map(drop)
            }
            None => Ok(()),
        }
    }

    fn running(&self) -> Option<Arc<Background>> {
        match &*lock(&self.state) {
            State::Running(running) => Some(running.clone()),
            State::New | State::Opening | State::Abandoned => None,
        }
    }
}
