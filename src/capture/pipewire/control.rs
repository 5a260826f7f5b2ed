//! The control thread: one session with the daemon after the other.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pipewire::context::ContextRc;
use pipewire::loop_::Timeout;
use pipewire::main_loop::MainLoopRc;

use super::arrival::{Arrival, Patience};
use super::connection::{Asks, new_context, silent_error, socket_paths};
use super::session::{Session, Turn};
use super::{Command, Options, Report};
use crate::capture::{Event, Events, Sink};
use v2m_error::{Error, Result};
use v2m_pw_graph::Source;
use v2m_rt as rt;
use v2m_rt::bounded::Calls;

/// A daemon that takes the connection says hello within this; one that can't
/// start lets whoever holds its socket (systemd) take connections all the same.
const HELLO: Duration = Duration::from_secs(3);

/// A daemon has its sources and sinks within this, when its session begins; one that hasn't is
/// there for screens, and another server has the sound.
const SOUNDLESS: Duration = Duration::from_secs(5);

/// Captures until told to stop.
pub(super) fn control(
    options: Options,
    ingest: Arc<dyn Sink>,
    events: Events,
    report: &Mutex<Report>,
    receiver: pipewire::channel::Receiver<Command>,
    calls: &Calls,
) {
    calls.during("starting libpipewire", pipewire::init);
    let main_loop = match MainLoopRc::new(None) {
        Ok(main_loop) => main_loop,
        Err(error) => {
            events(Event::Lost(format!("libpipewire gives no loop: {error}")));
            return;
        }
    };
    let (sender, commands) = channel();
    let _receiver = receiver.attach(main_loop.loop_(), move |command| {
        let _ = sender.send(command);
    });
    Control {
        main_loop: main_loop.clone(),
        options,
        ingest,
        events,
        report,
        commands,
        ask: false,
        missing: None,
        asks: Asks::RealTime,
        calls,
    }
    .run();
}

struct Control<'a> {
    main_loop: MainLoopRc,
    /// As started, then as the commands change them.
    options: Options,
    ingest: Arc<dyn Sink>,
    events: Events,
    report: &'a Mutex<Report>,
    commands: Receiver<Command>,
    /// The daemon is to answer.
    ask: bool,
    /// Why what is asked for isn't there, as it was told last.
    missing: Option<String>,
    /// Whether libpipewire asked for real time.
    asks: Asks,
    calls: &'a Calls,
}

/// Whether the daemon has anything to do with sound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sound {
    Unknown,
    There,
    /// Not yet, since then.
    Awaited(Instant),
    /// Not, and that was told.
    Missing,
}

/// Why a session or a pause ended.
enum End {
    Stop,
    Lost(Error),
    Elapsed,
    /// Something happened to the daemon's socket.
    Changed,
}

impl Control<'_> {
    fn run(mut self) {
        let sockets = socket_paths(self.options.remote.as_deref());
        let mut context = None;
        let mut patience = Patience::new();
        let mut told = false;
        loop {
            let arrival = Arrival::watch(&sockets);
            let end = match self.open(&mut context) {
                Ok(mut session) => {
                    let (end, reached) = self.serve(&mut session);
                    if reached {
                        (patience, told) = (Patience::new(), false);
                    }
                    // After a daemon's death nothing of it is used again.
                    self.calls.during("leaving PipeWire", || {
                        drop(session);
                        context = None;
                    });
                    end
                }
                Err(error) => End::Lost(error),
            };
            self.write_report(|report| *report = Report::default());
            let End::Lost(error) = end else { return };
            if !told {
                told = true;
                self.tell(Event::Lost(error.to_string()));
            }
            match self.pause(&arrival, patience.next()) {
                End::Stop => return,
                End::Changed => patience = Patience::new(),
                End::Lost(_) | End::Elapsed => {}
            }
        }
    }

    fn open(&mut self, context: &mut Option<ContextRc>) -> Result<Session> {
        // Without a daemon the context is kept: making one starts threads.
        let context = match context {
            Some(context) => context,
            None => {
                self.asks = if self.calls.during("asking RTKit", rt::hangs) {
                    tracing::warn!("RTKit does not answer: the audio thread gets no real time");
                    Asks::Nothing
                } else {
                    Asks::RealTime
                };
                let loading = "loading libpipewire's modules";
                let made = self
                    .calls
                    .during(loading, || new_context(&self.main_loop, self.asks));
                context.insert(made?)
            }
        };
        let session = self.calls.during("connecting to PipeWire", || {
            Session::open(context, &self.options, self.ingest.clone())
        })?;
        self.write_report(|report| {
            report.gauges = session.gauges().clone();
            report.asks = self.asks == Asks::RealTime;
        });
        Ok(session)
    }

    /// Until something ends the session; and whether the daemon has answered.
    fn serve(&mut self, session: &mut Session) -> (End, bool) {
        let hello = Instant::now() + HELLO;
        let mut reached = false;
        let mut sound = Sound::Unknown;
        loop {
            match session.turn(&self.options) {
                Ok(Turn::Waiting) => {}
                Ok(Turn::Settled(event)) => {
                    if !std::mem::replace(&mut reached, true) {
                        self.tell(Event::Reached);
                    }
                    if self.options.source == Source::Default {
                        self.listen_for_sound(session.has_audio(), &mut sound);
                    }
                    self.settled(session, event);
                }
                Err(error) => return (End::Lost(error), reached),
            }
            let silent_since = match sound {
                Sound::Awaited(since) => Some(since),
                Sound::Unknown | Sound::There | Sound::Missing => None,
            };
            if silent_since.is_some_and(|since| since.elapsed() >= SOUNDLESS) {
                sound = Sound::Missing;
                self.tell(Event::Lost(
                    "PipeWire has no sound here, neither source nor sink: another server has it, or \
                     its session manager does not run"
                        .to_owned(),
                ));
            }
            let inaudible = session.inaudible();
            self.write_report(|report| report.state.inaudible = inaudible);
            let left = hello.saturating_duration_since(Instant::now());
            let timeout = match reached {
                true => match silent_since {
                    Some(since) if sound != Sound::Missing => Timeout::Finite(
                        SOUNDLESS.saturating_sub(since.elapsed()) + Duration::from_millis(1),
                    ),
                    _ => Timeout::Infinite,
                },
                false if left.is_zero() => {
                    let error = silent_error(self.options.remote.as_deref(), HELLO);
                    return (End::Lost(error), reached);
                }
                // A millisecond more, as the loop rounds down.
                false => Timeout::Finite(left + Duration::from_millis(1)),
            };
            self.main_loop.loop_().iterate(timeout);
            if let End::Stop = self.obey() {
                return (End::Stop, reached);
            }
            if std::mem::take(&mut self.ask) {
                session.touch();
            }
        }
    }

    /// Takes up whether there is anything to do with sound; what comes after it was missed is
    /// as good as a daemon that came.
    fn listen_for_sound(&self, there: bool, sound: &mut Sound) {
        *sound = match (there, *sound) {
            (true, Sound::Missing) => {
                self.tell(Event::Reached);
                Sound::There
            }
            (true, _) => Sound::There,
            (false, Sound::Unknown | Sound::There) => Sound::Awaited(Instant::now()),
            (false, other) => other,
        };
    }

    fn settled(&mut self, session: &Session, event: Option<Event>) {
        let missing = session.missing();
        if missing != self.missing {
            // Also while nobody listens, and so nothing else tells.
            if let (Some(why), false) = (&missing, self.options.active) {
                tracing::warn!("{}: {why}; it is waited for", self.options.source);
            }
            self.missing.clone_from(&missing);
        }
        self.write_report(|report| {
            report.asked = None;
            let state = &mut report.state;
            state.connected = true;
            state.version.clone_from(session.version());
            state.node = session.node_id();
            state.missing = missing;
            match &event {
                Some(Event::Linked(name)) => {
                    (state.linked, state.waiting) = (Some(name.clone()), None);
                }
                Some(Event::Waiting(why)) => {
                    (state.linked, state.waiting) = (None, Some(why.clone()));
                }
                _ => {}
            }
        });
        if let Some(event) = event {
            self.tell(event);
        }
    }

    /// Waits for something to happen to the daemon's socket, at most `length`.
    fn pause(&mut self, arrival: &Arrival, length: Duration) -> End {
        let end = Instant::now() + length;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return End::Elapsed;
            }
            let main_loop = self.main_loop.clone();
            let mut polled = vec![PollFd::new(main_loop.loop_().fd(), PollFlags::POLLIN)];
            let arrives = arrival.descriptor();
            polled.extend(arrives.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            // A millisecond more, as poll rounds down.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1));
            let _ = poll(&mut polled, timeout.unwrap_or(PollTimeout::MAX));
            main_loop.loop_().iterate(Timeout::Finite(Duration::ZERO));
            if let End::Stop = self.obey() {
                return End::Stop;
            }
            if arrival.happened() {
                return End::Changed;
            }
        }
    }

    fn obey(&mut self) -> End {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Source(source) => self.options.source = source,
                Command::Quantum(latency) => self.options.latency = latency,
                Command::Active(active) => self.options.active = active,
                Command::Together(together) => self.options.together = together,
                Command::Readers(readers) => self.options.readers = readers,
                Command::Ask => self.ask = true,
                Command::Stop => return End::Stop,
            }
        }
        End::Elapsed
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more: the engine is stopping.
        (self.events)(event);
    }

    fn write_report(&self, write: impl FnOnce(&mut Report)) {
        write(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
