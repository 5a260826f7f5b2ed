//! The backend in use: which one the configuration asks for, and what the
//! engine needs from any of them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use super::alsa::{AlsaSource, Setup, Stop};
use super::channels::Channels;
use super::file::{FileSource, Pace, play};
use super::handover::{Handover, Standby};
use super::intake::Funnel;
use super::pipewire::{Options, Pipewire, Source};
use super::{Block, Event, Events, Intake};
use crate::config::{Config, Fallback, SourceSpec};
use crate::error::Result;
use crate::health::Mute;
use crate::latency::Latency;
use crate::rt::bounded::Bounded;
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
    /// Starts capturing what `config` asks for, and waits for nothing: what can't be had is
    /// told as an event. An unpaced file is held by `brake`. With `on_demand`, a file starts
    /// when the first client listens. A microphone is left alone until it is `active`.
    pub fn start(
        config: &Config,
        channels: Arc<Channels>,
        intake: Arc<Funnel>,
        brake: Brake,
        on_demand: bool,
        active: bool,
        events: Events,
    ) -> Result<Self> {
        match &config.source {
            SourceSpec::Alsa(pcm) => {
                let source = AlsaSource::later(Some(pcm), config.alsa).with_channels(channels);
                AlsaCapture::start(source, intake, active, events).map(Self::Alsa)
            }
            SourceSpec::File(path) => {
                let pace = if config.pace {
                    Pace::RealTime
                } else {
                    Pace::Unpaced
                };
                let path = path.clone();
                let player = FilePlayer::start(path, channels, pace, intake, brake, events)?;
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
                    channels: channels.clone(),
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
                            channels,
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

    /// A switch that is off, if that is why nothing is heard.
    pub fn mute(&self) -> Option<Mute> {
        match self {
            Self::Pipewire(pipewire) => mute_of(pipewire),
            Self::Handover(handover) => handover.mute(),
            Self::Alsa(_) | Self::File(_) => None,
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
                status.rate = player.rate.load(Ordering::Relaxed);
            }
        }
    }

    /// Whether audio comes as time passes, so that none for a second is a fault.
    pub fn keeps_time(&self) -> bool {
        !matches!(self, Self::File(player) if player.pace == Pace::Unpaced)
    }

    /// Finds out why no audio comes; [`why_silent`](Self::why_silent) tells a little later.
    pub fn ask(&self) {
        match self {
            Self::Pipewire(pipewire) => pipewire.ask(),
            Self::Handover(handover) => handover.ask(),
            Self::Alsa(_) | Self::File(_) => {}
        }
    }

    /// Why no audio comes although it should, as far as that can be known.
    pub fn why_silent(&self) -> String {
        match self {
            Self::Pipewire(pipewire) => pipewire.why_silent().into(),
            Self::Handover(handover) => handover.why_silent(),
            Self::Alsa(alsa) => alsa.why_silent(),
            Self::File(_) => "its disk does not answer".into(),
        }
    }

    /// Which call into a library has not returned for long.
    pub fn hanging(&self) -> Option<String> {
        match self {
            Self::Pipewire(pipewire) => pipewire.hanging(),
            Self::Handover(handover) => handover.hanging(),
            Self::Alsa(alsa) => alsa.hanging(),
            Self::File(player) => player.thread.hanging(),
        }
    }

    /// Stops; no audio comes after this, and no call that hangs is waited for.
    pub fn stop(&mut self) {
        match self {
            Self::Pipewire(pipewire) => pipewire.stop(),
            Self::Handover(handover) => handover.stop(),
            Self::Alsa(alsa) => alsa.stop(),
            Self::File(player) => player.stop(),
        }
    }
}

/// The source's volume, if that is why nothing is heard.
pub(super) fn mute_of(pipewire: &Pipewire) -> Option<Mute> {
    pipewire.inaudible().map(|source| Mute {
        text: source.text(),
        remedy: source.remedy(),
    })
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
    thread: Bounded,
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
        let at_once = active;
        let active = Arc::new(AtomicBool::new(active));
        let (stopped, own, wanted) = (stop.clone(), tid.clone(), active.clone());
        let thread = Bounded::spawn("v2m-alsa", move |calls| {
            own.store(rt::thread_id(), Ordering::Relaxed);
            rt::promote_soon(Role::Capture, rt::thread_id(), |promotion| {
                for refusal in promotion.why_not {
                    tracing::warn!("the audio thread asked for real time: {refusal}");
                }
            });
            rt::lock_stack();
            source.note_calls(calls);
            if at_once {
                events(match source.prepare() {
                    Ok(()) => Event::Reached,
                    Err(error) => Event::Refused(error),
                });
            }
            while !stopped.is_ended() {
                if wanted.load(Ordering::Acquire) {
                    source.capture(&*intake, &*events, &stopped);
                    stopped.rearm();
                } else {
                    std::thread::park();
                }
            }
        })?;
        Ok(Self {
            setup,
            tid,
            active,
            stop,
            thread,
        })
    }

    pub(super) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Release);
        match self.thread.thread() {
            Some(thread) if active => thread.unpark(),
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

    pub(super) fn hanging(&self) -> Option<String> {
        self.thread.hanging()
    }

    pub(super) fn why_silent(&self) -> String {
        self.hanging()
            .unwrap_or_else(|| "ALSA gives none, nor an error".into())
    }

    fn stop(&mut self) {
        self.stop.end();
        self.thread.thread().map(Thread::unpark);
        self.thread.join();
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

/// A file's way in: its blocks come when its own line of time says, at whichever pace.
struct OnItsOwnTime<'a>(&'a Funnel);

impl Intake for OnItsOwnTime<'_> {
    fn block(&self, block: &Block<'_>) {
        self.0.take(block, block.end_ns());
    }

    fn wake(&self) {
        self.0.wake();
    }
}

/// The thread that plays a file.
pub struct FilePlayer {
    /// Once the file is open.
    rate: Arc<AtomicU32>,
    pace: Pace,
    go: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Bounded,
}

impl FilePlayer {
    fn start(
        path: PathBuf,
        channels: Arc<Channels>,
        pace: Pace,
        intake: Arc<Funnel>,
        brake: Brake,
        events: Events,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let go = Arc::new(AtomicBool::new(false));
        let gone = go.clone();
        let rate = Arc::<AtomicU32>::default();
        let known = rate.clone();
        let thread = Bounded::spawn("v2m-file", move |calls| {
            let opening = format!("opening {}", path.display());
            let file = match calls.during(opening, || FileSource::open_with(&path, channels)) {
                Ok(file) => file,
                Err(error) => return events(Event::Refused(error)),
            };
            known.store(file.rate(), Ordering::Relaxed);
            intake.expect(file.rate());
            events(Event::Reached);
            while !gone.load(Ordering::Acquire) && !stopped.load(Ordering::Acquire) {
                std::thread::park();
            }
            let name = text::printable(&file.path().to_string_lossy(), text::MESSAGE);
            events(Event::Linked(name));
            let funnel = OnItsOwnTime(&intake);
            match play(file, pace, &funnel, &stopped, || brake.hold(&stopped)) {
                Ok(()) => {
                    intake.finish();
                    events(Event::Ended);
                }
                Err(error) => events(Event::Waiting(error.to_string())),
            }
        })?;
        Ok(Self {
            rate,
            pace,
            go,
            stop,
            thread,
        })
    }

    fn go(&self) {
        self.go.store(true, Ordering::Release);
        self.unpark();
    }

    fn unpark(&self) {
        self.thread.thread().map(Thread::unpark);
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.unpark();
        self.thread.join();
    }
}

impl Drop for FilePlayer {
    fn drop(&mut self) {
        self.stop();
    }
}
