//! What others than the main thread know of a source.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::detect::worker::SourceTrack;
use crate::engine::stream;
use v2m_client::status::{FindingStatus, SourceStatus};
use v2m_ring::State;

/// Of one source.
pub(in crate::engine) struct SourceShared {
    pub(in crate::engine) asked: String,
    pub(in crate::engine) channel: String,
    pub(in crate::engine) track: SourceTrack,
    /// Nothing is captured, as nobody listens.
    pub(super) idle: AtomicBool,
    pub(super) now: Mutex<Now>,
    /// The first is the one at 16 kHz.
    pub(super) streams: Mutex<Vec<Arc<stream::StreamShared>>>,
}

/// How it is.
pub(in crate::engine) struct Now {
    /// By what the backend told.
    pub(super) state: State,
    pub(super) source: SourceStatus,
    /// Why no audio comes although the source is there.
    pub(super) silent: Option<String>,
    /// A call that has not returned for long.
    pub(in crate::engine) hanging: Option<String>,
    pub(in crate::engine) health: Vec<FindingStatus>,
}

impl Now {
    /// By what really comes, too.
    pub(in crate::engine) fn state(&self) -> State {
        match self.state {
            State::Running if self.silent.is_some() => State::Waiting,
            state => state,
        }
    }

    pub(in crate::engine) fn source(&self) -> SourceStatus {
        let mut source = self.source.clone();
        match (self.state, &self.silent, &self.hanging) {
            (State::Running, Some(why), _) => {
                source.linked = None;
                source.waiting = Some(why.clone());
            }
            (State::Starting, _, Some(_)) => source.waiting.clone_from(&self.hanging),
            _ => {}
        }
        source
    }

    /// For people who ask the service manager.
    pub(super) fn line(&self, readers: &str) -> String {
        let source = self.source();
        match (self.state(), &source.linked, &source.waiting) {
            (State::Running, Some(linked), _) if readers.is_empty() => {
                format!("capturing {linked}")
            }
            (State::Running, Some(linked), _) => format!("capturing {linked} for {readers}"),
            (_, _, Some(why)) => format!("not capturing: {why}"),
            (state, ..) => format!("{state:?}").to_lowercase(),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SourceShared {
    pub(in crate::engine) fn now(&self) -> MutexGuard<'_, Now> {
        lock(&self.now)
    }

    pub(in crate::engine) fn streams(&self) -> Vec<Arc<stream::StreamShared>> {
        lock(&self.streams).clone()
    }
}
