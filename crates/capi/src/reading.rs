//! Reading item by item, as C does it: for a time, or at a glance.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};
use v2m_client::Result;
use v2m_client::progress::{Poll, RETRY, Source};
use v2m_client::ring::Waited;
use v2m_client::stream::Stream;

use crate::types::Code;

/// How often a wait looks whether audio still comes.
const SLICE: Duration = Duration::from_millis(200);

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

    /// What is left of it, at most `slice`.
    fn left(self, slice: Duration) -> Duration {
        self.0.map_or(slice, |end| {
            end.saturating_duration_since(Instant::now()).min(slice)
        })
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
        Ok(match self.source.poll()? {
            Poll::Ready(item) => Found::Item(item),
            Poll::Overrun(lost) => Found::Lost(lost),
            Poll::Pending => {
                self.check_progress()?;
                Found::Nothing(Code::Pending)
            }
            Poll::EngineLost | Poll::NoSpeechTrack => Found::Nothing(Code::Recover),
            Poll::Ended => Found::Nothing(Code::Ended),
        })
    }

    /// The same, waiting for it and recovering from what can be recovered from.
    pub(crate) fn read(&self, limit: Limit) -> Result<Found<S::Item>> {
        loop {
            let code = match self.poll()? {
                Found::Nothing(Code::Pending) => self.wait(limit)?,
                Found::Nothing(Code::Recover) if self.recover()? => Code::Ok,
                Found::Nothing(Code::Recover) => pause(limit.left(RETRY)),
                found => return Ok(found),
            };
            if code != Code::Ok {
                return Ok(Found::Nothing(code));
            }
        }
    }

    /// Until there is something to take or to tell.
    pub(crate) fn wait(&self, limit: Limit) -> Result<Code> {
        loop {
            let left = limit.left(SLICE);
            if left.is_zero() && self.source.is_pending() {
                return Ok(Code::Pending);
            }
            match self.source.wait(left) {
                Waited::Changed => return Ok(Code::Ok),
                Waited::Interrupted => return Ok(Code::Interrupted),
                Waited::TimedOut => self.check_progress()?,
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

    /// An error if no audio came for as long as the stream's timeout.
    fn check_progress(&self) -> Result<()> {
        let stream = self.source.stream();
        let committed = stream.committed();
        let (before, since) = *lock(&self.progress);
        if committed != before {
            self.note(committed);
        } else if stream
            .timeout()
            .is_some_and(|limit| since.elapsed() >= limit)
        {
            // The next time is counted anew.
            self.note(committed);
            return Err(stream.stalled());
        }
        Ok(())
    }

    fn note(&self, committed: u64) {
        *lock(&self.progress) = (committed, Instant::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Before the next attempt to recover.
fn pause(time: Duration) -> Code {
    if time.is_zero() {
        return Code::Pending;
    }
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: time.subsec_nanos().into(),
    };
    match nanosleep(&time) {
        NanosleepRelativeResult::Interrupted(_) => Code::Interrupted,
        _ => Code::Ok,
    }
}
