//! A recorder on a thread of its own, so that nobody who waits for it holds it up.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Progress, Recorder, Stop};
use crate::engine::{generation, lock};
use crate::error::{Error, Result};

/// A recording under way. Dropping it ends it, without waiting for that.
#[derive(Debug)]
pub struct Background {
    stop: Stop,
    shared: Arc<BackgroundShared>,
    /// A forked child has its parent's recordings; they aren't its own.
    generation: u32,
}

#[derive(Debug, Default)]
struct BackgroundShared {
    progress: Mutex<Progress>,
    result: Mutex<Option<Result<()>>>,
    ended: Condvar,
}

impl Background {
    /// Runs `recorder`.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System): there is no thread for it.
    pub fn start(recorder: Recorder) -> Result<Self> {
        let (stop, shared) = (Stop::new()?, Arc::new(BackgroundShared::default()));
        let (asked, told) = (stop.clone(), shared.clone());
        let run = move || {
            let report = |now: &Progress| *lock(&told.progress) = now.clone();
            let result = recorder.run(&asked, report);
            *lock(&told.result) = Some(result.map(drop));
            told.ended.notify_all();
        };
        thread::Builder::new()
            .name("v2m-record".into())
            .spawn(run)
            .map_err(|cause| Error::system("cannot start a thread to record on", cause))?;
        Ok(Self {
            stop,
            shared,
            generation: generation(),
        })
    }

    /// Whether this process began it.
    pub fn is_own(&self) -> bool {
        self.generation == generation()
    }

    /// Ends it with the audio that is there now. Doesn't wait.
    pub fn stop(&self) {
        self.stop.ask();
    }

    /// Waits for its end, at most `timeout`; how it ended, if it has.
    pub fn wait(&self, timeout: Duration) -> Option<Result<()>> {
        let result = lock(&self.shared.result);
        let wait = self
            .shared
            .ended
            .wait_timeout_while(result, timeout, |result| result.is_none());
        let (result, _) = wait.unwrap_or_else(PoisonError::into_inner);
        result.clone()
    }

    /// How far it is, as of its last report.
    pub fn progress(&self) -> Progress {
        lock(&self.shared.progress).clone()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.is_own() {
            self.stop();
        }
    }
}
