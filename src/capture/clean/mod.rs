//! A microphone without what the default sink plays: both are captured from PipeWire, side by
//! side, and a thread below the audio threads takes the one off the other. It comes 20 ms
//! later at most. Without the far end it is the microphone as it is, and says so.

mod pair;
mod queue;
mod rate;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use v2m_echo::Window;
use v2m_pw_graph::Source;

use self::pair::Pair;
use self::queue::{Output, Piece, queue};
use self::rate::Converter;
use super::channels::Channels;
use super::ingest::Ingest;
use super::pipewire::{Options, Pipewire};
use super::thread::{CaptureThread, Orders};
use super::{Backend, Event, Kind, Sink, Start};
use crate::config::SourceSpec;
use v2m_client::quantum::Quantum;
use v2m_client::status::{EchoStatus, SourceStatus};
use v2m_dsp::channels::Selection;
use v2m_dsp::health::Mute;
use v2m_error::Result;
use v2m_ring::Echo;
use v2m_rt as rt;
use v2m_rt::Role;

/// Without a block for so long, the far end is not there.
const GONE: Duration = Duration::from_millis(200);
/// How long the thread rests at most.
const REST: Duration = Duration::from_millis(50);
const ABSENT: &str = "what the default sink plays doesn't arrive";

/// The sources `clean` and `clean:SOURCE`.
pub static KIND: Kind = Kind {
    takes: |source| matches!(source, SourceSpec::Clean(_)),
    start: |start| Ok(Box::new(Clean::start(start)?)),
    sources: || Ok(Vec::new()),
};

struct Clean {
    // In the order of stopping.
    near: Pipewire,
    far: Pipewire,
    thread: CaptureThread,
    status: Arc<Mutex<EchoStatus>>,
}

impl Clean {
    fn start(start: Start<'_>) -> Result<Self> {
        let config = start.config;
        let source = match &config.source {
            SourceSpec::Clean(source) => source.clone(),
            _ => Source::default(),
        };
        let status = Arc::new(Mutex::new(EchoStatus {
            why: Some(ABSENT.into()),
            ..EchoStatus::default()
        }));
        let ((near, heard), (far, played)) = (queue(), queue());
        let changed = Arc::new(AtomicBool::new(false));
        let mut canceller = Cancelling {
            pair: Pair::new(config.clean),
            near: Side::new(heard),
            far: Side::new(played),
            changed: changed.clone(),
            newest: None,
            ingest: start.ingest,
            status: status.clone(),
        };
        let wakes = near.clone();
        let thread = CaptureThread::start("v2m-clean", start.active, move |orders, _| {
            wakes.wakes_me();
            rt::promote(Role::Echo);
            rt::lock_stack();
            canceller.run(orders);
        })?;
        let options = |node_name, source, channels| Options {
            node_name,
            source,
            latency: None,
            active: start.active,
            readers: String::new(),
            remote: None,
            // One clock for both, or the echo's delay would wander.
            together: true,
            channels,
            ..Options::default()
        };
        let (told, links) = (status.clone(), Links::new(changed.clone()));
        let far = Pipewire::start(
            options(
                format!("{}.far-end", config.node_name),
                Source::DefaultMonitor,
                // All that is played reaches the microphone.
                Channels::new(Selection::Mix, Box::new(drop)),
            ),
            far,
            Box::new(move |event| {
                links.look(&event);
                far_end(&told, event);
            }),
        )?;
        let (events, links) = (start.events, Links::new(changed));
        let near = Pipewire::start(
            options(config.node_name.clone(), source, start.channels),
            near,
            Box::new(move |event| {
                links.look(&event);
                events(event);
            }),
        )?;
        Ok(Self {
            near,
            far,
            thread,
            status,
        })
    }
}

/// Notices when one side is linked to another node than before: another room, though
/// positions may go on.
struct Links {
    to: RefCell<Option<String>>,
    changed: Arc<AtomicBool>,
}

impl Links {
    fn new(changed: Arc<AtomicBool>) -> Self {
        let to = RefCell::default();
        Self { to, changed }
    }

    fn look(&self, event: &Event) {
        let Event::Linked(name) = event else { return };
        let before = self.to.replace(Some(name.clone()));
        if before.is_some_and(|before| before != *name) {
            self.changed.store(true, Ordering::Relaxed);
        }
    }
}

/// What the far end's capture tells.
fn far_end(status: &Mutex<EchoStatus>, event: Event) {
    let mut status = lock(status);
    match event {
        Event::Linked(name) => status.far = Some(name),
        Event::Waiting(why) | Event::Lost(why) => {
            (status.far, status.why) = (None, Some(why));
        }
        Event::Refused(error) => (status.far, status.why) = (None, Some(error.to_string())),
        Event::Reached | Event::Heard { .. } | Event::Ended => {}
    }
}

fn lock(status: &Mutex<EchoStatus>) -> MutexGuard<'_, EchoStatus> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend for Clean {
    fn set_quantum(&self, latency: Option<Quantum>) {
        self.near.set_quantum(latency);
        self.far.set_quantum(latency);
    }

    fn set_readers(&self, readers: &str) {
        self.near.set_readers(readers);
        self.far.set_readers(readers);
    }

    fn set_active(&self, active: bool) {
        self.thread.set_active(active);
        self.far.set_active(active);
        self.near.set_active(active);
    }

    fn audio_thread(&self) -> Option<i32> {
        self.near.thread_id()
    }

    fn describe(&self, status: &mut SourceStatus) {
        Backend::describe(&self.near, status);
        self.far.look_after_thread();
        status.echo = Some(lock(&self.status).clone());
    }

    fn mute(&self) -> Option<Mute> {
        self.near.mute()
    }

    fn ask(&self) {
        self.near.ask();
    }

    fn why_silent(&self) -> String {
        self.near.why_silent().into()
    }

    fn hanging(&self) -> Option<String> {
        let mut hanging = [self.near.hanging(), self.far.hanging()].into_iter();
        hanging.find_map(|what| what).or(self.thread.hanging())
    }

    fn stop(&mut self) {
        self.near.stop();
        self.far.stop();
        self.thread.stop();
    }
}

/// The thread's own.
struct Cancelling {
    pair: Pair,
    near: Side,
    far: Side,
    /// Another microphone or loudspeaker.
    changed: Arc<AtomicBool>,
    /// When the far end's newest block came.
    newest: Option<Instant>,
    ingest: Arc<Ingest>,
    status: Arc<Mutex<EchoStatus>>,
}

/// What comes of one side.
struct Side {
    output: Output,
    converter: Converter,
}

impl Side {
    fn new(output: Output) -> Self {
        let converter = Converter::default();
        Self { output, converter }
    }

    /// The next block, at a rate of the canceller. One that can't be converted is none.
    fn pop(&mut self) -> Option<Piece> {
        let piece = self.output.pop()?;
        let rate = piece.rate;
        let converted = self.converter.convert(piece);
        converted
            .inspect_err(|error| tracing::debug!("a block at {rate} Hz is passed over: {error}"))
            .ok()
    }
}

impl Cancelling {
    fn run(&mut self, orders: &Orders) {
        let mut rate = 0;
        while !orders.is_over() {
            if orders.rest() {
                continue;
            }
            std::thread::park_timeout(REST);
            if self.changed.swap(false, Ordering::Relaxed) {
                self.pair.jump();
            }
            let mut heard = false;
            while let Some(piece) = self.near.pop() {
                if std::mem::replace(&mut rate, piece.rate) != piece.rate {
                    self.ingest.expect(piece.rate);
                }
                self.pair.near(&piece);
                heard = true;
            }
            // After the microphone's: however long this thread is kept waiting in between, what
            // was played in their time is not missing for that.
            while let Some(piece) = self.far.pop() {
                self.newest = Some(Instant::now());
                self.pair.far(&piece);
            }
            let plays = self.newest.is_some_and(|newest| newest.elapsed() < GONE);
            self.pair.give(plays, |block, window| {
                self.ingest.set_echo(echo(window));
                self.ingest.block(block);
            });
            if heard {
                self.ingest.wake();
                self.report(plays);
            }
        }
    }

    fn report(&self, plays: bool) {
        let window = self.pair.window();
        let mut status = lock(&self.status);
        status.plays = window.far;
        status.cancelled_db = window.cancelled_db;
        status.both = window.both;
        status.converging = window.converging;
        if plays {
            status.why = None;
        } else if status.why.is_none() {
            status.why = Some(ABSENT.into());
        }
    }
}

/// As readers get it.
fn echo(window: Window) -> Echo {
    Echo {
        cancelled_db: window.cancelled_db,
        plays: window.far,
        both: window.both,
        converging: window.far && window.converging,
    }
}
