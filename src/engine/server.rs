//! The socket's engine side: one thread that never waits for a peer.
//!
//! A peer that says nothing, too much, or something else is dropped. Replies go
//! out at once or the peer is dropped: its socket's buffer holds any reply. A stream that
//! isn't there yet is asked of the engine's main thread, and nobody else waits meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rustix::io::Errno as Refusal;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::allowed::Allowed;
use super::client::Client;
use super::endpoint::set_nonblocking;
pub use super::endpoint::{Bound, Endpoint, ServiceSocket};
use v2m_client::protocol::{self, Reply, Wanted};
use v2m_client::quantum::Quantum;
use v2m_client::status::{ReaderStatus, Status};
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::Rate;
use v2m_rt::bounded::Bounded;

/// Peers at once; the next one is refused.
pub(super) const MAX_PEERS: usize = 256;
/// Readers that a status describes: with each name at its longest it still fits
/// into a reply.
const MAX_DESCRIBED: usize = 128;
/// A peer that has asked for nothing by then is dropped.
const SILENCE: Duration = Duration::from_secs(5);

/// What the server needs from the engine.
pub trait EngineHandle: Send + Sync + 'static {
    /// A client wants a stream. [`Answers`] brings it, or why there is none.
    fn open(&self, client: u64, wanted: Wanted);
    /// How the engine is, for a client that holds this stream, if any; must not wait for
    /// anything. `clients` hold streams, and `readers` are the first of them, their lag not
    /// known yet.
    fn status(&self, held: Option<u64>, clients: usize, readers: Vec<Described>) -> Status;
    /// Who listens has changed.
    fn listeners(&self, all: Vec<Listener>);
    /// The only client is gone (of a private engine).
    fn orphaned(&self);
}

/// A stream that clients can hold.
pub trait Held: Send + Sync {
    /// What tells it from others.
    fn id(&self) -> u64;
    /// Its ring's descriptor.
    fn ring(&self) -> BorrowedFd<'_>;
    /// What is captured, as it was asked for.
    fn source(&self) -> String;
    /// Which of its channels are heard, as it was asked for.
    fn channel(&self) -> String;
    /// Of its samples.
    fn rate(&self) -> Rate;
    /// Samples written so far.
    fn position(&self) -> u64;
}

/// A client that holds a stream.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The stream's [`Held::id`].
    pub stream: u64,
    /// It only looks on.
    pub observes: bool,
    /// It is read together with others.
    pub together: bool,
    /// What it asked the graph for; `None`: the configured quantum.
    pub quantum: Option<Quantum>,
    /// What it is called, fit to be shown.
    pub name: String,
}

/// A client for the status, and the stream that it holds.
pub type Described = (u64, ReaderStatus);

/// A stream for a client, or why there is none.
type Answer = (u64, Result<Arc<dyn Held>>);

/// The server's thread; stopped and joined when dropped.
#[derive(Debug)]
pub struct Server {
    calls: Arc<Calls>,
    thread: Bounded,
}

/// Where the engine answers to [`EngineHandle::open`].
#[derive(Clone, Debug)]
pub struct Answers(Arc<Calls>);

impl Answers {
    /// Answers a client.
    pub fn send(&self, client: u64, answer: Result<Arc<dyn Held>>) {
        self.0.answers().push((client, answer));
        self.0.ring();
    }
}

/// What the engine wants of the thread.
struct Calls {
    event: EventFd,
    stop: AtomicBool,
    answers: Mutex<Vec<Answer>>,
    /// How often it was to show that it lives, and how often it has.
    asked: AtomicU32,
    answered: AtomicU32,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

impl Calls {
    fn ring(&self) {
        // Fails only if it has rung so often that it is heard anyway.
        let _ = self.event.write(1);
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what is wanted; true to stop.
    fn heard(&self) -> bool {
        let _ = self.event.read();
        self.answered
            .store(self.asked.load(Ordering::Acquire), Ordering::Release);
        self.stop.load(Ordering::Acquire)
    }
}

impl Server {
    /// Starts serving.
    pub(super) fn start(
        endpoint: Endpoint,
        engine: Arc<dyn EngineHandle>,
        allowed: Allowed,
    ) -> Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|cause| Error::system("cannot make an eventfd", cause))?;
        let calls = Arc::new(Calls {
            event,
            stop: AtomicBool::new(false),
            answers: Mutex::default(),
            asked: AtomicU32::new(0),
            answered: AtomicU32::new(0),
        });
        let mut thread = ServerThread {
            endpoint: None,
            client: None,
            peers: Vec::new(),
            numbers: 0,
            engine,
            allowed,
        };
        match endpoint {
            Endpoint::Service(socket) => thread.endpoint = Some(socket),
            Endpoint::Private(socket) => thread.adopt(socket)?,
        }
        let heard = calls.clone();
        let thread = Bounded::spawn("v2m-server", move |_| thread.run(&heard))?;
        Ok(Self { calls, thread })
    }

    /// Where to answer.
    pub fn answers(&self) -> Answers {
        Answers(self.calls.clone())
    }

    /// Whether the thread has shown that it lives since this was asked last.
    pub fn is_alive(&self) -> bool {
        let calls = &*self.calls;
        let asked = calls.asked.load(Ordering::Relaxed);
        if calls.answered.load(Ordering::Acquire) != asked {
            return false;
        }
        calls.asked.store(asked.wrapping_add(1), Ordering::Release);
        calls.ring();
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.calls.stop.store(true, Ordering::Release);
        self.calls.ring();
        self.thread.join();
    }
}

struct ServerThread {
    endpoint: Option<ServiceSocket>,
    /// The one client's process, in a private engine.
    client: Option<OwnedFd>,
    peers: Vec<Client>,
    /// How many there were so far.
    numbers: u64,
    engine: Arc<dyn EngineHandle>,
    allowed: Allowed,
}

impl ServerThread {
    /// A private engine's client. Its process is watched beside the connection,
    /// which a forked child of it may hold open.
    fn adopt(&mut self, socket: OwnedFd) -> Result<()> {
        let pid = protocol::peer_of_same_user(socket.as_fd())?;
        set_nonblocking(socket.as_fd())?;
        self.client = pidfd(pid);
        self.add(socket, pid, true);
        Ok(())
    }

    fn add(&mut self, socket: OwnedFd, pid: i32, known: bool) {
        self.numbers += 1;
        self.peers.push(Client {
            number: self.numbers,
            socket,
            pid,
            since: Instant::now(),
            known,
            asks: false,
            waits: None,
            holds: None,
        });
    }

    fn run(mut self, calls: &Calls) {
        let private = self.endpoint.is_none();
        loop {
            let mut waiting = vec![PollFd::new(calls.event.as_fd(), PollFlags::POLLIN)];
            let endpoint = self
                .endpoint
                .as_ref()
                .filter(|_| self.peers.len() < MAX_PEERS);
            let extra = endpoint
                .map(|endpoint| endpoint.socket.as_fd())
                .or(self.client.as_ref().map(|pid| pid.as_fd()));
            waiting.extend(extra.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            let first = waiting.len();
            waiting.extend(self.peers.iter().map(|peer| {
                let wanted = match peer.waits {
                    None => PollFlags::POLLIN,
                    // Only whether it hangs up.
                    Some(_) => PollFlags::empty(),
                };
                PollFd::new(peer.socket.as_fd(), wanted)
            }));
            let silence = self
                .peers
                .iter()
                .filter(|peer| !peer.known)
                .map(|peer| peer.since + SILENCE)
                .min();
            let timeout = silence.map_or(PollTimeout::NONE, |deadline| {
                let left =
                    deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            if !matches!(poll(&mut waiting, timeout), Ok(_) | Err(Errno::EINTR)) {
                return;
            }
            let ready: Vec<bool> = waiting.iter().map(|fd| fd.any().unwrap_or(true)).collect();
            if ready[0] && calls.heard() {
                return;
            }
            if private && first > 1 && ready[1] {
                self.engine.orphaned();
                return;
            }
            let answers = std::mem::take(&mut *calls.answers());
            let answered = self.hand_out(answers);
            self.serve(&ready[first..], answered);
            if private && self.peers.is_empty() {
                self.engine.orphaned();
                return;
            }
            if !private && first > 1 && ready[1] {
                self.accept();
            }
        }
    }

    /// Gives clients what they wait for; whether who listens has changed. Who is to be
    /// dropped no longer holds anything.
    fn hand_out(&mut self, answers: Vec<Answer>) -> bool {
        let mut changed = false;
        for (number, answer) in answers {
            // It may be gone.
            let Some(peer) = self.peers.iter_mut().find(|peer| peer.number == number) else {
                continue;
            };
            match peer.answer(answer) {
                Ok(now) => changed |= now,
                Err(error) => {
                    changed |= peer.holds.is_some();
                    peer.dropped(&error);
                    peer.holds = None;
                    // The next look finds it hung up.
                    let _ = rustix::net::shutdown(&peer.socket, rustix::net::Shutdown::Both);
                }
            }
        }
        changed
    }

    /// Answers the peers that said something and drops those that must go. `changed`: who
    /// listens has changed already.
    fn serve(&mut self, ready: &[bool], mut changed: bool) {
        let mut at = 0;
        let (engine, allowed) = (self.engine.clone(), &self.allowed);
        let mut connections = Vec::new();
        let room = MAX_PEERS.saturating_sub(self.peers.len());
        self.peers.retain_mut(|peer| {
            let spoke = ready.get(at).copied().unwrap_or(false);
            at += 1;
            if !spoke {
                let silent = !peer.known && peer.since.elapsed() > SILENCE;
                if silent {
                    tracing::warn!(
                        "dropped {}, which said nothing for {} s",
                        peer.text(),
                        SILENCE.as_secs()
                    );
                }
                return !silent;
            }
            if peer.waits.is_some() {
                changed |= peer.holds.is_some();
                return peer.dropped(&Error::new(ErrorKind::Unavailable, "it hung up"));
            }
            match peer.request(&*engine, allowed, room > connections.len()) {
                Ok(connection) => {
                    connections.extend(connection.map(|socket| (socket, peer.pid)));
                    true
                }
                Err(error) => {
                    changed |= peer.holds.is_some();
                    peer.dropped(&error)
                }
            }
        });
        for (socket, pid) in connections {
            self.add(socket, pid, false);
        }
        if self.peers.iter().any(|peer| peer.asks) {
            changed |= self.tell_status();
        }
        if changed {
            let listeners = self.peers.iter().filter_map(Client::listener);
            self.engine.listeners(listeners.collect());
        }
    }

    /// Answers those who asked for the status; whether one that holds a stream
    /// had to be dropped.
    fn tell_status(&mut self) -> bool {
        let held = |peer: &Client| peer.holds.as_ref().map(|holds| holds.stream.id());
        let clients = self.peers.iter().filter_map(held).count();
        let described = self.peers.iter().filter_map(Client::describe);
        let readers: Vec<Described> = described.take(MAX_DESCRIBED).collect();
        // Of each stream's once.
        let mut replies: Vec<(Option<u64>, Reply)> = Vec::new();
        let engine = self.engine.clone();
        let mut changed = false;
        self.peers.retain_mut(|peer| {
            if !std::mem::take(&mut peer.asks) {
                return true;
            }
            let held = held(peer);
            if !replies.iter().any(|(of, _)| *of == held) {
                let status = engine.status(held, clients, readers.clone());
                replies.push((held, fitting(status)));
            }
            let reply = replies.iter().find(|(of, _)| *of == held);
            let Some((_, reply)) = reply else { return true };
            match protocol::send(peer.socket.as_fd(), reply, None) {
                Ok(()) => true,
                Err(error) => {
                    changed |= peer.holds.is_some();
                    peer.dropped(&error)
                }
            }
        });
        changed
    }

    fn accept(&mut self) {
        let Some(endpoint) = &self.endpoint else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match accept_with(&endpoint.socket, flags) {
            Ok(socket) => socket,
            Err(Refusal::MFILE | Refusal::NFILE | Refusal::NOMEM) => {
                tracing::warn!("no room for another client: too many open files");
                std::thread::sleep(Duration::from_millis(100));
                return;
            }
            Err(_) => return,
        };
        match protocol::peer_of_same_user(socket.as_fd()) {
            Ok(pid) => self.add(socket, pid, false),
            Err(error) => tracing::warn!("{error}"),
        }
    }
}

/// The reply with a status, of whose lists as much is left out as doesn't fit into it.
fn fitting(mut status: Status) -> Reply {
    loop {
        let reply = Reply::Status {
            status: Box::new(status),
        };
        let fits = serde_json::to_vec(&reply).is_ok_and(|bytes| bytes.len() <= protocol::MAX_REPLY);
        let Reply::Status { status: whole } = reply else {
            return reply;
        };
        status = *whole;
        let lists = [
            status.streams.len(),
            status.readers.len(),
            status.degraded.len(),
        ];
        if fits || lists == [0; 3] {
            return Reply::Status {
                status: Box::new(status),
            };
        }
        status.streams.truncate(lists[0] * 3 / 4);
        status.readers.truncate(lists[1] * 3 / 4);
        status.degraded.truncate(lists[2] * 3 / 4);
    }
}

/// A descriptor that becomes readable when the process ends; none on kernels
/// before 5.3, where the connection's end has to do.
fn pidfd(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}
