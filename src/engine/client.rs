//! One client of the server: what it asked for, and what it holds.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::allowed::Allowed;
use super::server::{Described, EngineHandle, Held, Listener, MAX_PEERS};
use v2m_client::protocol::{self, Reply, Request};
use v2m_client::quantum::Quantum;
use v2m_client::reader_cursor::{self, CursorReport, RemoteCursor};
use v2m_client::status::ReaderStatus;
use v2m_error::{Error, ErrorKind, Result};

pub(super) struct Client {
    /// Tells it from all others there ever were.
    pub(super) number: u64,
    pub(super) socket: OwnedFd,
    pub(super) pid: i32,
    pub(super) since: Instant,
    /// Has asked for something.
    pub(super) known: bool,
    /// Waits for the status.
    pub(super) asks: bool,
    /// Waits for a stream; until it has it, it isn't listened to.
    pub(super) waits: Option<Asked>,
    pub(super) holds: Option<Holds>,
}

/// What a client said beside which stream it wants.
pub(super) struct Asked {
    pub(super) observes: bool,
    pub(super) together: bool,
    pub(super) quantum: Option<Quantum>,
    pub(super) reader_cursor: Option<RemoteCursor>,
}

/// What is known of a peer that holds a stream.
pub(super) struct Holds {
    pub(super) stream: Arc<dyn Held>,
    pub(super) since: Instant,
    /// The same by the wall clock.
    began: SystemTime,
    /// Samples that were written by then.
    first: u64,
    pub(super) asked: Asked,
    /// What the kernel calls its program.
    pub(super) program: Option<String>,
}

impl Holds {
    /// What its reader says of itself.
    fn look(&self) -> CursorReport {
        let cursor = self.asked.reader_cursor.as_ref();
        cursor.map(RemoteCursor::look).unwrap_or_default()
    }

    /// What it calls itself, or the kernel calls it.
    fn name(&self, note: &CursorReport) -> Option<String> {
        note.name.clone().or_else(|| self.program.clone())
    }
}

impl Client {
    /// For people: process and program.
    pub(super) fn text(&self) -> String {
        let program = self.holds.as_ref().and_then(|holds| holds.program.clone());
        let program = program.or_else(|| program_of(self.pid));
        let program = program.as_deref().unwrap_or("an unknown program");
        format!("process {} ({program})", self.pid)
    }

    /// For the engine, if it holds a stream.
    pub(super) fn listener(&self) -> Option<Listener> {
        let holds = self.holds.as_ref()?;
        Some(Listener {
            stream: holds.stream.id(),
            observes: holds.asked.observes,
            together: holds.asked.together,
            quantum: holds.asked.quantum,
            name: holds
                .name(&holds.look())
                .unwrap_or_else(|| format!("process {}", self.pid)),
        })
    }

    /// For the status, if it holds a stream.
    pub(super) fn describe(&self) -> Option<Described> {
        let holds = self.holds.as_ref()?;
        let note = holds.look();
        let position = note.position;
        let began = holds.began.duration_since(SystemTime::UNIX_EPOCH);
        let status = ReaderStatus {
            pid: self.pid.try_into().unwrap_or(0),
            name: holds.name(&note),
            age_s: holds.since.elapsed().as_secs_f64(),
            since_s: began.map_or(0, |began| began.as_secs()),
            source: holds.stream.source(),
            rate: holds.stream.rate().hz(),
            observes: holds.asked.observes,
            quantum: holds.asked.quantum.map(|quantum| quantum.to_string()),
            position,
            read: position.map(|position| position.saturating_sub(holds.first)),
            lag: None,
            lag_ms: None,
        };
        Some((holds.stream.id(), status))
    }

    /// Takes one request; the other end of a connection that was asked for, if there is `room`.
    pub(super) fn request(
        &mut self,
        engine: &dyn EngineHandle,
        allowed: &Allowed,
        room: bool,
    ) -> Result<Option<OwnedFd>> {
        let socket = self.socket.as_fd();
        let Some(packet) = protocol::receive::<Request>(socket, protocol::MAX_REQUEST)? else {
            return Ok(None);
        };
        self.known = true;
        let refuse = |message: String| {
            let why = Error::new(ErrorKind::Unavailable, message);
            protocol::send(socket, &Reply::refused(&why), None)
        };
        match packet.message {
            Request::Open { version, .. } if version != protocol::VERSION => {
                refuse(format!(
                    "this engine speaks version {} of the protocol, the client {version}: install the same release of both",
                    protocol::VERSION
                ))?;
            }
            Request::Open {
                wanted,
                latency,
                observe,
                together,
                ..
            } => {
                if let Err(why) = allowed.admit(self.pid) {
                    tracing::warn!("process {} is refused: {why}", self.pid);
                    refuse(why)?;
                    return Ok(None);
                }
                self.waits = Some(Asked {
                    observes: observe,
                    together,
                    quantum: latency,
                    reader_cursor: packet.descriptor.and_then(RemoteCursor::accept),
                });
                engine.open(self.number, wanted);
            }
            Request::Connect {} if !room => {
                refuse(format!(
                    "the engine has {MAX_PEERS} clients, and no room for more"
                ))?;
            }
            Request::Connect {} => {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let made = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
                let (ours, theirs) =
                    made.map_err(|cause| Error::system("cannot make a socket pair", cause))?;
                protocol::send(socket, &Reply::Connected {}, Some(theirs.as_fd()))?;
                return Ok(Some(ours));
            }
            Request::Status {} => self.asks = true,
        }
        Ok(None)
    }

    /// Gives it what it asked for; whether what it holds has changed.
    pub(super) fn answer(&mut self, answer: Result<Arc<dyn Held>>) -> Result<bool> {
        let Some(asked) = self.waits.take() else {
            return Ok(false);
        };
        let stream = match answer {
            Ok(stream) => stream,
            Err(error) => {
                protocol::send(self.socket.as_fd(), &Reply::refused(&error), None)?;
                return Ok(false);
            }
        };
        let reply = Reply::Opened {
            source: stream.source(),
            channel: stream.channel(),
            rate: stream.rate().hz(),
        };
        protocol::send(self.socket.as_fd(), &reply, Some(stream.ring()))?;
        let what = format!("{} at {} Hz", stream.source(), stream.rate());
        let again = self.holds.replace(Holds {
            first: stream.position(),
            stream,
            since: Instant::now(),
            began: SystemTime::now(),
            asked,
            program: program_of(self.pid),
        });
        if again.is_none() {
            tracing::info!("{} listens to {what}", self.text());
        }
        Ok(true)
    }

    /// Says that it is gone, or why it is dropped: it is not kept.
    pub(super) fn dropped(&self, error: &Error) -> bool {
        if error.kind() != ErrorKind::Unavailable {
            tracing::warn!("dropped {}: {error}", self.text());
        } else if self.holds.is_some() {
            tracing::info!("{} listens no more", self.text());
        }
        false
    }
}

/// What the kernel calls a process's program; looked up while its connection
/// shows that the number is still its own.
fn program_of(pid: i32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    reader_cursor::printable(&name)
}
