//! What a backend is. All of them stand in the table of [`capture`](super); `docs/backends.md`
//! shows how one is made.

use std::sync::Arc;

use super::channels::Channels;
use super::ingest::Ingest;
use super::{Events, SourceInfo};
use crate::config::{Config, SourceSpec};
use crate::detect::worker::Backpressure;
use v2m_client::quantum::Quantum;
use v2m_client::status::SourceStatus;
use v2m_dsp::health::Mute;
use v2m_error::Result;

/// A capture. It gives its audio to the [`Ingest`] it was started with, on a thread of its
/// own; the engine's main thread calls what is here, several times a second, and is never
/// kept waiting.
pub trait Backend: Send {
    /// Asks for a quantum; `None` when nobody listens.
    fn set_quantum(&self, _latency: Option<Quantum>) {}

    /// Has one clock drive it and the engine's other sources that are read together with it,
    /// where there is a choice.
    fn set_together(&self, _together: bool) {}

    /// Who reads what is captured, to be shown where the system shows who captures.
    fn set_readers(&self, _readers: &str) {}

    /// Captures, or leaves the microphone alone.
    fn set_active(&self, active: bool);

    /// Whether time goes on when no audio arrives: silence is filled in then.
    fn is_live(&self) -> bool {
        true
    }

    /// Whether audio comes as time passes, so that none for a second is a fault.
    fn keeps_time(&self) -> bool {
        true
    }

    /// The thread that gets the audio in real time, once it is known.
    fn audio_thread(&self) -> Option<i32> {
        None
    }

    /// Says what is captured and how.
    fn describe(&self, status: &mut SourceStatus);

    /// A switch that is off, if that is why nothing is heard.
    fn mute(&self) -> Option<Mute> {
        None
    }

    /// Finds out why no audio comes; [`why_silent`](Self::why_silent) tells a little later.
    fn ask(&self) {}

    /// Why no audio comes although it should, as far as that can be known.
    fn why_silent(&self) -> String {
        "its thread does not run".into()
    }

    /// Which call into a library has not returned for long.
    fn hanging(&self) -> Option<String> {
        None
    }

    /// Stops; no audio comes after this, and no call that hangs is waited for.
    fn stop(&mut self);
}

/// What a capture is started with.
pub struct Start<'a> {
    /// What is asked for, and each backend's options.
    pub config: &'a Config,
    /// Which of the source's channels are heard.
    pub channels: Arc<Channels>,
    /// Takes the audio.
    pub ingest: Arc<Ingest>,
    /// Holds what is faster than time.
    pub backpressure: Backpressure,
    /// What can wait, such as a file, begins when the first client listens.
    pub on_demand: bool,
    /// Whether to capture at once; a microphone is left alone until then.
    pub active: bool,
    /// Hears what happens.
    pub events: Events,
}

/// One row of the table of backends.
pub struct Kind {
    /// Whether this source is one of its own.
    pub takes: fn(&SourceSpec) -> bool,
    /// Starts a capture, and waits for nothing: what can't be had is told as an event.
    pub start: fn(Start<'_>) -> Result<Box<dyn Backend>>,
    /// What can be captured now, the default first; empty where there is nothing to choose
    /// from.
    pub sources: fn() -> Result<Vec<SourceInfo>>,
}
