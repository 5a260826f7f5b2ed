//! The backend in use: which one the configuration asks for, and what the
//! engine needs from any of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::file::{FileSource, Pace, play};
use super::intake::Funnel;
use super::pipewire::{Options, Pipewire};
use super::{Event, Events};
use crate::config::{Config, SourceSpec};
use crate::error::{Error, Result};
use crate::latency::Latency;
use crate::status::SourceStatus;

/// Where the audio comes from.
pub enum Backend {
    /// PipeWire's graph.
    Pipewire(Pipewire),
    /// A sound file.
    File(FilePlayer),
}

impl Backend {
    /// Starts capturing what `config` asks for.
    /// With `on_demand`, a file starts when the first client listens.
    pub fn start(
        config: &Config,
        intake: Arc<Funnel>,
        on_demand: bool,
        events: Events,
    ) -> Result<Self> {
        match &config.source {
            SourceSpec::File(path) => {
                let pace = if config.pace {
                    Pace::RealTime
                } else {
                    Pace::Unpaced
                };
                let player = FilePlayer::start(FileSource::open(path)?, pace, intake, events)?;
                if !on_demand {
                    player.go();
                }
                Ok(Self::File(player))
            }
            SourceSpec::Pipewire(source) => {
                let options = Options {
                    node_name: config.node_name.clone(),
                    source: source.clone(),
                    latency: None,
                    remote: None,
                };
                Pipewire::start(options, intake, events).map(Self::Pipewire)
            }
        }
    }

    /// Asks the graph for a quantum; `None` when nobody listens.
    pub fn set_latency(&mut self, latency: Option<Latency>) {
        match self {
            Self::Pipewire(pipewire) => pipewire.set_latency(latency),
            Self::File(player) if latency.is_some() => player.go(),
            Self::File(_) => {}
        }
    }

    /// Whether time goes on when no audio arrives: silence is filled in then.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// Says what is captured and how.
    pub fn describe(&self, status: &mut SourceStatus) {
        match self {
            Self::Pipewire(pipewire) => {
                let state = pipewire.state();
                status.backend = "pipewire".into();
                status.quantum = state.quantum;
                status.rate = state.rate;
                status.server_version = state.version;
                status.scheduling = state.thread.map(|thread| thread.to_string());
            }
            Self::File(player) => {
                status.backend = "file".into();
                status.rate = player.rate;
            }
        }
    }

    /// Stops; no audio comes after this.
    pub fn stop(&mut self) {
        match self {
            Self::Pipewire(pipewire) => pipewire.stop(),
            Self::File(player) => player.stop(),
        }
    }
}

/// The thread that plays a file.
pub struct FilePlayer {
    rate: u32,
    go: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FilePlayer {
    fn start(file: FileSource, pace: Pace, intake: Arc<Funnel>, events: Events) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let go = Arc::new(AtomicBool::new(false));
        let gone = go.clone();
        let rate = file.rate();
        let thread = std::thread::Builder::new()
            .name("v2m-file".into())
            .spawn(move || {
                intake.expect(rate);
                while !gone.load(Ordering::Acquire) && !stopped.load(Ordering::Acquire) {
                    std::thread::park();
                }
                events(Event::Linked(file.path().display().to_string()));
                match play(file, pace, &*intake, &stopped, || {}) {
                    Ok(()) => {
                        intake.finish();
                        events(Event::Ended);
                    }
                    Err(error) => events(Event::Waiting(error.to_string())),
                }
            })
            .map_err(|cause| Error::system("cannot start the file's thread", cause))?;
        Ok(Self {
            rate,
            go,
            stop,
            thread: Some(thread),
        })
    }

    fn go(&self) {
        self.go.store(true, Ordering::Release);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for FilePlayer {
    fn drop(&mut self) {
        self.stop();
    }
}
