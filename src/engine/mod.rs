//! Puts the engine together: who starts first, who stops last.
//!
//! ```text
//! ring ─> notifier ─> VAD worker ─> ingest ─> backend ─> server      start
//! server ─> backend ─> ingest ─> VAD worker ─> notifier ─> ring      stop
//! ```
//!
//! Nothing here waits for a library: whatever calls one is a thread of its own, which is told
//! what to do and left behind if it doesn't (`rt::bounded`).

pub mod demand;
mod flow;
pub mod health_reader;
pub mod server;
pub mod systemd;

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use self::flow::{Flow, Found};
use self::health_reader::HealthReader;
use crate::capture::channels::Channels;
use crate::capture::ingest::Ingest;
use crate::capture::{self, Backend, Event};
use crate::client::socket_path;
use crate::config::{Config, SourceSpec};
use crate::demand::{Capture, Demand};
use crate::error::{Error, Result};
use crate::health::{self, Channel, Facts};
use crate::microphone::{self, Microphone};
use crate::quantum::Quantum;
use crate::ring::notifier::WakeUpThread;
use crate::ring::{ControlWriter, Reader, Ring, State};
use crate::rt::bounded;
use crate::rt::{self, DmaLatency, Role};
use crate::server::{Endpoint, EngineHandle, Server};
use crate::status::{
    FindingStatus, GrantStatus, LossStatus, ReaderStatus, RingStatus, SourceStatus, Status,
    ThreadStatus,
};
use crate::systemd::Manager;
use crate::time::monotonic_ns;
use crate::vad;
use crate::vad::worker::Worker;

/// How often the engine looks after itself.
const TICK: Duration = Duration::from_millis(100);
/// How long the last windows of a file may take to be judged before its end is announced.
const LAST_WINDOWS: Duration = Duration::from_secs(2);
/// The same where the engine was told to stop.
const STOPPING: Duration = Duration::from_millis(500);
/// How long a private engine's client waits to hear that its source can't be had, rather than
/// getting a ring without audio.
const REFUSAL: Duration = Duration::from_secs(1);
/// Without audio for so long, it is known why.
const KNOWN_NS: i64 = 1_500_000_000;
/// So many looks in vain for the ingest: whoever has it doesn't give it back.
const STUCK: u32 = 20;

/// What the main thread is told.
#[derive(Debug)]
pub enum Message {
    /// By the backend.
    Capture(Event),
    /// By the server: how many listen, and each quantum that was asked for.
    Listeners {
        /// Those who only look on included.
        count: usize,
        /// None: the configured one.
        asked: Vec<Option<Quantum>>,
    },
    /// By a signal, or because the only client is gone.
    Stop(&'static str),
}

/// What is known about the engine, for `status`.
struct Known {
    started: Instant,
    service: bool,
    asked: SourceSpec,
    channel: String,
    ring: Arc<Ring>,
    reader: Reader,
    vad: Worker,
    ingest: Arc<Ingest>,
    microphone: Option<microphone::Report>,
    /// Nothing is captured, as nobody listens.
    idle: AtomicBool,
    state: Mutex<Now>,
    messages: Sender<Message>,
}

struct Now {
    /// By what the backend told.
    state: State,
    source: SourceStatus,
    /// Why no audio comes although the source is there.
    silent: Option<String>,
    /// A call that has not returned for long.
    hanging: Option<String>,
    health: Vec<FindingStatus>,
}

impl Now {
    /// By what really comes, too.
    fn state(&self) -> State {
        match self.state {
            State::Running if self.silent.is_some() => State::Waiting,
            state => state,
        }
    }

    fn source(&self) -> SourceStatus {
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
    fn line(&self) -> String {
        let source = self.source();
        match (self.state(), &source.linked, &source.waiting) {
            (State::Running, Some(linked), _) => format!("capturing {linked}"),
            (_, _, Some(why)) => format!("not capturing: {why}"),
            (state, ..) => format!("{state:?}").to_lowercase(),
        }
    }
}

impl Known {
    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl EngineHandle for Known {
    fn ring(&self) -> BorrowedFd<'_> {
        self.ring.descriptor()
    }

    fn source(&self) -> String {
        self.asked.to_string()
    }

    fn channel(&self) -> String {
        self.channel.clone()
    }

    fn opening(&self) {
        if self.idle.load(Ordering::Acquire) {
            self.ingest.catch_up(monotonic_ns());
        }
    }

    fn status(&self, clients: usize, mut readers: Vec<ReaderStatus>) -> Status {
        let now = self.now();
        let lost = self.reader.losses();
        // Counted after the readers were looked at: who claims to be further lies.
        let position = self.reader.committed();
        for reader in &mut readers {
            reader.measure_lag(position);
        }
        let id = self.ring.layout().ring_id;
        let (vad, unheard) = self.vad.status();
        let (threads, grants) = (rt::threads(), rt::grants());
        let mut degraded = degraded(&now.source, &threads, &grants);
        degraded.extend(unheard);
        degraded.extend(now.hanging.clone());
        degraded.extend(bounded::left_behind());
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            service: self.service,
            state: now.state(),
            source: now.source(),
            health: now.health.clone(),
            ring: RingStatus {
                id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
                history: self.ring.layout().history(),
                position,
                time_ns: position
                    .checked_sub(1)
                    .and_then(|newest| self.reader.time_ns(newest)),
            },
            vad,
            losses: LossStatus {
                gaps: lost.gaps,
                lost_samples: lost.samples,
                xruns: lost.xruns,
                repeated: lost.repeated,
            },
            virtual_microphone: self.microphone.as_ref().map(microphone::Report::status),
            clients,
            readers,
            threads,
            grants,
            degraded,
        }
    }

    fn listeners(&self, count: usize, asked: &[Option<Quantum>]) {
        let asked = asked.to_vec();
        let _ = self.messages.send(Message::Listeners { count, asked });
    }

    fn orphaned(&self) {
        let _ = self.messages.send(Message::Stop("its client is gone"));
    }
}

/// What is not as it should be, one line each.
fn degraded(
    source: &SourceStatus,
    threads: &[ThreadStatus],
    grants: &[GrantStatus],
) -> Vec<String> {
    let slow = threads.iter().filter(|thread| !thread.real_time);
    let refused = grants.iter().filter(|grant| !grant.granted);
    let fallback = source.fallback.iter();
    let echo = source.echo.iter().filter_map(|echo| echo.why.as_ref());
    let echo = echo.map(|why| format!("clean is the microphone as it is: {why}"));
    fallback
        .map(|why| format!("ALSA instead of PipeWire: {why}"))
        .chain(echo)
        .chain(slow.map(|thread| {
            let why = thread.why_not.join("; ");
            format!(
                "{} runs without real time, a busy machine delays it: {why}",
                thread.name
            )
        }))
        .chain(refused.map(|grant| {
            let why = grant.why_not.as_deref().unwrap_or_default();
            format!("not granted: {}: {why}", grant.asked)
        }))
        .collect()
}

/// A running engine.
pub struct Engine {
    config: Config,
    known: Arc<Known>,
    control: ControlWriter,
    messages: Receiver<Message>,
    demand: Demand,
    manager: Manager,
    flow: Flow,
    /// Looks in vain for the ingest, in a row.
    barred: u32,
    /// The state that the ring and the service manager were told last.
    told: State,
    // In the order of stopping.
    microphone: Option<Microphone>,
    server: Option<Server>,
    backend: Box<dyn Backend>,
    channels: Arc<Channels>,
    ingest: Arc<Ingest>,
    wake_up_thread: WakeUpThread,
    health: HealthReader,
    /// Held while live audio is captured.
    awake: Option<DmaLatency>,
}

impl Engine {
    /// Starts everything. `messages` is also where signals are announced, at any time.
    pub fn start(
        config: Config,
        endpoint: Endpoint,
        (sender, messages): (Sender<Message>, Receiver<Message>),
    ) -> Result<Self> {
        let (ring, capture, speech, mut control) = Ring::create(config.history)?;
        let ring = Arc::new(ring);
        let reader = Reader::new(ring.duplicate()?)?;
        let wake_up_thread = WakeUpThread::start(ring.clone(), || {
            rt::promote_soon(Role::Wake, rt::thread_id(), |promotion| {
                tracing::debug!("the wake-up thread asked for real time: {promotion:?}");
            });
            rt::lock_stack();
        })?;
        let vad = Worker::start(
            config.vad.clone(),
            config.is_live(),
            Reader::new(ring.duplicate()?)?,
            speech,
            wake_up_thread.windows(),
            wake_up_thread.notifier(),
        )?;
        let backpressure = vad.backpressure();
        let ingest = Arc::new(Ingest::new(capture, wake_up_thread.notifier())?);
        // Within a limit that is too low for all, what is hottest comes first.
        ingest.lock();
        let locked = rt::lock_by("ring", ring.layout().total_bytes, || ring.lock());
        if let Some(why) = locked.why_not {
            tracing::warn!("{why}; audio can be delayed by swapping: raise the memlock limit");
        }
        control.heartbeat(monotonic_ns());
        let service = matches!(endpoint, Endpoint::Service(_));
        // A private engine's one client listens as long as it lives, and a file is
        // no microphone.
        let policy = match (service, &config.source) {
            (false, _) | (_, SourceSpec::File(_)) => Capture::Always,
            _ => config.capture,
        };
        let demand = Demand::new(policy, config.linger);
        let idle = !demand.wanted(Instant::now());
        let microphone = match config.microphone {
            // It would have as many as there are private engines.
            Some(options) if service => {
                let name = format!("{}{}", config.node_name, microphone::SUFFIX);
                Some(Microphone::start(options, name, socket_path()?)?)
            }
            _ => None,
        };
        let known = Arc::new(Known {
            started: Instant::now(),
            service,
            asked: config.source.clone(),
            channel: config.channel.to_string(),
            ring,
            reader,
            vad,
            ingest: ingest.clone(),
            microphone: microphone.as_ref().map(Microphone::report),
            idle: AtomicBool::new(false),
            state: Mutex::new(Now {
                state: State::Starting,
                source: SourceStatus {
                    asked: config.source.to_string(),
                    channel: config.channel.to_string(),
                    ..Default::default()
                },
                silent: None,
                hanging: None,
                health: Vec::new(),
            }),
            messages: sender.clone(),
        });
        let heard = sender.clone();
        let channels = Channels::new(
            config.channel.clone(),
            Box::new(move |event| drop(heard.send(Message::Capture(event)))),
        );
        let events = sender.clone();
        let on_demand = !service;
        let events = Box::new(move |event| {
            let _ = events.send(Message::Capture(event));
        });
        let reader = Reader::new(known.ring.duplicate()?)?;
        let detects = config.vad.backend != vad::backend::Backend::Off;
        let health = HealthReader::new(reader, health::PATIENCE, detects);
        let backend = capture::start(capture::Start {
            config: &config,
            channels: channels.clone(),
            ingest: ingest.clone(),
            backpressure,
            on_demand,
            active: !idle,
            events,
        })?;
        let mut engine = Self {
            config,
            known: known.clone(),
            control,
            messages,
            demand,
            manager: Manager::new(service),
            flow: Flow::new(monotonic_ns()),
            barred: 0,
            told: State::Starting,
            microphone,
            server: None,
            backend,
            channels,
            ingest,
            wake_up_thread,
            health,
            awake: None,
        };
        if idle {
            engine.rest();
        }
        if !service && !matches!(engine.config.source, SourceSpec::Pipewire(_)) {
            engine.await_source()?;
        }
        engine.server = Some(Server::start(endpoint, known)?);
        engine.manager.ready();
        Ok(engine)
    }

    /// Waits to hear whether the source can be had, not for long.
    fn await_source(&mut self) -> Result<()> {
        let deadline = Instant::now() + REFUSAL;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(Message::Capture(Event::Refused(error))) => return Err(error),
                Ok(Message::Capture(event)) => {
                    self.captured(event);
                    return Ok(());
                }
                Ok(Message::Stop(why)) => {
                    // For `run`, which comes to its end by it.
                    let _ = self.known.messages.send(Message::Stop(why));
                    return Ok(());
                }
                Ok(Message::Listeners { .. }) => {}
                Err(_) => return Ok(()),
            }
        }
    }

    /// Runs until it is told to stop; says why it did.
    ///
    /// # Errors
    /// The source can't be had as it was asked for.
    pub fn run(mut self) -> Result<&'static str> {
        let why = loop {
            match self.messages.recv_timeout(TICK) {
                Ok(Message::Stop(why)) => break Ok(why),
                Ok(Message::Capture(Event::Refused(error))) => match self.refused(error) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                Ok(Message::Capture(event)) => self.captured(event),
                Ok(Message::Listeners { count, asked }) => {
                    self.demand.listen(count, Instant::now());
                    self.follow_demand();
                    self.backend
                        .set_quantum(self.config.quantum_for(asked.into_iter()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    break Ok("nobody can tell it anything any more");
                }
            }
            self.look_after();
        };
        self.manager.stopping();
        self.microphone = None;
        self.server = None;
        self.backend.stop();
        self.known.vad.finish(STOPPING);
        self.set_state(State::Stopped);
        why
    }

    fn look_after(&mut self) {
        let now = monotonic_ns();
        self.control.heartbeat(now);
        self.ingest.prepare();
        self.follow_demand();
        if self.is_idle() {
            self.ingest.wipe();
        } else if self.backend.is_live() {
            self.ingest.fill(now);
        }
        self.known.vad.look_after(self.backend.audio_thread());
        let health = self.health();
        self.known.now().health = health;
        self.watch_calls();
        self.watch_flow(now);
        self.barred = if self.ingest.losses().is_some() {
            0
        } else {
            self.barred + 1
        };
        let (server, barred) = (self.server.as_ref(), self.barred);
        self.manager
            .alive(|| barred < STUCK && server.is_none_or(Server::answers));
    }

    /// Looks for calls into libraries that don't return, and says so.
    fn watch_calls(&mut self) {
        let hanging = self.backend.hanging();
        let mut now = self.known.now();
        self.backend.describe(&mut now.source);
        now.source.channels = self.channels.status();
        if let (None, Some(what)) = (&now.hanging, &hanging) {
            tracing::warn!("{what}");
        }
        now.hanging = hanging;
    }

    /// Looks whether audio comes, and says so.
    fn watch_flow(&mut self, now_ns: i64) {
        let (state, linked) = {
            let now = self.known.now();
            (now.state, now.source.linked.clone())
        };
        let due = state == State::Running && !self.is_idle() && self.backend.keeps_time();
        let seconds = |ns: i64| ns as f64 / 1e9;
        match self.flow.look(now_ns, self.ingest.blocks(), due) {
            Found::Nothing => {}
            Found::Stopped => self.backend.ask(),
            Found::Resumed(ns) => {
                tracing::info!("audio comes again after {:.1} s without", seconds(ns));
            }
            Found::Frozen(ns) => tracing::warn!(
                "this process stood still for {:.1} s: it was stopped, or its machine too busy",
                seconds(ns)
            ),
        }
        let silent_ns = self.flow.silent_ns(now_ns);
        let silent = (self.flow.is_stopped() && silent_ns >= KNOWN_NS).then(|| {
            let source = linked.unwrap_or_default();
            format!("{source} gives no audio: {}", self.backend.why_silent())
        });
        let newly = {
            let mut now = self.known.now();
            let newly = silent.clone().filter(|_| now.silent.is_none());
            now.silent = silent;
            newly
        };
        if let Some(why) = newly {
            tracing::warn!("{why}");
        }
        self.publish_state();
    }

    /// What is wrong with the source. One that isn't captured is neither well nor ill.
    fn health(&mut self) -> Vec<FindingStatus> {
        let state = self.known.now().state();
        if !matches!(state, State::Running | State::Ended) {
            self.health.forget();
            return Vec::new();
        }
        let mute = self.backend.mute();
        let channels = self.channels.status();
        let channels: Vec<Channel> = channels.iter().map(Channel::from).collect();
        let facts = Facts {
            mute: mute.as_ref(),
            channels: &channels,
        };
        self.health
            .look(&facts)
            .iter()
            .map(FindingStatus::from)
            .collect()
    }

    fn is_idle(&self) -> bool {
        self.known.idle.load(Ordering::Acquire)
    }

    /// Begins or ends to capture, as the policy says.
    fn follow_demand(&mut self) {
        match (self.demand.wanted(Instant::now()), self.is_idle()) {
            (true, true) => {
                tracing::info!("somebody listens: capturing");
                self.ingest.catch_up(monotonic_ns());
                self.known.idle.store(false, Ordering::Release);
                self.known.now().source.waiting = None;
                self.backend.set_active(true);
                self.set_state(State::Starting);
            }
            (false, false) => {
                tracing::info!("nobody listens: not capturing");
                self.backend.set_active(false);
                self.rest();
            }
            _ => {}
        }
    }

    fn rest(&mut self) {
        self.known.idle.store(true, Ordering::Release);
        self.awake = None;
        {
            let source = &mut self.known.now().source;
            source.linked = None;
            source.waiting = Some("nobody listens (capture = \"while-used\")".into());
        }
        self.set_state(State::Idle);
    }

    /// The source can't be had. For a service that never had it, and whose clients can't know
    /// of it yet, that is the end; else it is waited for.
    fn refused(&mut self, error: Error) -> Result<()> {
        if self.known.service && self.known.now().state == State::Starting {
            return Err(error);
        }
        self.captured(Event::Waiting(error.to_string()));
        Ok(())
    }

    fn captured(&mut self, event: Event) {
        match event {
            // Late news from before; what matters is told again.
            Event::Linked(_) | Event::Waiting(_) if self.is_idle() => {}
            Event::Reached | Event::Refused(_) => {}
            Event::Linked(source) => {
                tracing::info!("capturing {source}");
                if self.backend.is_live() && self.awake.is_none() {
                    self.awake = Some(DmaLatency::hold());
                }
                {
                    let mut now = self.known.now();
                    now.source.linked = Some(source);
                    now.source.waiting = None;
                }
                self.health.forget();
                self.control.device(monotonic_ns());
                self.set_state(State::Running);
            }
            Event::Waiting(why) | Event::Lost(why) => {
                tracing::warn!("no audio: {why}");
                self.awake = None;
                if self.is_idle() {
                    return;
                }
                {
                    let mut now = self.known.now();
                    now.source.linked = None;
                    now.source.waiting = Some(why);
                }
                self.set_state(State::Waiting);
            }
            Event::Heard { number, name } => {
                tracing::info!("hears channel {number}, {name}");
                self.control.channel(number, monotonic_ns());
                self.wake_up_thread.notifier().notify();
            }
            Event::Ended => {
                tracing::info!("the source has come to its end");
                self.known.vad.finish(LAST_WINDOWS);
                // That may have taken a while, which is no standing still.
                self.flow = Flow::new(monotonic_ns());
                self.set_state(State::Ended);
            }
        }
    }

    fn set_state(&mut self, state: State) {
        {
            let mut now = self.known.now();
            now.state = state;
            now.silent = None;
        }
        self.publish_state();
    }

    /// Tells the ring and the service manager of a state that is new.
    fn publish_state(&mut self) {
        let (state, line) = {
            let now = self.known.now();
            (now.state(), now.line())
        };
        if std::mem::replace(&mut self.told, state) == state {
            return;
        }
        self.manager.status(&line);
        self.control.state(state, monotonic_ns());
        self.wake_up_thread.notifier().notify();
    }
}
