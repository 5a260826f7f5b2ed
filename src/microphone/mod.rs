//! The virtual microphone: a source in PipeWire's graph that any program can pick. It is a
//! client of the engine that it belongs to, connected while somebody records from it and at no
//! other time, so that nothing is captured for nobody.
//!
//! One thread keeps the node, from one daemon to the next; PipeWire's data thread asks the
//! [`feed`] for samples.

pub mod feed;
mod node;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::MicrophoneOptions;
use v2m_client::status::MicrophoneStatus;
use v2m_error::Result;
use v2m_rt::bounded::Bounded;

/// The node's name, after the engine's own: `v2m-engine.microphone`.
pub const SUFFIX: &str = ".microphone";

/// A virtual microphone; it goes when this is dropped.
pub struct Microphone {
    stop: pipewire::channel::Sender<Stop>,
    report: Report,
    thread: Bounded,
}

struct Stop;

impl Microphone {
    /// Makes the node `name`, fed by the engine that listens at `engine`. Neither has to be
    /// there yet.
    ///
    /// # Errors
    /// [`ErrorKind::System`](v2m_error::ErrorKind::System) if no thread can be started.
    pub fn start(options: MicrophoneOptions, name: String, engine: PathBuf) -> Result<Self> {
        let (stop, stopped) = pipewire::channel::channel();
        let report = Report::default();
        report.lock().node.clone_from(&name);
        let status = report.clone();
        let thread = Bounded::spawn("v2m-microphone", move |calls| {
            node::keep(&options, &name, &engine, &status, stopped, calls);
        })?;
        Ok(Self {
            stop,
            report,
            thread,
        })
    }

    /// Says how it goes.
    pub fn report(&self) -> Report {
        self.report.clone()
    }
}

/// How a microphone goes, for as long as anybody asks.
#[derive(Clone, Debug, Default)]
pub struct Report(Arc<Mutex<MicrophoneStatus>>);

impl Report {
    /// At this moment.
    pub fn status(&self) -> MicrophoneStatus {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, MicrophoneStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        // Fails only if the thread has ended.
        let _ = self.stop.send(Stop);
        self.thread.join();
    }
}
