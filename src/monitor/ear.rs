//! The monitor's line to the engine, on a thread of its own: waits for the ring as
//! any reader does and says how long each wake-up took, asks for the status once a
//! second, and connects again when the engine has gone. What it finds goes into a
//! channel; whoever draws never waits for the engine.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::time::{Duration, Instant};

use super::wakes::Wake;
use crate::error::{Error, ErrorKind, Result};
use crate::reader_cursor::ReaderCursor;
use crate::ring::{Reader, Waited};
use crate::status::Status;
use crate::time::monotonic_ns;
use v2m_client::engine::Engine;
use v2m_client::locator::{Locator, Mode};

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

#[derive(Debug)]
pub(crate) enum Update {
    /// Connected, for the first time or again: this is the ring.
    Ring {
        ring: Arc<Reader>,
        /// To note how far that was.
        reader_cursor: Option<Arc<ReaderCursor>>,
    },
    Status(Box<Status>),
    Wake(Wake),
    /// The engine is gone, or doesn't answer; it is looked for.
    Lost(Error),
}

/// Connects to the user's engine, as one who looks on, and begins to listen.
///
/// Fails with [`ErrorKind::Unavailable`] if none runs. The channel ends only with
/// its receiver.
pub(crate) fn listen() -> Result<Receiver<Update>> {
    let locator = Locator {
        mode: Mode::Service,
        observe: true,
        ..Locator::default()
    };
    let engine = locator.connect()?;
    let (tell, updates) = channel();
    std::thread::Builder::new()
        .name("v2m-monitor".into())
        .spawn(move || {
            // Until nobody wants to hear it any more.
            let _ = attend(&locator, engine, &tell);
        })
        .map_err(|cause| Error::system("cannot start the monitor's thread", cause))?;
    Ok(updates)
}

fn attend(
    locator: &Locator,
    first: Arc<Engine>,
    tell: &Sender<Update>,
) -> Result<(), SendError<Update>> {
    let mut engine = first;
    loop {
        let (ring, reader_cursor) = (engine.ring().clone(), engine.reader_cursor());
        tell.send(Update::Ring {
            ring,
            reader_cursor,
        })?;
        let error = hear(&engine, tell)?;
        tell.send(Update::Lost(error))?;
        drop(engine);
        engine = loop {
            std::thread::sleep(RETRY);
            match locator.connect() {
                Ok(engine) => break engine,
                Err(error) => tell.send(Update::Lost(error))?,
            }
        };
    }
}

/// Listens until the engine is gone; says why it is.
fn hear(engine: &Engine, tell: &Sender<Update>) -> Result<Error, SendError<Update>> {
    let mut status_due = Instant::now();
    loop {
        if Instant::now() >= status_due {
            match engine.status_within(ANSWER) {
                Ok(status) => tell.send(Update::Status(Box::new(status)))?,
                Err(error) => return Ok(error),
            }
            status_due = Instant::now() + STATUS;
        }
        if engine.check() {
            return Ok(Error::new(ErrorKind::Unavailable, "the engine has stopped"));
        }
        if let Some(wake) = wake_up(engine.ring()) {
            tell.send(Update::Wake(wake))?;
        }
        std::thread::sleep(PAUSE);
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
