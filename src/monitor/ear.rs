//! The monitor's line to the engine, on a thread of its own: waits for the ring as
//! any reader does and says how long each wake-up took, asks for the status once a
//! second, and connects again when the engine has gone. What it finds goes into a
//! channel; whoever draws never waits for the engine.

use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::facts;
use super::wakes::Wake;
use v2m_client::engine::Engine;
use v2m_client::locator::{Locator, Mode};
use v2m_client::reader_cursor::ReaderCursor;
use v2m_client::status::{Status, StreamStatus};
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::time::monotonic_ns;
use v2m_ring::{Reader, Waited};

/// From one status to the next.
const STATUS: Duration = Duration::from_secs(1);
/// How long an engine may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// From one wake-up to waiting for the next: fifty a second show how they are,
/// and being woken by each would take its share of a core, and of the fastest
/// wake-ups from readers that need them.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest wait for a wake-up before a look at the connection.
const SLICE: Duration = Duration::from_millis(200);
/// From one attempt to connect again to the next.
const RETRY: Duration = Duration::from_millis(250);

/// What is listened to: a source, and which of its channels, as the engine says them. All its
/// rates are the same audio, which is heard at 16 kHz.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceChannel {
    pub(crate) source: String,
    pub(crate) channel: String,
}

impl SourceChannel {
    pub(crate) fn of(stream: &StreamStatus) -> Self {
        Self {
            source: stream.source.clone(),
            channel: stream.channel.clone(),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Update {
    /// Connected, for the first time or again: this is the ring.
    Ring {
        heard: SourceChannel,
        ring: Arc<Reader>,
        /// To note how far that was.
        reader_cursor: Option<Arc<ReaderCursor>>,
    },
    /// Nobody reads that any more, so it isn't listened to.
    Gone(SourceChannel),
    /// As the engine says it to who listens to the chosen one.
    Status(Box<Status>),
    /// Of the chosen one's ring.
    Wake(Wake),
    /// The engine is gone, or doesn't answer; it is looked for.
    Lost(Error),
}

/// The thread that listens, as whoever draws has it.
pub(crate) struct Ear {
    pub(crate) updates: Receiver<Update>,
    chosen: Arc<Mutex<Option<SourceChannel>>>,
}

impl Ear {
    /// Connects to the user's engine, as one who looks on, and begins to listen.
    ///
    /// Fails with [`ErrorKind::Unavailable`] if none runs. The channel ends only with
    /// its receiver.
    pub(crate) fn listen() -> Result<Self> {
        let locator = Locator {
            mode: Mode::Service,
            observe: true,
            ..Locator::default()
        };
        let engine = locator.connect()?;
        let (tell, updates) = channel();
        let chosen = Arc::new(Mutex::default());
        let listener = ListenerThread {
            locator,
            engines: vec![engine],
            refused: Vec::new(),
            chosen: Arc::clone(&chosen),
            tell,
        };
        std::thread::Builder::new()
            .name("v2m-monitor".into())
            .spawn(move || {
                // Until nobody wants to hear it any more.
                let _ = listener.attend();
            })
            .map_err(|cause| Error::system("cannot start the monitor's thread", cause))?;
        Ok(Self { updates, chosen })
    }

    /// Whose status and wake-ups are wanted; None: those of the engine's own source.
    pub(crate) fn choose(&self, heard: Option<SourceChannel>) {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }
}

/// The thread's own.
struct ListenerThread {
    locator: Locator,
    /// A connection for each that is heard; the first is the engine's own source.
    engines: Vec<Arc<Engine>>,
    /// What could not be listened to, for as long as somebody reads it.
    refused: Vec<SourceChannel>,
    chosen: Arc<Mutex<Option<SourceChannel>>>,
    tell: Sender<Update>,
}

type Told<T = ()> = Result<T, SendError<Update>>;

impl ListenerThread {
    fn attend(mut self) -> Told {
        loop {
            self.tell_ring(&self.engines[0])?;
            let error = self.hear()?;
            self.tell.send(Update::Lost(error))?;
            self.engines.clear();
            self.refused.clear();
            let engine = loop {
                std::thread::sleep(RETRY);
                match self.locator.connect() {
                    Ok(engine) => break engine,
                    Err(error) => self.tell.send(Update::Lost(error))?,
                }
            };
            self.engines.push(engine);
        }
    }

    fn chosen(&self) -> Option<SourceChannel> {
        let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        chosen.clone()
    }

    fn tell_ring(&self, engine: &Engine) -> Told {
        self.tell.send(Update::Ring {
            heard: heard(engine),
            ring: engine.ring().clone(),
            reader_cursor: engine.reader_cursor(),
        })
    }

    /// Listens until the engine is gone; says why it is.
    fn hear(&mut self) -> Told<Error> {
        let mut status_due = Instant::now();
        let mut before = None;
        loop {
            let chosen = self.chosen();
            let listened = self
                .engines
                .iter()
                .find(|engine| chosen.as_ref() == Some(&heard(engine)));
            let engine = listened.unwrap_or(&self.engines[0]).clone();
            if Instant::now() >= status_due || chosen != before {
                match engine.status_within(ANSWER) {
                    Ok(status) => {
                        self.follow(&status)?;
                        self.tell.send(Update::Status(Box::new(status)))?;
                    }
                    Err(error) => return Ok(error),
                }
                status_due = Instant::now() + STATUS;
                before = chosen;
            }
            if self.engines[0].check() {
                return Ok(Error::new(ErrorKind::Unavailable, "the engine has stopped"));
            }
            if let Some(wake) = wake_up(engine.ring()) {
                self.tell.send(Update::Wake(wake))?;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Listens to what others read, and no longer to what nobody else does: who looks on keeps
    /// nothing open.
    fn follow(&mut self, status: &Status) -> Told {
        let wanted: Vec<SourceChannel> = facts::lanes(status).map(SourceChannel::of).collect();
        self.refused.retain(|heard| wanted.contains(heard));
        for at in (1..self.engines.len()).rev() {
            let heard = heard(&self.engines[at]);
            if !wanted.contains(&heard) || self.engines[at].check() {
                self.engines.remove(at);
                self.tell.send(Update::Gone(heard))?;
            }
        }
        for wanted in wanted {
            let known = self.engines.iter().any(|engine| heard(engine) == wanted);
            if known || self.refused.contains(&wanted) {
                continue;
            }
            let locator = Locator {
                source: Some(wanted.source.clone()),
                channel: Some(wanted.channel.clone()),
                ..self.locator.clone()
            };
            match locator.connect() {
                Ok(engine) if heard(&engine) == wanted => {
                    self.tell_ring(&engine)?;
                    self.engines.push(engine);
                }
                // Its lane has no picture.
                Ok(_) | Err(_) => self.refused.push(wanted),
            }
        }
        Ok(())
    }
}

fn heard(engine: &Engine) -> SourceChannel {
    SourceChannel {
        source: engine.source().into(),
        channel: engine.channel().into(),
    }
}

/// Waits for the next samples; None if it was woken for something else, or not at all.
fn wake_up(ring: &Reader) -> Option<Wake> {
    let ticket = ring.ticket();
    let before = ring.committed();
    if ring.wait(ticket, SLICE) != Waited::Changed {
        return None;
    }
    let at_ns = monotonic_ns();
    let committed = ring.committed();
    let newest = committed.checked_sub(1).filter(|_| committed != before)?;
    let since = |time_ns: i64| at_ns.saturating_sub(time_ns);
    Some(Wake {
        at_ns,
        after_commit_ns: since(ring.written_ns()),
        after_capture_ns: ring.time_ns(newest).map(since),
    })
}
