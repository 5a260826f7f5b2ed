//! Reading item by item, as C does it: for a time, or at a glance.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use v2m_client::progress::{Poll, Source};
use v2m_client::ring::Waited;
use v2m_client::stream::Stream;
use v2m_client::{Error, Result};

use crate::types::Code;

/// What was found.
pub(crate) enum Found<T> {
    Item(T),
    /// So many were overwritten.
    Lost(u64),
    /// Nothing, and why.
    Nothing(Code),
}

/// The end of a wait.
#[derive(Clone, Copy)]
pub(crate) struct Limit(Option<Instant>);

impl Limit {
    /// Less than 0 is for ever.
    pub(crate) fn new(timeout_ns: i64) -> Self {
        let timeout = u64::try_from(timeout_ns).ok().map(Duration::from_nanos);
        // What no clock reaches is for ever, too.
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }
}

/// Why a wait ended before its time.
enum Stop {
    Signal,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// C handles its signals itself, after an answer.
fn signals(waited: Waited) -> Result<(), Stop> {
    match waited {
        Waited::Interrupted => Err(Stop::Signal),
        _ => Ok(()),
    }
}

/// What is read from, and since when no audio came.
pub(crate) struct Reading<S> {
    pub(crate) source: S,
    progress: Mutex<(u64, Instant)>,
}

impl<S: Source> Reading<S> {
    pub(crate) fn new(source: S) -> Self {
        let committed = source.stream().committed();
        Self {
            source,
            progress: Mutex::new((committed, Instant::now())),
        }
    }

    pub(crate) fn stream(&self) -> &Stream {
        self.source.stream()
    }

    /// The next item, if it is there. Doesn't wait.
    pub(crate) fn poll(&self) -> Result<Found<S::Item>> {
        self.found(self.source.poll().map_err(Stop::Failed))
    }

    /// The same, waiting for it and recovering from what can be recovered from.
    pub(crate) fn read(&self, limit: Limit) -> Result<Found<S::Item>> {
        self.found(self.source.next_until(limit.0, signals))
    }

    /// Until there is something to take or to tell.
    pub(crate) fn wait(&self, limit: Limit) -> Result<Code> {
        match self.source.await_news_until(limit.0, signals) {
            Ok(true) => Ok(Code::Ok),
            Ok(false) => self.pending(),
            Err(stop) => self.stopped(stop),
        }
    }

    fn found(&self, found: Result<Poll<S::Item>, Stop>) -> Result<Found<S::Item>> {
        Ok(match found {
            Ok(Poll::Ready(item)) => Found::Item(item),
            Ok(Poll::Overrun(lost)) => Found::Lost(lost),
            Ok(Poll::Pending) => Found::Nothing(self.pending()?),
            Ok(Poll::EngineLost | Poll::NoSpeechTrack) => Found::Nothing(Code::Recover),
            Ok(Poll::Ended) => Found::Nothing(Code::Ended),
            Err(stop) => Found::Nothing(self.stopped(stop)?),
        })
    }

    fn stopped(&self, stop: Stop) -> Result<Code> {
        match stop {
            Stop::Signal => Ok(Code::Interrupted),
            Stop::Failed(error) => {
                // The next time without audio is counted anew.
                self.note(self.stream().committed());
                Err(error)
            }
        }
    }

    /// One attempt; false: not yet.
    pub(crate) fn recover(&self) -> Result<bool> {
        let done = self.source.recover()?;
        if done {
            self.note(self.source.stream().committed());
        }
        Ok(done)
    }

    /// Nothing yet; an error if no audio came for as long as the stream's timeout, however
    /// short each wait was.
    fn pending(&self) -> Result<Code> {
        let stream = self.stream();
        let committed = stream.committed();
        let (before, since) = *lock(&self.progress);
        if committed != before {
            self.note(committed);
        } else if stream
            .timeout()
            .is_some_and(|limit| since.elapsed() >= limit)
        {
            return self.stopped(Stop::Failed(stream.stalled()));
        }
        Ok(Code::Pending)
    }

    fn note(&self, committed: u64) {
        *lock(&self.progress) = (committed, Instant::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
