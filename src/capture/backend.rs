//! The backend in use: which one the configuration asks for, and what the
//! engine needs from any of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use super::alsa::{self, AlsaSource, Setup, Stop};
use super::file::{FileSource, Pace, play};
use super::intake::Funnel;
use super::pipewire::{Options, Pipewire};
use super::{Event, Events};
use crate::config::{Config, SourceSpec};
use crate::error::{Error, Result};
use crate::latency::Latency;
use crate::rt::{self, Role};
use crate::status::SourceStatus;
use crate::vad::worker::Brake;

/// Where the audio comes from.
pub enum Backend {
    /// PipeWire's graph.
    Pipewire(Pipewire),
    /// An ALSA PCM.
    Alsa(AlsaCapture),
    /// A sound file.
    File(FilePlayer),
}

impl Backend {
    /// Starts capturing what `config` asks for. An unpaced file is held by `brake`.
    /// With `on_demand`, a file starts when the first client listens.
    pub fn start(
        config: &Config,
        intake: Arc<Funnel>,
        brake: Brake,
        on_demand: bool,
        events: Events,
    ) -> Result<Self> {
        match &config.source {
            SourceSpec::Alsa(pcm) => AlsaCapture::start(pcm, intake, events).map(Self::Alsa),
            SourceSpec::File(path) => {
                let pace = if config.pace {
                    Pace::RealTime
                } else {
                    Pace::Unpaced
                };
                let player =
                    FilePlayer::start(FileSource::open(path)?, pace, intake, brake, events)?;
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
            Self::Alsa(_) | Self::File(_) => {}
        }
    }

    /// Whether time goes on when no audio arrives: silence is filled in then.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// The thread that gets the audio, once it is known.
    pub fn audio_thread(&self) -> Option<i32> {
        match self {
            Self::Pipewire(pipewire) => pipewire.thread_id(),
            Self::Alsa(alsa) => alsa.thread_id.get().copied(),
            Self::File(_) => None,
        }
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
            Self::Alsa(alsa) => {
                let setup = alsa.setup.lock().unwrap_or_else(PoisonError::into_inner);
                status.backend = "alsa".into();
                status.quantum = setup.as_ref().map_or(0, |setup| setup.period as u32);
                status.rate = setup.as_ref().map_or(0, |setup| setup.rate);
                status.scheduling = alsa.scheduling.get().cloned();
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
            Self::Alsa(alsa) => alsa.stop(),
            Self::File(player) => player.stop(),
        }
    }
}

/// The thread that captures from an ALSA PCM.
pub struct AlsaCapture {
    setup: Arc<Mutex<Option<Setup>>>,
    scheduling: Arc<OnceLock<String>>,
    thread_id: Arc<OnceLock<i32>>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl AlsaCapture {
    fn start(pcm: &str, intake: Arc<Funnel>, events: Events) -> Result<Self> {
        let source = AlsaSource::open(pcm, alsa::Options::default())?;
        let setup = source.setup();
        let stop = Arc::new(Stop::new()?);
        let scheduling = Arc::new(OnceLock::new());
        let thread_id = Arc::new(OnceLock::new());
        let (stopped, got, id) = (stop.clone(), scheduling.clone(), thread_id.clone());
        let rate = setup
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|s| s.rate);
        let thread = std::thread::Builder::new()
            .name("v2m-alsa".into())
            .spawn(move || {
                rate.into_iter().for_each(|rate| intake.expect(rate));
                let promotion = rt::promote(Role::Capture);
                let _ = id.set(promotion.tid);
                if let Some(scheduling) = &promotion.got {
                    let _ = got.set(scheduling.to_string());
                }
                for refusal in promotion.why_not {
                    tracing::warn!("the audio thread asked for real time: {refusal}");
                }
                let _latency = rt::DmaLatency::hold();
                source.capture(&*intake, &*events, &stopped);
            })
            .map_err(|cause| Error::system("cannot start the ALSA thread", cause))?;
        Ok(Self {
            setup,
            scheduling,
            thread_id,
            stop,
            thread: Some(thread),
        })
    }

    fn stop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for AlsaCapture {
    fn drop(&mut self) {
        self.stop();
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
    fn start(
        file: FileSource,
        pace: Pace,
        intake: Arc<Funnel>,
        brake: Brake,
        events: Events,
    ) -> Result<Self> {
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
                match play(file, pace, &*intake, &stopped, || brake.hold(&stopped)) {
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
