//! One vocabulary of progress for whatever is read from an engine, and one wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use crate::error::{Error, Result};
use crate::ring::Waited;
use crate::stream::Stream;

/// How often a wait looks whether the engine is still there.
const SLICE: Duration = Duration::from_millis(200);
/// From one attempt to connect again to the next.
pub const RETRY: Duration = Duration::from_millis(100);

/// What a look at a stream, or at the segments of it, finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll<T> {
    /// The next item.
    Ready(T),
    /// So many samples were overwritten before they were read; what follows is fresh.
    Overrun(u64),
    /// Nothing yet: wait.
    Pending,
    /// The engine is gone: recover.
    EngineLost,
    /// Audio comes, but no speech detection: recover, which asks the engine why.
    NoSpeechTrack,
    /// Closed, or the source has ended: nothing follows.
    Ended,
}

impl<T> Poll<T> {
    /// What `make` makes of the item.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn try_map<U, E>(self, make: impl FnOnce(T) -> Result<U, E>) -> Result<Poll<U>, E> {
        Ok(match self {
            Self::Ready(item) => Poll::Ready(make(item)?),
            Self::Overrun(lost) => Poll::Overrun(lost),
            Self::Pending => Poll::Pending,
            Self::EngineLost => Poll::EngineLost,
            Self::NoSpeechTrack => Poll::NoSpeechTrack,
            Self::Ended => Poll::Ended,
        })
    }
}

/// Whoever shares it reads it as well.
impl<S: Source> Source for Arc<S> {
    type Item = S::Item;

    fn poll(&self) -> Result<Poll<S::Item>> {
        (**self).poll()
    }

    fn is_pending(&self) -> bool {
        (**self).is_pending()
    }

    fn stream(&self) -> &Stream {
        (**self).stream()
    }

    fn recover(&self) -> Result<bool> {
        (**self).recover()
    }
}

/// A source of whose items others are made, one by one.
pub struct Mapped<S, M> {
    source: S,
    make: M,
}

impl<S: Source, T, M: Fn(S::Item) -> Result<T>> Mapped<S, M> {
    pub fn new(source: S, make: M) -> Self {
        Self { source, make }
    }
}

impl<S: Source, T, M: Fn(S::Item) -> Result<T>> Source for Mapped<S, M> {
    type Item = T;

    fn poll(&self) -> Result<Poll<T>> {
        self.source.poll()?.try_map(&self.make)
    }

    fn is_pending(&self) -> bool {
        self.source.is_pending()
    }

    fn stream(&self) -> &Stream {
        self.source.stream()
    }

    fn recover(&self) -> Result<bool> {
        self.source.recover()
    }
}

/// What can be read item by item. No lock is held while a thread waits.
pub trait Source {
    type Item;

    /// Takes the next item, if there is one. Doesn't wait.
    ///
    /// # Errors
    /// The engine's memory makes no sense, or the next engine's doesn't fit.
    fn poll(&self) -> Result<Poll<Self::Item>>;

    /// Whether there is nothing to take and nothing to tell. Takes nothing.
    fn is_pending(&self) -> bool;

    fn stream(&self) -> &Stream;

    /// One attempt to mend what [`poll`](Self::poll) found, which may block for seconds.
    /// False: try again in [`RETRY`].
    ///
    /// # Errors
    /// It can't be mended, or was not in the stream's time.
    fn recover(&self) -> Result<bool>;

    /// Waits until there is something to take or to tell, a signal arrives, or `timeout`
    /// is over.
    fn wait(&self, timeout: Duration) -> Waited {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let Some(engine) = self.stream().engine() else {
                return Waited::Changed;
            };
            let ticket = engine.ring().ticket();
            if !self.is_pending() {
                return Waited::Changed;
            }
            let left = deadline.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Waited::TimedOut;
            }
            match engine.ring().wait(ticket, left.min(SLICE)) {
                Waited::Changed => {}
                Waited::Interrupted => return Waited::Interrupted,
                Waited::TimedOut => {
                    engine.check();
                }
            }
        }
    }

    /// Waits until there is something to take or to tell. `idle` is called after signals, with
    /// [`Waited::Interrupted`], and several times a second while nothing comes.
    ///
    /// # Errors
    /// Those of `idle`; [`ErrorKind::Device`](crate::ErrorKind::Device) if no audio came
    /// for as long as the stream's timeout.
    fn await_news<E: From<Error>>(
        &self,
        idle: impl FnMut(Waited) -> Result<(), E>,
    ) -> Result<(), E> {
        self.await_news_until(None, idle).map(drop)
    }

    /// The same, until `deadline` at most; false: there is nothing by then.
    ///
    /// # Errors
    /// As [`await_news`](Self::await_news).
    fn await_news_until<E: From<Error>>(
        &self,
        deadline: Option<Instant>,
        mut idle: impl FnMut(Waited) -> Result<(), E>,
    ) -> Result<bool, E> {
        let stream = self.stream();
        let mut progress = (stream.committed(), Instant::now());
        loop {
            let left = deadline.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()));
            match self.wait(left.min(SLICE)) {
                Waited::Changed => return Ok(true),
                Waited::Interrupted => idle(Waited::Interrupted)?,
                Waited::TimedOut => {
                    idle(Waited::TimedOut)?;
                    if deadline.is_some_and(|end| Instant::now() >= end) {
                        return Ok(false);
                    }
                    let committed = stream.committed();
                    if committed != progress.0 {
                        progress = (committed, Instant::now());
                    } else if stream.timeout().is_some_and(|t| progress.1.elapsed() >= t) {
                        return Err(stream.stalled().into());
                    }
                }
            }
        }
    }

    /// The next item, through waits and through what can be recovered from: gives
    /// [`Ready`](Poll::Ready), [`Overrun`](Poll::Overrun) or [`Ended`](Poll::Ended).
    /// `idle` as in [`await_news`](Self::await_news).
    ///
    /// # Errors
    /// Those of [`poll`](Self::poll), [`recover`](Self::recover) and
    /// [`await_news`](Self::await_news).
    fn next<E: From<Error>>(
        &self,
        idle: impl FnMut(Waited) -> Result<(), E>,
    ) -> Result<Poll<Self::Item>, E> {
        self.next_until(None, idle)
    }

    /// The same, until `deadline` at most: [`Pending`](Poll::Pending) if there is none by
    /// then.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    fn next_until<E: From<Error>>(
        &self,
        deadline: Option<Instant>,
        mut idle: impl FnMut(Waited) -> Result<(), E>,
    ) -> Result<Poll<Self::Item>, E> {
        loop {
            match self.poll()? {
                Poll::Pending => {
                    if !self.await_news_until(deadline, &mut idle)? {
                        return Ok(Poll::Pending);
                    }
                }
                Poll::EngineLost | Poll::NoSpeechTrack if self.recover()? => {
                    idle(Waited::TimedOut)?;
                }
                Poll::EngineLost | Poll::NoSpeechTrack => {
                    let left =
                        deadline.map_or(RETRY, |end| end.saturating_duration_since(Instant::now()));
                    if left.is_zero() {
                        return Ok(Poll::Pending);
                    }
                    idle(pause(left.min(RETRY)))?;
                }
                found => return Ok(found),
            }
        }
    }
}

/// Sleeps, less than a second; a signal ends it.
fn pause(time: Duration) -> Waited {
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: time.subsec_nanos().into(),
    };
    match nanosleep(&time) {
        NanosleepRelativeResult::Interrupted(_) => Waited::Interrupted,
        _ => Waited::TimedOut,
    }
}
