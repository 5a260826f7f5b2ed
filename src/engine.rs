//! Puts the engine together: who starts first, who stops last.
//!
//! ```text
//! ring ─> bell ─> VAD worker ─> funnel ─> backend ─> server      start
//! server ─> backend ─> funnel ─> VAD worker ─> bell ─> ring      stop
//! ```

use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::capture::intake::Funnel;
use crate::capture::{Backend, Event};
use crate::config::{Config, SourceSpec};
use crate::error::Result;
use crate::latency::Latency;
use crate::ring::bell::Ringer;
use crate::ring::{ControlWriter, Reader, Ring, State};
use crate::rt::{self, Role};
use crate::server::{Door, Host, Server};
use crate::status::{LossStatus, ReaderStatus, RingStatus, SourceStatus, Status};
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
    /// By the server: who listens, each with the quantum it asked for.
    Listeners(Vec<Option<Latency>>),
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
    state: Mutex<Now>,
    messages: Sender<Message>,
}

struct Now {
    state: State,
    source: SourceStatus,
    degraded: Vec<String>,
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

    fn status(&self, clients: usize, mut readers: Vec<ReaderStatus>) -> Status {
        let now = self.now();
        let lost = self.reader.losses();
        // Counted after the readers were looked at: who claims to be further lies.
        let position = self.reader.committed();
        for reader in &mut readers {
            reader.measure_lag(position);
        }
        let id = self.ring.layout().ring_id;
        let (vad, degraded) = self.vad.status();
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
            degraded: now.degraded.iter().cloned().chain(degraded).collect(),
        }
    }

    fn listeners(&self, asked: &[Option<Latency>]) {
        let _ = self.messages.send(Message::Listeners(asked.to_vec()));
    }

    fn orphaned(&self) {
        let _ = self.messages.send(Message::Stop("its client is gone"));
    }
}

/// A running engine.
pub struct Engine {
    config: Config,
    known: Arc<Known>,
    control: ControlWriter,
    messages: Receiver<Message>,
    // In the order of stopping.
    server: Option<Server>,
    backend: Backend,
    funnel: Arc<Funnel>,
    ringer: Ringer,
}

impl Engine {
    /// Starts everything. `messages` is also where signals are to be announced.
    pub fn start(config: Config, door: Door) -> Result<(Self, Sender<Message>)> {
        let (ring, capture, speech, mut control) = Ring::create(config.history)?;
        let mut degraded = Vec::new();
        if let Err(error) = ring.lock() {
            tracing::warn!("{error}; audio can be delayed by swapping: raise the memlock limit");
            degraded.push(format!("memory is not locked: {error}"));
        }
        let ring = Arc::new(ring);
        let reader = Reader::new(ring.duplicate()?)?;
        let ringer = Ringer::start(ring.clone(), || {
            let promotion = rt::promote(Role::Wake);
            tracing::debug!("the wake-up thread asked for real time: {promotion:?}");
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
        let (sender, messages) = channel();
        control.heartbeat(monotonic_ns());
        let known = Arc::new(Known {
            started: Instant::now(),
            service: matches!(door, Door::Service(_)),
            asked: config.source.clone(),
            ring,
            reader,
            vad,
            state: Mutex::new(Now {
                state: State::Starting,
                source: SourceStatus {
                    asked: config.source.to_string(),
                    ..Default::default()
                },
                degraded,
            }),
            messages: sender.clone(),
        });
        let events = sender.clone();
        let on_demand = matches!(door, Door::Private(_));
        let events = Box::new(move |event| {
            let _ = events.send(Message::Capture(event));
        });
        let backend = Backend::start(&config, funnel.clone(), brake, on_demand, events)?;
        let server = Some(Server::start(door, known.clone())?);
        Ok((
            Self {
                config,
                known,
                control,
                messages,
                server,
                backend,
                funnel,
                ringer,
            },
            sender,
        ))
    }

    /// Runs until it is told to stop; says why it did.
    pub fn run(mut self) -> &'static str {
        let why = loop {
            match self.messages.recv_timeout(TICK) {
                Ok(Message::Stop(why)) => break why,
                Ok(Message::Capture(event)) => self.captured(event),
                Ok(Message::Listeners(asked)) => {
                    self.backend
                        .set_latency(self.config.latency_for(asked.into_iter()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break "nobody can tell it anything any more",
            }
            self.look_after();
        };
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
        if self.backend.is_live() {
            self.funnel.fill(now);
        }
        self.backend.describe(&mut self.known.now().source);
        self.known.vad.look_after(self.backend.audio_thread());
    }

    fn captured(&mut self, event: Event) {
        match event {
            Event::Linked(source) => {
                tracing::info!("capturing {source}");
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
        drop(now);
        self.control.state(state, monotonic_ns());
        self.ringer.bell().ring();
    }
}
