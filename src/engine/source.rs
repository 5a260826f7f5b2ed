//! A source as the engine has it: a backend, the ingest that it feeds, and a stream for each
//! rate that somebody listens to; the one at 16 kHz is always there, as speech and the
//! source's health are heard in it.

mod shared;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(super) use self::shared::SourceShared;
use self::shared::{Now, lock};
use super::Message;
use super::demand::{Capture, Demand};
use super::flow::Flow;
use super::health_reader::HealthReader;
use super::readers;
use super::server::{Held, Listener};
use super::stream::Stream;
use crate::capture::channels::Channels;
use crate::capture::ingest::Ingest;
use crate::capture::{self, Backend, Event};
use crate::config::{Config, SourceSpec};
use crate::detect;
use crate::detect::worker::Worker;
use v2m_client::quantum::Quantum;
use v2m_client::status::SourceStatus;
use v2m_dsp::health;
use v2m_error::Result;
use v2m_ring::time::monotonic_ns;
use v2m_ring::{Rate, Reader, State};

/// How long the last windows of a file may take to be judged before its end is announced.
const LAST_WINDOWS: Duration = Duration::from_secs(2);
/// Whether it hears the people in a room.
fn is_microphone(source: &SourceSpec) -> bool {
    use v2m_pw_graph::Source::{Default, Node};
    match source {
        SourceSpec::Pipewire(Default | Node(_)) | SourceSpec::Clean(_) | SourceSpec::Alsa(_) => {
            true
        }
        SourceSpec::Pipewire(_) | SourceSpec::File(_) | SourceSpec::Null => false,
    }
}

/// What a source is started with.
pub(super) struct SourceStart<'a> {
    pub(super) id: u64,
    /// Its source and channel are this one's.
    pub(super) config: Config,
    pub(super) policy: Capture,
    /// No microphone is to be heard.
    pub(super) muted: bool,
    /// What can wait, such as a file, begins when the first client listens.
    pub(super) on_demand: bool,
    /// A client is about to get it.
    pub(super) promised: bool,
    pub(super) worker: &'a Worker,
    pub(super) messages: &'a std::sync::mpsc::Sender<Message>,
}

/// The main thread's part of it. In the order of stopping.
pub(super) struct Source {
    pub(super) id: u64,
    config: Config,
    demand: Demand,
    flow: Flow,
    /// Looks in vain for the ingest, in a row, and the blocks at the last of them.
    barred: (u32, u64),
    /// The state that the rings were told last.
    told: State,
    /// The backend has said something.
    heard_of: bool,
    /// It has come to its end, which is announced by then at the latest.
    ending: Option<Instant>,
    /// The user has muted it.
    muted: bool,
    /// Who reads it, for people.
    readers: String,
    backend: Box<dyn Backend>,
    channels: Arc<Channels>,
    ingest: Arc<Ingest>,
    health: HealthReader,
    pub(super) shared: Arc<SourceShared>,
    /// The first is the one at 16 kHz.
    streams: Vec<Stream>,
}

impl Source {
    /// Starts it; what can't be had is told as an event.
    pub(super) fn start(start: SourceStart<'_>) -> Result<Self> {
        let SourceStart { id, config, .. } = start;
        let (asked, channel) = (config.source.to_string(), config.channel.to_string());
        let (mut stream, writers) = Stream::new(
            (&asked, &channel),
            Rate::SPEECH,
            config.history,
            config.linger,
            start.worker.windows(),
        )?;
        if start.promised {
            stream.promise();
        }
        let reader = || Reader::new(stream.shared.ring.duplicate()?);
        let notifier = stream.wake_up_thread.notifier();
        let ingest = Ingest::new(writers.capture, notifier.clone())?.amplified(config.preamp);
        let ingest = Arc::new(ingest);
        // Within a limit that is too low for all, what is hottest comes first.
        ingest.lock();
        stream.lock();
        let live = config.is_live();
        let track = start.worker.hear(reader()?, live, writers.speech, notifier);
        let backpressure = track.backpressure();
        let demand = Demand::new(start.policy, config.linger);
        let idle = !start.promised && !demand.wanted(Instant::now());
        let muted = start.muted && is_microphone(&config.source);
        ingest.set_muted(muted);
        let tell = |messages: std::sync::mpsc::Sender<Message>| {
            Box::new(move |event| drop(messages.send(Message::Capture(id, event))))
        };
        let channels = Channels::new(config.channel.clone(), tell(start.messages.clone()));
        let detects = config.vad.backend != detect::backend::ModelBackend::Off;
        let health = HealthReader::new(reader()?, health::PATIENCE, detects);
        let backend = capture::start(capture::Start {
            config: &config,
            channels: channels.clone(),
            ingest: ingest.clone(),
            backpressure,
            on_demand: start.on_demand,
            active: !idle && !muted,
            events: tell(start.messages.clone()),
        })?;
        let shared = Arc::new(SourceShared {
            track,
            idle: AtomicBool::new(false),
            now: Mutex::new(Now {
                state: State::Starting,
                source: SourceStatus {
                    asked: asked.clone(),
                    channel: channel.clone(),
                    gain_db: config.preamp.gain.db(),
                    highpass_hz: config.preamp.highpass,
                    ..Default::default()
                },
                silent: None,
                hanging: None,
                health: Vec::new(),
            }),
            streams: Mutex::new(vec![stream.shared.clone()]),
            asked,
            channel,
        });
        let mut source = Self {
            id,
            config,
            demand,
            flow: Flow::new(monotonic_ns()),
            barred: (0, 0),
            told: State::Starting,
            heard_of: false,
            ending: None,
            muted,
            readers: String::new(),
            backend,
            channels,
            ingest,
            health,
            shared,
            streams: vec![stream],
        };
        if idle {
            source.rest();
        } else if muted {
            source.wait_for_unmute();
        }
        Ok(source)
    }

    /// Has a microphone not be captured at all, and readers get silence that is flagged so; or
    /// ends that.
    pub(super) fn set_muted(&mut self, muted: bool) {
        if !is_microphone(&self.config.source) || muted == self.muted {
            return;
        }
        self.muted = muted;
        self.ingest.set_muted(muted);
        if self.is_idle() {
            return;
        }
        self.backend.set_active(!muted);
        if muted {
            self.wait_for_unmute();
        } else {
            self.shared.now().source.waiting = None;
            self.set_state(State::Starting);
        }
    }

    fn wait_for_unmute(&mut self) {
        {
            let source = &mut self.shared.now().source;
            source.linked = None;
            source.waiting = Some("muted: v2m-engine unmute ends that".into());
        }
        self.set_state(State::Waiting);
    }

    /// Whether this is what is asked for.
    pub(super) fn is(&self, config: &Config) -> bool {
        (&self.config.source, &self.config.channel) == (&config.source, &config.channel)
    }

    /// Whether audio comes as time passes, and does.
    pub(super) fn is_heard_live(&self) -> bool {
        let now = self.shared.now();
        self.backend.is_live() && now.state == State::Running
    }

    /// Whether the backend has yet to tell if the source can be had, and does so at once.
    pub(super) fn is_waited_for(&self) -> bool {
        let named = self.config.source != SourceSpec::Pipewire(Default::default());
        named && !self.heard_of
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn has(&self, rate: Rate) -> bool {
        self.streams.iter().any(|stream| stream.rate() == rate)
    }

    /// The stream of a rate for a client that is about to get it; it is begun if it isn't
    /// there.
    pub(super) fn open(&mut self, rate: Rate) -> Result<Arc<dyn Held>> {
        // What a new reader finds is up to date.
        if self.is_idle() {
            self.ingest.catch_up(monotonic_ns());
        }
        let found = self.streams.iter().position(|stream| stream.rate() == rate);
        let at = found.map_or_else(|| self.begin(rate), Ok)?;
        let stream = &mut self.streams[at];
        stream.promise();
        let held = stream.shared.clone();
        self.follow_demand();
        Ok(held)
    }

    /// Begins a stream; its place.
    fn begin(&mut self, rate: Rate) -> Result<usize> {
        let (mut stream, writers) = Stream::new(
            (&self.shared.asked, &self.shared.channel),
            rate,
            self.config.history,
            self.config.linger,
            // Speech is heard at 16 kHz.
            Default::default(),
        )?;
        stream.lock();
        let notifier = stream.wake_up_thread.notifier();
        let beside = &self.streams[0].shared.reader;
        self.ingest.add(writers.capture, notifier.clone(), beside)?;
        let begin = stream.shared.reader.complete_windows();
        self.shared.track.add(writers.speech, notifier, begin);
        stream.tell(self.told);
        lock(&self.shared.streams).push(stream.shared.clone());
        self.streams.push(stream);
        Ok(self.streams.len() - 1)
    }

    /// Ends the streams that nobody wants any more.
    fn end_unwanted(&mut self, now: Instant) {
        // The one at 16 kHz ends with the source.
        let unwanted = |stream: &Stream| stream.rate() != Rate::SPEECH && !stream.is_wanted(now);
        for mut stream in self.streams.extract_if(.., |stream| unwanted(stream)) {
            let rate = stream.rate();
            self.ingest.remove(rate);
            self.shared.track.remove(rate);
            lock(&self.shared.streams).retain(|shared| shared.id != stream.shared.id);
            stream.tell(State::Stopped);
        }
    }

    /// Whether it may go: nobody holds it, nor did a moment ago.
    pub(super) fn is_done(&self, now: Instant) -> bool {
        let ended = self.told == State::Ended && self.demand.listeners() == 0;
        let promised = self.streams.iter().any(|stream| stream.is_promised(now));
        !promised && (ended || !self.demand.wanted(now))
    }

    /// Who listens to what has changed.
    pub(super) fn count(&mut self, listeners: &[Listener]) {
        let now = Instant::now();
        let streams = self.streams.iter_mut();
        let count = streams.map(|stream| stream.count(listeners, now)).sum();
        self.demand.listen(count, now);
        self.follow_demand();
        let own = |listener: &&Listener| {
            let mut streams = self.streams.iter();
            streams.any(|stream| stream.shared.id == listener.stream)
        };
        let readers = readers::names(listeners.iter().filter(own));
        if readers != self.readers {
            self.backend.set_readers(&readers);
            self.readers = readers;
        }
        let mut coupled = listeners.iter().filter(own);
        self.backend
            .set_together(coupled.any(|listener| listener.together));
        let asking = listeners.iter().filter(own).filter(|one| !one.observes);
        let asked: Vec<Option<Quantum>> = asking.map(|listener| listener.quantum).collect();
        self.backend
            .set_quantum(self.config.quantum_for(asked.into_iter()));
    }

    /// Its end is near, and worth a closer look.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn audio_thread(&self) -> Option<i32> {
        self.backend.audio_thread()
    }

    /// For people who ask the service manager.
    pub(super) fn line(&self) -> String {
        self.shared.now().line(&self.readers)
    }

    /// Nobody listens, so nothing is captured.
    pub(super) fn is_idle(&self) -> bool {
        self.shared.idle.load(Ordering::Acquire)
    }

    /// Begins or ends to capture, as the policy says.
    fn follow_demand(&mut self) {
        let now = Instant::now();
        let promised = self.streams.iter().any(|stream| stream.is_promised(now));
        match (promised || self.demand.wanted(now), self.is_idle()) {
            (true, true) => {
                tracing::info!("somebody listens to {}: capturing", self.shared.asked);
                self.ingest.catch_up(monotonic_ns());
                self.shared.idle.store(false, Ordering::Release);
                self.shared.now().source.waiting = None;
                self.backend.set_active(!self.muted);
                match self.muted {
                    true => self.wait_for_unmute(),
                    false => self.set_state(State::Starting),
                }
            }
            (false, false) => {
                tracing::info!("nobody listens to {}: not capturing", self.shared.asked);
                self.backend.set_active(false);
                self.rest();
            }
            _ => {}
        }
    }

    fn rest(&mut self) {
        self.shared.idle.store(true, Ordering::Release);
        {
            let source = &mut self.shared.now().source;
            source.linked = None;
            source.waiting = Some("nobody listens (capture = \"while-used\")".into());
        }
        self.set_state(State::Idle);
    }

    pub(super) fn captured(&mut self, event: Event) {
        self.heard_of = true;
        match event {
            // Late news from before; what matters is told again.
            Event::Linked(_) | Event::Waiting(_) if self.is_idle() || self.muted => {}
            Event::Reached => {}
            Event::Linked(source) => {
                tracing::info!("capturing {source}");
                {
                    let mut now = self.shared.now();
                    now.source.linked = Some(source.clone());
                    now.source.waiting = None;
                }
                self.health.forget();
                for stream in &mut self.streams {
                    stream.control.device(&source, monotonic_ns());
                }
                self.set_state(State::Running);
            }
            Event::Refused(error) => self.captured(Event::Waiting(error.to_string())),
            Event::Waiting(why) | Event::Lost(why) => {
                tracing::warn!("no audio from {}: {why}", self.shared.asked);
                if self.is_idle() || self.muted {
                    return;
                }
                {
                    let mut now = self.shared.now();
                    now.source.linked = None;
                    now.source.waiting = Some(why);
                }
                self.set_state(State::Waiting);
            }
            Event::Heard { number, name } => {
                tracing::info!("hears channel {number}, {name}");
                for stream in &mut self.streams {
                    stream.control.channel(number, monotonic_ns());
                    stream.wake_up_thread.notifier().notify();
                }
            }
            Event::Ended => {
                tracing::info!("{} has come to its end", self.shared.asked);
                self.shared.track.drain();
                self.ending = Some(Instant::now() + LAST_WINDOWS);
            }
        }
    }

    /// Whether it was never had.
    pub(super) fn is_starting(&self) -> bool {
        self.shared.now().state == State::Starting
    }

    fn set_state(&mut self, state: State) {
        {
            let mut now = self.shared.now();
            now.state = state;
            now.silent = None;
        }
        self.publish_state();
    }

    /// Tells the rings of a state that is new.
    fn publish_state(&mut self) {
        let state = self.shared.now().state();
        if std::mem::replace(&mut self.told, state) != state {
            for stream in &mut self.streams {
                stream.tell(state);
            }
        }
    }

    /// Its audio ends here; waits for its threads, not for long.
    pub(super) fn stop(&mut self) {
        self.backend.stop();
    }

    /// Tells readers that nothing follows.
    pub(super) fn stopped(&mut self) {
        self.set_state(State::Stopped);
    }
}
