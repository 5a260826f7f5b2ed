//! The thread that keeps the node: with a daemon, without one, and from one to the next.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pipewire::context::ContextRc;
use pipewire::core::{CoreRc, PW_ID_CORE};
use pipewire::loop_::Timeout;
use pipewire::main_loop::MainLoopRc;
use pipewire::properties::PropertiesBox;
use v2m_pw_filter::microphone::{Microphone, State};
use v2m_pw_graph::connection::{Asks, new_context, socket_paths};

use super::feed::{Counts, Feed, MARGIN_MS};
use super::{Report, Stop};
use crate::capture::pipewire::arrival::{Arrival, Patience};
use crate::config::MicrophoneOptions;
use v2m_client::connection as client;
use v2m_client::protocol::Wanted;
use v2m_client::status::{MicrophoneState, MicrophoneStatus};
use v2m_dsp::gate::{Gate, Params};
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::time::monotonic_ns;
use v2m_rt as rt;
use v2m_rt::bounded::Calls;

/// How often it is looked whether the engine is still there while somebody records, and
/// asked again where it gave nothing.
const LOOK: Duration = Duration::from_millis(500);
/// Samples per second: all that a microphone of today hears.
const RATE: u32 = 48_000;
/// Feeds on their way to the data thread and back.
const FEEDS: usize = 8;

/// Keeps the node `name` until told to stop.
pub(super) fn keep(
    options: &MicrophoneOptions,
    name: &str,
    engine: &Path,
    report: &Report,
    stopped: pipewire::channel::Receiver<Stop>,
    calls: &Calls,
) {
    calls.during("starting libpipewire", pipewire::init);
    let main_loop = match MainLoopRc::new(None) {
        Ok(main_loop) => main_loop,
        Err(error) => {
            tracing::warn!("no virtual microphone: libpipewire gives no loop: {error}");
            return;
        }
    };
    let stop = Rc::new(Cell::new(false));
    let told = stop.clone();
    let _receiver = stopped.attach(main_loop.loop_(), move |Stop| told.set(true));
    let keeper = Keeper {
        options,
        name,
        engine,
        report,
        main_loop: main_loop.clone(),
        stop,
        calls,
    };
    let mut patience = Patience::new();
    let mut context = None;
    while !keeper.stop.get() {
        let arrival = Arrival::watch(&socket_paths(None));
        let why = match keeper.serve(&mut context, &mut patience) {
            Ok(()) => return,
            Err(error) => error,
        };
        let news = keeper.write(|status| {
            let news = status.why.is_none();
            status.state = MicrophoneState::Waiting;
            status.why = Some(why.to_string());
            news
        });
        if news {
            tracing::warn!("no virtual microphone: {why}");
        }
        keeper.pause(&arrival, &mut patience);
    }
}

struct Keeper<'a> {
    options: &'a MicrophoneOptions,
    name: &'a str,
    engine: &'a Path,
    report: &'a Report,
    main_loop: MainLoopRc,
    stop: Rc<Cell<bool>>,
    calls: &'a Calls,
}

/// What is open while somebody records; the engine counts it as a listener.
struct Source {
    connection: client::Connection,
    counts: Arc<Counts>,
}

impl Keeper<'_> {
    /// With one daemon, until told to stop; an error ends it.
    fn serve(&self, context: &mut Option<ContextRc>, patience: &mut Patience) -> Result<()> {
        if context.is_none() {
            let hangs = self.calls.during("asking RTKit", rt::hangs);
            let asks = if hangs { Asks::Nothing } else { Asks::RealTime };
            let loading = "loading libpipewire's modules";
            let made = self
                .calls
                .during(loading, || new_context(&self.main_loop, asks));
            *context = Some(made?);
        }
        let Some(ready) = &*context else {
            return Ok(());
        };
        let connecting = "connecting to PipeWire";
        let opened = self.calls.during(connecting, || ready.connect_rc(None));
        let opened = opened.map_err(|_| {
            let cause = std::io::Error::last_os_error();
            let message = format!("PipeWire can't be reached: {cause}");
            Error::new(ErrorKind::Unavailable, message)
        });
        let result = opened.and_then(|core| self.offer(&core, patience));
        // After a daemon's death nothing of it is used again.
        self.calls
            .during("leaving PipeWire", || drop(context.take()));
        result
    }

    /// The node is there from here on. On a connection that binds nothing else: where one
    /// also binds the session manager's metadata, WirePlumber 0.4.13 and PipeWire 0.3.65 at
    /// times wait for each other without an end, and all new clients with them.
    fn offer(&self, core: &CoreRc, patience: &mut Patience) -> Result<()> {
        let (sender, states) = channel();
        let lost = sender.clone();
        let _listener = core
            .add_listener_local()
            .error(move |id, _seq, result, message| {
                if id == PW_ID_CORE && result == -libc::EPIPE {
                    let _ = lost.send(State::Failed(message.to_owned()));
                }
            })
            .register();
        let (mut feeds, mut taken) = rtrb::RingBuffer::<Option<Box<Feed>>>::new(FEEDS);
        let (mut back, mut returned) = rtrb::RingBuffer::<Box<Feed>>::new(2 * FEEDS);
        let mut feed: Option<Box<Feed>> = None;
        let thread = Arc::new(rt::Noted::default());
        let calling = thread.clone();
        let mut first = true;
        let fill = move |out: &[AtomicU32]| {
            if std::mem::take(&mut first) {
                calling.note();
            }
            while let Ok(next) = taken.pop() {
                if let Some(before) = std::mem::replace(&mut feed, next) {
                    // There is room: no more than `FEEDS` are under way, and each is taken
                    // back before another is made.
                    let _ = back.push(before);
                }
            }
            match &mut feed {
                Some(feed) => feed.fill(out, monotonic_ns()),
                None => out.iter().for_each(|s| s.store(0, Ordering::Relaxed)),
            }
        };
        let rate = RATE;
        let latency_ms = self.latency_ms();
        let node = Microphone::new(
            core,
            self.name,
            self.properties(),
            (rate, latency_ms as i64 * 1_000_000),
            Box::new(fill),
            Box::new(move |state| drop(sender.send(state))),
        )?;
        let mut source: Option<Source> = None;
        let mut recorded = false;
        loop {
            recorded = self.take_up(&states, recorded)?;
            if node.node_id().is_some() {
                *patience = Patience::new();
            }
            while returned.pop().is_ok() {}
            let _ = thread.lock_stack();
            if let Some(before) = source.take_if(|s| !recorded || s.connection.is_closed()) {
                drop(before);
                // What it heard isn't given to who records next.
                let _ = feeds.push(None);
            }
            let mut why = None;
            // Full, should somebody have begun and ended faster than cycles come: then soon.
            if recorded && source.is_none() && !feeds.is_full() {
                match self.open() {
                    Ok((opened, feed)) => {
                        source = Some(opened);
                        let feed = Box::new(feed);
                        feed.lock();
                        let _ = feeds.push(Some(feed));
                    }
                    Err(error) => why = Some(error.to_string()),
                }
            }
            self.write(|status| {
                status.state = match (&why, recorded) {
                    (Some(_), _) => MicrophoneState::Waiting,
                    (None, true) => MicrophoneState::Recorded,
                    (None, false) => MicrophoneState::Idle,
                };
                status.why = why;
                status.latency_ms = latency_ms;
                if let Some(Source { counts, .. }) = &source {
                    status.missed = counts.missed.load(Ordering::Relaxed);
                    status.slips = counts.slips.load(Ordering::Relaxed);
                }
            });
            let timeout = if recorded {
                Timeout::Finite(LOOK)
            } else {
                Timeout::Infinite
            };
            self.main_loop.loop_().iterate(timeout);
            if self.stop.get() {
                self.calls.during("leaving PipeWire", || drop(node));
                return Ok(());
            }
        }
    }

    /// Whether somebody records, by what the node told.
    fn take_up(&self, states: &Receiver<State>, recorded: bool) -> Result<bool> {
        let mut recorded = recorded;
        while let Ok(state) = states.try_recv() {
            match state {
                State::Idle => recorded = false,
                State::Recorded => recorded = true,
                State::Failed(why) => {
                    let message = format!("PipeWire reports an error: {why}");
                    return Err(Error::new(ErrorKind::Device, message));
                }
                State::Removed => {
                    let message = "the virtual microphone was removed; it is made again";
                    return Err(Error::new(ErrorKind::Device, message));
                }
            }
        }
        Ok(recorded)
    }

    fn open(&self) -> Result<(Source, Feed)> {
        let mut connection = client::Connection::at(self.engine)?;
        let wanted = Wanted {
            source: self.options.source.as_ref().map(ToString::to_string),
            channel: None,
            rate: Some(RATE),
        };
        let reader = connection.open_stream(&wanted, None, false)?.ring;
        if let Err(error) = reader.lock() {
            tracing::debug!("the virtual microphone's view of the ring isn't locked: {error}");
        }
        let rate = RATE;
        let gate = self
            .gate()
            .map(|params| Ok::<_, Error>((Gate::new(rate, params)?, params.ahead_ms())))
            .transpose()?;
        let counts = Arc::new(Counts::default());
        let feed = Feed::new(reader, rate, gate, counts.clone());
        Ok((Source { connection, counts }, feed))
    }

    fn gate(&self) -> Option<Params> {
        self.options.look_ahead_ms.map(|look_ahead_ms| Params {
            look_ahead_ms,
            ..Params::default()
        })
    }

    /// Between capture and what is given out.
    fn latency_ms(&self) -> u64 {
        MARGIN_MS + self.gate().map_or(0, |params| params.ahead_ms())
    }

    fn properties(&self) -> PropertiesBox {
        let mut properties = PropertiesBox::new();
        // Of nobody else: PipeWire 1.6 has a source without one run on after the last who
        // recorded it has left, for as long as the clock runs that it had then.
        let group = format!("{}.{}", self.name, std::process::id());
        properties.insert("node.link-group", group);
        for (key, value) in [
            ("node.name", self.name),
            ("node.description", "Microphone of v2m-engine"),
            ("application.name", "v2m-engine"),
            ("application.icon-name", "audio-input-microphone"),
            ("media.class", "Audio/Source"),
            ("media.type", "Audio"),
            ("media.category", "Playback"),
            ("media.role", "Communication"),
            ("node.virtual", "true"),
            // Nobody's default for being there.
            ("priority.session", "0"),
        ] {
            properties.insert(key, value);
        }
        properties
    }

    /// Waits for something to happen to the daemon's socket, not for long.
    fn pause(&self, arrival: &Arrival, patience: &mut Patience) {
        let end = Instant::now() + patience.next();
        while !self.stop.get() && !arrival.happened() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.main_loop
                .loop_()
                .iterate(Timeout::Finite(left.min(LOOK)));
        }
        *patience = Patience::new();
    }

    fn write<T>(&self, write: impl FnOnce(&mut MicrophoneStatus) -> T) -> T {
        write(&mut self.report.lock())
    }
}
