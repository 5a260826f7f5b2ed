//! The backend in use: which one the configuration asks for, and what the
//! engine needs from any of them.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::alsa::{AlsaSource, Setup, Stop};
use super::file::{FileSource, Pace, play};
use super::handover::{Handover, Standby};
use super::intake::Funnel;
use super::pipewire::{Options, Pipewire, Source};
use super::{Event, Events, Intake};
use crate::config::{Config, Fallback, SourceSpec};
use crate::error::{Error, Result};
use crate::latency::Latency;
use crate::rt::{self, Role};
use crate::status::SourceStatus;
use crate::text;
use crate::vad::worker::Brake;

/// Where the audio comes from.
pub enum Backend {
    /// PipeWire's graph.
    Pipewire(Pipewire),
    /// PipeWire's graph, or an ALSA PCM while that can't be reached.
    Handover(Handover),
    /// An ALSA PCM.
    Alsa(AlsaCapture),
    /// A sound file.
    File(FilePlayer),
}

impl Backend {
    /// Starts capturing what `config` asks for. An unpaced file is held by `brake`.
    /// With `on_demand`, a file starts when the first client listens. A microphone
    /// is left alone until it is `active`.
    pub fn start(
        config: &Config,
        intake: Arc<Funnel>,
        brake: Brake,
        on_demand: bool,
        active: bool,
        events: Events,
    ) -> Result<Self> {
        match &config.source {
            SourceSpec::Alsa(pcm) => {
                let source = match active {
                    true => AlsaSource::open(pcm, config.alsa)?,
                    false => AlsaSource::later(Some(pcm), config.alsa),
                };
                AlsaCapture::start(source, intake, active, events).map(Self::Alsa)
            }
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
                    active,
                    remote: None,
                };
                // ALSA knows no node and no monitor by PipeWire's names.
                match &config.fallback {
                    Fallback::Off => {}
                    _ if *source != Source::Default => {}
                    fallback => {
                        let standby = Standby {
                            pcm: match fallback {
                                Fallback::Pcm(pcm) => Some(pcm.clone()),
                                _ => None,
                            },
                            options: config.alsa,
                        };
                        let handover = Handover::start(options, standby, intake, events);
                        return handover.map(Self::Handover);
                    }
                }
                Pipewire::start(options, intake, events).map(Self::Pipewire)
            }
        }
    }

    /// Asks the graph for a quantum; `None` when nobody listens.
    pub fn set_latency(&mut self, latency: Option<Latency>) {
        match self {
            Self::Pipewire(pipewire) => pipewire.set_latency(latency),
            Self::Handover(handover) => handover.set_latency(latency),
            Self::File(player) if latency.is_some() => player.go(),
            Self::Alsa(_) | Self::File(_) => {}
        }
    }

    /// Captures, or leaves the microphone alone.
    pub fn set_active(&mut self, active: bool) {
        match self {
            Self::Pipewire(pipewire) => pipewire.set_active(active),
            Self::Handover(handover) => handover.set_active(active),
            Self::Alsa(alsa) => alsa.set_active(active),
            Self::File(_) => {}
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
            Self::Handover(handover) => handover.audio_thread(),
            Self::Alsa(alsa) => alsa.thread_id(),
            Self::File(_) => None,
        }
    }

    /// Says what is captured and how.
    pub fn describe(&self, status: &mut SourceStatus) {
        status.fallback = None;
        match self {
            Self::Pipewire(pipewire) => describe_pipewire(pipewire, status),
            Self::Handover(handover) => handover.describe(status),
            Self::Alsa(alsa) => alsa.describe(status),
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
            Self::Handover(handover) => handover.stop(),
            Self::Alsa(alsa) => alsa.stop(),
            Self::File(player) => player.stop(),
        }
    }
}

/// Says how PipeWire captures, and looks after its thread.
pub(super) fn describe_pipewire(pipewire: &Pipewire, status: &mut SourceStatus) {
    pipewire.look_after_thread();
    let state = pipewire.state();
    status.backend = "pipewire".into();
    status.quantum = state.quantum;
    status.rate = state.rate;
    status.server_version = state.version;
    status.scheduling = state.thread.map(|thread| thread.to_string());
}

/// The thread that captures from an ALSA PCM.
pub struct AlsaCapture {
    setup: Arc<Mutex<Option<Setup>>>,
    tid: Arc<AtomicI32>,
    active: Arc<AtomicBool>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl AlsaCapture {
    pub(super) fn start(
        mut source: AlsaSource,
        intake: Arc<Funnel>,
        active: bool,
        events: Events,
    ) -> Result<Self> {
        let setup = source.setup();
        let stop = Arc::new(Stop::new()?);
        let tid = Arc::new(AtomicI32::new(0));
        let active = Arc::new(AtomicBool::new(active));
        let (stopped, own, wanted) = (stop.clone(), tid.clone(), active.clone());
        let thread = std::thread::Builder::new()
            .name("v2m-alsa".into())
            .spawn(move || {
                let promotion = rt::promote(Role::Capture);
                own.store(promotion.tid, Ordering::Relaxed);
                for refusal in promotion.why_not {
                    tracing::warn!("the audio thread asked for real time: {refusal}");
                }
                rt::lock_stack();
                while !stopped.is_ended() {
                    if wanted.load(Ordering::Acquire) {
                        source.capture(&*intake, &*events, &stopped);
                        stopped.rearm();
                    } else {
                        std::thread::park();
                    }
                }
            })
            .map_err(|cause| Error::system("cannot start the ALSA thread", cause))?;
        Ok(Self {
            setup,
            tid,
            active,
            stop,
            thread: Some(thread),
        })
    }

    pub(super) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Release);
        match &self.thread {
            Some(thread) if active => thread.thread().unpark(),
            _ => self.stop.stop(),
        }
    }

    pub(super) fn thread_id(&self) -> Option<i32> {
        Some(self.tid.load(Ordering::Relaxed)).filter(|tid| *tid != 0)
    }

    pub(super) fn describe(&self, status: &mut SourceStatus) {
        let setup = lock(&self.setup);
        status.backend = "alsa".into();
        status.quantum = setup.as_ref().map_or(0, |setup| setup.period as u32);
        status.rate = setup.as_ref().map_or(0, |setup| setup.rate);
        status.server_version = None;
        let thread = self.thread_id().and_then(rt::inspect);
        status.scheduling = thread.map(|thread| thread.to_string());
    }

    fn stop(&mut self) {
        self.stop.end();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn lock(setup: &Mutex<Option<Setup>>) -> MutexGuard<'_, Option<Setup>> {
    setup.lock().unwrap_or_else(PoisonError::into_inner)
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
                let name = text::printable(&file.path().to_string_lossy(), text::MESSAGE);
                events(Event::Linked(name));
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
