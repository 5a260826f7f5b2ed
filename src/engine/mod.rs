//! Puts the engine together: who starts first, who stops last.
//!
//! ```text
//! VAD worker ─> source: ring ─> notifier ─> ingest ─> backend ─> server      start
//! server ─> sources: backend ─> ingest ─> notifier ─> ring ─> VAD worker      stop
//! ```
//!
//! The source that the engine is configured for is there as long as the engine; others begin
//! when the first client asks for them and end a linger after the last one has left.
//!
//! Nothing here waits for a library: whatever calls one is a thread of its own, which is told
//! what to do and left behind if it doesn't (`rt::bounded`).

mod allowed;
mod client;
pub mod demand;
mod endpoint;
mod flow;
pub mod health_reader;
mod readers;
pub mod server;
mod shared;
mod source;
mod stream;
mod suspend;
pub mod systemd;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use self::allowed::Allowed;
use self::server::Listener;
use self::shared::SharedEngine;
use self::source::{Source, SourceStart};
use self::suspend::Suspends;
use crate::capture::Event;
use crate::config::{Config, SourceSpec};
use crate::detect::worker::Worker;
use crate::engine::demand::Capture;
use crate::engine::server::{Answers, Endpoint, Server};
use crate::engine::systemd::Manager;
use crate::microphone::{self, Microphone};
use v2m_client::connection::socket_path;
use v2m_client::mute::Mute;
use v2m_client::protocol::Wanted;
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::{Rate, Subscription};
use v2m_rt::DmaLatency;

/// Sources at once; another one is refused.
pub const MAX_SOURCES: usize = 64;
/// Streams at once, that is, rings; another one is refused.
pub const MAX_STREAMS: usize = 128;

/// How often the engine looks after itself.
const TICK: Duration = Duration::from_millis(100);
/// The same while a file's end is to be announced.
const SOON: Duration = Duration::from_millis(2);
/// How long what was captured last may take to be judged when the engine is told to stop.
const STOPPING: Duration = Duration::from_millis(500);
/// So many sources are described to the service manager; the others are counted.
const TOLD: usize = 3;
/// How long a client waits to hear that its source can't be had, rather than getting a ring
/// without audio.
const REFUSAL: Duration = Duration::from_secs(1);

/// What the main thread is told.
#[derive(Debug)]
pub enum Message {
    /// By a source's backend; the source's number.
    Capture(u64, Event),
    /// By the server: a client wants a stream.
    Open {
        /// The client's number.
        client: u64,
        /// Which stream.
        wanted: Wanted,
    },
    /// By the server: all clients that hold a stream.
    Listeners(Vec<Listener>),
    /// By a signal, or because the only client is gone.
    Stop(&'static str),
}

/// A client that waits to hear whether its source can be had.
struct Opening {
    client: u64,
    source: u64,
    rate: Rate,
    until: Instant,
}

/// A running engine.
pub struct Engine {
    config: Config,
    shared: Arc<SharedEngine>,
    messages: Receiver<Message>,
    manager: Manager,
    /// What the service manager was told last.
    told: String,
    // In the order of stopping.
    microphone: Option<Microphone>,
    server: Option<Server>,
    answers: Option<Answers>,
    openings: Vec<Opening>,
    /// The first is the one that the engine is configured for.
    sources: Vec<Source>,
    /// Whether microphones are heard.
    mute: Mute,
    suspends: Suspends,
    /// Sources so far.
    numbers: u64,
    /// Held by threads that stop sources, each of which counts until it has.
    stopping: Arc<()>,
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
        let service = matches!(endpoint, Endpoint::Service(_));
        let mute = Mute::of_this_user();
        mute.restore();
        let worker = Worker::start(config.vad.clone(), Subscription::default())?;
        // A private engine's client is there already, and a file is no microphone.
        let policy = match (service, &config.source) {
            (_, SourceSpec::File(_)) => Capture::Always,
            (false, _) => Capture::WhileUsed,
            _ => config.capture,
        };
        let main = Source::start(SourceStart {
            id: 0,
            config: config.clone(),
            policy,
            on_demand: !service,
            promised: !service,
            muted: mute.is_on(),
            worker: &worker,
            messages: &sender,
        })?;
        let microphone = match config.microphone.clone() {
            // There would be as many as there are private engines.
            Some(options) if service => {
                let name = format!("{}{}", config.node_name, microphone::SUFFIX);
                Some(Microphone::start(options, name, socket_path()?)?)
            }
            _ => None,
        };
        let mut shared = SharedEngine::new(service, mute.is_on(), worker, sender);
        shared.microphone = microphone.as_ref().map(Microphone::report);
        let shared = Arc::new(shared);
        shared.sources().push(main.shared.clone());
        let mut engine = Self {
            config,
            shared: shared.clone(),
            messages,
            manager: Manager::new(service),
            told: String::new(),
            microphone,
            server: None,
            answers: None,
            openings: Vec::new(),
            sources: vec![main],
            mute,
            suspends: Suspends::new(),
            numbers: 1,
            stopping: Arc::default(),
            awake: None,
        };
        if !service && !matches!(engine.config.source, SourceSpec::Pipewire(_)) {
            engine.await_source()?;
        }
        let allowed = Allowed::new(engine.config.allow.clone());
        let server = Server::start(endpoint, shared, allowed)?;
        engine.answers = Some(server.answers());
        engine.server = Some(server);
        engine.manager.ready();
        Ok(engine)
    }

    /// Waits to hear whether the source can be had, not for long.
    fn await_source(&mut self) -> Result<()> {
        let deadline = Instant::now() + REFUSAL;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(Message::Capture(_, Event::Refused(error))) => return Err(error),
                Ok(Message::Capture(_, event)) => {
                    self.sources[0].captured(event);
                    return Ok(());
                }
                Ok(Message::Stop(why)) => {
                    // For `run`, which comes to its end by it.
                    let _ = self.shared.messages.send(Message::Stop(why));
                    return Ok(());
                }
                Ok(Message::Listeners(_) | Message::Open { .. }) => {}
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
            let ending = self.sources.iter().any(Source::is_ending);
            match self.messages.recv_timeout(if ending { SOON } else { TICK }) {
                Ok(Message::Stop(why)) => break Ok(why),
                Ok(Message::Capture(id, event)) => {
                    if let Err(error) = self.captured(id, event) {
                        break Err(error);
                    }
                }
                Ok(Message::Open { client, wanted }) => self.open(client, &wanted),
                Ok(Message::Listeners(all)) => {
                    for source in &mut self.sources {
                        source.count(&all);
                    }
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
        // Each may have to be left behind, which takes a while.
        std::thread::scope(|scope| {
            for source in &mut self.sources {
                scope.spawn(|| source.stop());
            }
        });
        let deadline = Instant::now() + STOPPING;
        for source in &self.sources {
            let left = deadline.saturating_duration_since(Instant::now());
            source.shared.track.finish(left);
        }
        self.sources.iter_mut().for_each(Source::stopped);
        // Nobody is left in them, and the process ends: the kernel frees all rings at once, which
        // one by one takes a while where they are many.
        std::mem::forget(std::mem::take(&mut self.sources));
        why
    }

    fn look_after(&mut self) {
        let muted = self.mute.is_on();
        if self.shared.muted.swap(muted, Ordering::Relaxed) != muted {
            tracing::info!("{}", if muted { "muted" } else { "not muted any more" });
            for source in &mut self.sources {
                source.set_muted(muted);
            }
        }
        if let Some(ns) = self.suspends.look() {
            tracing::info!("the machine slept for {:.1} s", ns as f64 / 1e9);
            self.sources.iter_mut().for_each(|source| source.slept(ns));
        }
        self.sources.iter_mut().for_each(Source::look_after);
        self.end_unwanted();
        self.answer_late();
        let audio = self.sources.iter().find_map(Source::audio_thread);
        self.shared.worker.look_after(audio);
        let live = self.sources.iter().any(Source::is_heard_live);
        if live != self.awake.is_some() {
            self.awake = live.then(DmaLatency::hold);
        }
        let line = self.line();
        if self.told != line {
            self.manager.status(&line);
            self.told = line;
        }
        let well = self.sources.iter().all(Source::is_well);
        let server = self.server.as_ref();
        self.manager
            .alive(|| well && server.is_none_or(Server::is_alive));
    }

    /// What is captured and for whom, for people who ask the service manager.
    fn line(&self) -> String {
        let used: Vec<&Source> = self.sources.iter().filter(|s| !s.is_idle()).collect();
        let mut line = match used[..] {
            [] => self.sources[0].line(),
            _ => {
                let lines = used.iter().take(TOLD).map(|source| source.line());
                lines.collect::<Vec<_>>().join("; ")
            }
        };
        if let more @ 1.. = used.len().saturating_sub(TOLD) {
            line += &format!("; and {more} more sources");
        }
        line
    }

    fn captured(&mut self, id: u64, event: Event) -> Result<()> {
        let Some(at) = self.sources.iter().position(|source| source.id == id) else {
            return Ok(());
        };
        match event {
            // For a service that never had its own source, and whose clients can't know of it
            // yet, that is the end; else it is waited for.
            Event::Refused(error) if at == 0 => {
                if self.shared.service && self.sources[0].is_starting() {
                    return Err(error);
                }
                self.sources[0].captured(Event::Refused(error));
            }
            // An error of those who asked for it, and of nobody else.
            Event::Refused(error) => {
                tracing::warn!("{error}");
                let waiting = self.openings.extract_if(.., |opening| opening.source == id);
                let clients: Vec<u64> = waiting.map(|opening| opening.client).collect();
                for client in &clients {
                    self.refuse(*client, error.clone());
                }
                if clients.is_empty() {
                    self.sources[at].captured(Event::Refused(error));
                } else {
                    self.end(at);
                }
                return Ok(());
            }
            event => self.sources[at].captured(event),
        }
        let ready = self.openings.extract_if(.., |opening| opening.source == id);
        for opening in ready.collect::<Vec<_>>() {
            self.give(&opening);
        }
        Ok(())
    }

    /// A client wants a stream: it gets it at once, or once it is known whether its source
    /// can be had.
    fn open(&mut self, client: u64, wanted: &Wanted) {
        let opened = self.source_of(wanted).and_then(|(at, rate)| {
            let source = &self.sources[at];
            let streams: usize = self.sources.iter().map(Source::streams).sum();
            if !source.has(rate) && streams >= MAX_STREAMS {
                return Err(no_room(MAX_STREAMS, "streams"));
            }
            Ok(Opening {
                client,
                source: source.id,
                rate,
                until: Instant::now() + REFUSAL,
            })
        });
        match opened {
            Ok(opening) => {
                let source = self.sources.iter().find(|s| s.id == opening.source);
                if source.is_some_and(Source::is_waited_for) {
                    self.openings.push(opening);
                } else {
                    self.give(&opening);
                }
            }
            Err(error) => self.refuse(client, error),
        }
    }

    /// The place of a client's source, which is started if it isn't there, and the rate.
    fn source_of(&mut self, wanted: &Wanted) -> Result<(usize, Rate)> {
        let rate = wanted.rate.map_or(Ok(Rate::SPEECH), Rate::new)?;
        let mut config = self.config.clone();
        if let Some(source) = &wanted.source {
            config.source = source.parse()?;
        }
        if let Some(channel) = &wanted.channel {
            config.channel = channel.parse()?;
        }
        if let Some(at) = self.sources.iter().position(|source| source.is(&config)) {
            return Ok((at, rate));
        }
        // Those that are about to be gone count until they are.
        let count = self.sources.len() + Arc::strong_count(&self.stopping) - 1;
        let streams: usize = self.sources.iter().map(Source::streams).sum();
        if count >= MAX_SOURCES || streams >= MAX_STREAMS {
            return Err(no_room(MAX_SOURCES, "sources"));
        }
        let id = self.numbers;
        self.numbers += 1;
        let source = Source::start(SourceStart {
            id,
            config,
            policy: Capture::WhileUsed,
            on_demand: true,
            promised: true,
            muted: self.mute.is_on(),
            worker: &self.shared.worker,
            messages: &self.shared.messages,
        })?;
        self.shared.sources().push(source.shared.clone());
        self.sources.push(source);
        Ok((self.sources.len() - 1, rate))
    }

    /// Gives a client its stream.
    fn give(&mut self, opening: &Opening) {
        let source = self.sources.iter_mut().find(|s| s.id == opening.source);
        let given = source.map_or_else(
            || Err(Error::new(ErrorKind::Device, "the source is gone")),
            |source| source.open(opening.rate),
        );
        if let Some(answers) = &self.answers {
            answers.send(opening.client, given);
        }
    }

    fn refuse(&self, client: u64, error: Error) {
        if let Some(answers) = &self.answers {
            answers.send(client, Err(error));
        }
    }

    /// Whoever has waited long enough gets a stream that has no audio yet.
    fn answer_late(&mut self) {
        let now = Instant::now();
        let late = self.openings.extract_if(.., |opening| opening.until <= now);
        for opening in late.collect::<Vec<_>>() {
            self.give(&opening);
        }
    }

    /// Ends the sources that nobody wants any more.
    fn end_unwanted(&mut self) {
        let now = Instant::now();
        for at in (1..self.sources.len()).rev() {
            let source = &self.sources[at];
            let awaited = self
                .openings
                .iter()
                .any(|opening| opening.source == source.id);
            if !awaited && source.is_done(now) {
                self.end(at);
            }
        }
    }

    /// Ends a source, on a thread of its own: that may take a moment.
    fn end(&mut self, at: usize) {
        let mut source = self.sources.remove(at);
        self.shared
            .sources()
            .retain(|shared| !Arc::ptr_eq(shared, &source.shared));
        tracing::info!("{} is captured no more", source.shared.asked);
        let counted = self.stopping.clone();
        let stop = move || {
            source.stop();
            source.stopped();
            drop(source);
            drop(counted);
        };
        let thread = std::thread::Builder::new().name("v2m-stop".into());
        if let Err(error) = thread.spawn(stop) {
            tracing::warn!("a source was stopped at once: no thread can be started: {error}");
        }
    }
}

fn no_room(most: usize, what: &str) -> Error {
    let message = format!("the engine has {most} {what}, and no room for more: close some");
    Error::new(ErrorKind::Unavailable, message)
}
