//! Puts the engine together: who starts first, who stops last.
//!
//! ```text
//! ring ─> bell ─> VAD worker ─> funnel ─> backend ─> server      start
//! server ─> backend ─> funnel ─> VAD worker ─> bell ─> ring      stop
//! ```

pub mod config;
pub mod demand;
pub mod server;
pub mod systemd;

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::capture::intake::Funnel;
use crate::capture::{Backend, Event};
use crate::config::{Config, SourceSpec};
use crate::demand::{Capture, Demand};
use crate::error::Result;
use crate::latency::Latency;
use crate::ring::bell::Ringer;
use crate::ring::{ControlWriter, Reader, Ring, State};
use crate::rt::{self, DmaLatency, Role};
use crate::server::{Door, Host, Server};
use crate::status::{
    GrantStatus, LossStatus, ReaderStatus, RingStatus, SourceStatus, Status, ThreadStatus,
};
use crate::systemd::Manager;
use crate::time::monotonic_ns;
use crate::vad::worker::Worker;

/// How often the engine looks after itself.
const TICK: Duration = Duration::from_millis(100);
/// How long the last windows may take to be judged before the end is announced.
const LAST_WINDOWS: Duration = Duration::from_secs(2);

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
        asked: Vec<Option<Latency>>,
    },
    /// By a signal, or because the only client is gone.
    Stop(&'static str),
}

/// What is known about the engine, for `status`.
struct Known {
    started: Instant,
    service: bool,
    asked: SourceSpec,
    ring: Arc<Ring>,
    reader: Reader,
    vad: Worker,
    funnel: Arc<Funnel>,
    /// Nothing is captured, as nobody listens.
    idle: AtomicBool,
    state: Mutex<Now>,
    messages: Sender<Message>,
}

struct Now {
    state: State,
    source: SourceStatus,
}

impl Now {
    /// For people who ask the service manager.
    fn line(&self) -> String {
        let source = &self.source;
        match (self.state, &source.linked, &source.waiting) {
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

impl Host for Known {
    fn ring(&self) -> BorrowedFd<'_> {
        self.ring.descriptor()
    }

    fn source(&self) -> String {
        self.asked.to_string()
    }

    fn opening(&self) {
        if self.idle.load(Ordering::Acquire) {
            self.funnel.catch_up(monotonic_ns());
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
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            service: self.service,
            state: now.state,
            source: now.source.clone(),
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
            clients,
            readers,
            threads,
            grants,
            degraded,
        }
    }

    fn listeners(&self, count: usize, asked: &[Option<Latency>]) {
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
    fallback
        .map(|why| format!("ALSA instead of PipeWire: {why}"))
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
    // In the order of stopping.
    server: Option<Server>,
    backend: Backend,
    funnel: Arc<Funnel>,
    ringer: Ringer,
    /// Held while live audio is captured.
    awake: Option<DmaLatency>,
}

impl Engine {
    /// Starts everything. `messages` is also where signals are to be announced.
    pub fn start(config: Config, door: Door) -> Result<(Self, Sender<Message>)> {
        let (ring, capture, speech, mut control) = Ring::create(config.history)?;
        let ring = Arc::new(ring);
        let reader = Reader::new(ring.duplicate()?)?;
        let ringer = Ringer::start(ring.clone(), || {
            let promotion = rt::promote(Role::Wake);
            tracing::debug!("the wake-up thread asked for real time: {promotion:?}");
            rt::lock_stack();
        })?;
        let vad = Worker::start(
            config.vad.clone(),
            config.is_live(),
            Reader::new(ring.duplicate()?)?,
            speech,
            ringer.windows(),
            ringer.bell(),
        )?;
        let brake = vad.brake();
        let funnel = Arc::new(Funnel::new(capture, ringer.bell())?);
        // Within a limit that is too low for all, what is hottest comes first.
        funnel.lock();
        let locked = rt::lock_by("ring", ring.layout().total_bytes, || ring.lock());
        if let Some(why) = locked.why_not {
            tracing::warn!("{why}; audio can be delayed by swapping: raise the memlock limit");
        }
        let (sender, messages) = channel();
        control.heartbeat(monotonic_ns());
        let service = matches!(door, Door::Service(_));
        // A private engine's one client listens as long as it lives, and a file is
        // no microphone.
        let policy = match (service, &config.source) {
            (false, _) | (_, SourceSpec::File(_)) => Capture::Always,
            _ => config.capture,
        };
        let demand = Demand::new(policy, config.linger);
        let idle = !demand.wanted(Instant::now());
        let known = Arc::new(Known {
            started: Instant::now(),
            service,
            asked: config.source.clone(),
            ring,
            reader,
            vad,
            funnel: funnel.clone(),
            idle: AtomicBool::new(false),
            state: Mutex::new(Now {
                state: State::Starting,
                source: SourceStatus {
                    asked: config.source.to_string(),
                    ..Default::default()
                },
            }),
            messages: sender.clone(),
        });
        let events = sender.clone();
        let on_demand = !service;
        let events = Box::new(move |event| {
            let _ = events.send(Message::Capture(event));
        });
        let backend = Backend::start(&config, funnel.clone(), brake, on_demand, !idle, events)?;
        let mut engine = Self {
            config,
            known: known.clone(),
            control,
            messages,
            demand,
            manager: Manager::new(service),
            server: None,
            backend,
            funnel,
            ringer,
            awake: None,
        };
        if idle {
            engine.rest();
        }
        engine.server = Some(Server::start(door, known)?);
        engine.manager.ready();
        Ok((engine, sender))
    }

    /// Runs until it is told to stop; says why it did.
    pub fn run(mut self) -> &'static str {
        let why = loop {
            match self.messages.recv_timeout(TICK) {
                Ok(Message::Stop(why)) => break why,
                Ok(Message::Capture(event)) => self.captured(event),
                Ok(Message::Listeners { count, asked }) => {
                    self.demand.listen(count, Instant::now());
                    self.follow_demand();
                    self.backend
                        .set_latency(self.config.latency_for(asked.into_iter()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break "nobody can tell it anything any more",
            }
            self.look_after();
        };
        self.manager.stopping();
        self.server = None;
        self.backend.stop();
        self.known.vad.finish(LAST_WINDOWS);
        self.set_state(State::Stopped);
        why
    }

    fn look_after(&mut self) {
        let now = monotonic_ns();
        self.control.heartbeat(now);
        self.funnel.prepare();
        self.follow_demand();
        if self.backend.is_live() && !self.is_idle() {
            self.funnel.fill(now);
        }
        self.known.vad.look_after(self.backend.audio_thread());
        let state = {
            let mut now = self.known.now();
            self.backend.describe(&mut now.source);
            now.state
        };
        self.manager
            .alive(state == State::Running, self.funnel.blocks());
    }

    fn is_idle(&self) -> bool {
        self.known.idle.load(Ordering::Acquire)
    }

    /// Begins or ends to capture, as the policy says.
    fn follow_demand(&mut self) {
        match (self.demand.wanted(Instant::now()), self.is_idle()) {
            (true, true) => {
                tracing::info!("somebody listens: capturing");
                self.funnel.catch_up(monotonic_ns());
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

    fn captured(&mut self, event: Event) {
        match event {
            // Late news from before; what matters is told again.
            Event::Linked(_) | Event::Waiting(_) if self.is_idle() => {}
            Event::Reached => {}
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
            Event::Ended => {
                tracing::info!("the source has come to its end");
                self.known.vad.finish(LAST_WINDOWS);
                self.set_state(State::Ended);
            }
        }
    }

    fn set_state(&mut self, state: State) {
        let mut now = self.known.now();
        if now.state == state {
            return;
        }
        now.state = state;
        self.manager.status(&now.line());
        drop(now);
        self.control.state(state, monotonic_ns());
        self.ringer.bell().ring();
    }
}
