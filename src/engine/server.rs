//! The socket's engine side: one thread that never waits for a peer.
//!
//! A peer that says nothing, too much, or something else is dropped. Replies go
//! out at once or the peer is dropped: its socket's buffer holds any reply.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};

use rustix::io::Errno as Refusal;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, ErrorKind, Result};
use crate::protocol::{self, Reply, Request};
use crate::quantum::Quantum;
use crate::reader_cursor::{self, Note, RemoteCursor};
use crate::rt::bounded::Bounded;
use crate::status::{ReaderStatus, Status};

/// Peers at once; the next one is refused.
const MAX_PEERS: usize = 256;
/// Readers that a status describes: with each name at its longest it still fits
/// into a reply.
const MAX_DESCRIBED: usize = 128;
/// How long another engine may take to bind its socket.
const LOCK: Duration = Duration::from_secs(5);
/// A peer that has asked for nothing by then is dropped.
const SILENCE: Duration = Duration::from_secs(5);

/// What the server needs from the engine.
pub trait EngineHandle: Send + Sync + 'static {
    /// The ring's descriptor.
    fn ring(&self) -> BorrowedFd<'_>;
    /// What is captured, as configured.
    fn source(&self) -> String;
    /// Which of its channels are heard, as configured.
    fn channel(&self) -> String;
    /// A client is about to get the ring: what it finds there must be up to date.
    fn opening(&self);
    /// How the engine is; must not wait for anything. `clients` hold the ring,
    /// and `readers` are the first of them, their lag not known yet.
    fn status(&self, clients: usize, readers: Vec<ReaderStatus>) -> Status;
    /// Who listens has changed: how many, and the quantum that each asked for
    /// who doesn't only look on.
    fn listeners(&self, count: usize, asked: &[Option<Quantum>]);
    /// The only client is gone (of a private engine).
    fn orphaned(&self);
}

/// Where peers come from.
#[derive(Debug)]
pub enum Endpoint {
    /// A listening socket for all of the user's processes.
    Service(ServiceSocket),
    /// One connection that was there from the start.
    Private(OwnedFd),
}

/// A listening socket; if we bound it, its file goes away with it.
#[derive(Debug)]
pub struct ServiceSocket {
    socket: OwnedFd,
    bound: Option<Bound>,
}

impl ServiceSocket {
    /// Takes over a socket that somebody else has bound and keeps: systemd.
    pub fn inherited(socket: OwnedFd) -> Result<Self> {
        set_nonblocking(socket.as_fd())?;
        Ok(Self {
            socket,
            bound: None,
        })
    }

    /// Binds `path`: takes it over from a dead engine, refuses if a live one has it.
    pub fn bind(path: &Path) -> Result<Self> {
        let failed = |cause: &dyn std::fmt::Display| {
            let message = format!("cannot listen at {}: {cause}", path.display());
            Error::new(ErrorKind::System, message)
        };
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.ok_or_else(|| failed(&"the path needs a directory"))?;
        if let Err(cause) = std::fs::DirBuilder::new().mode(0o700).create(directory)
            && cause.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(failed(&format!("cannot create its directory: {cause}")));
        }
        // Two engines that start at once must not take the path from each other.
        let _lock = lock(directory).map_err(|cause| failed(&cause))?;

        let address = UnixAddr::new(path).map_err(|cause| failed(&cause))?;
        let make = |flags| socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
        let probe = make(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
            .map_err(|cause| failed(&cause))?;
        match connect(probe.as_raw_fd(), &address) {
            Err(Errno::ENOENT) => {}
            Err(Errno::ECONNREFUSED) => {
                if !is_own_socket(path) {
                    return Err(failed(
                        &"what is there is no socket of yours, and stays: name another path",
                    ));
                }
                tracing::info!("taking over {} from an engine that is gone", path.display());
                std::fs::remove_file(path).map_err(|cause| failed(&cause))?;
            }
            Ok(()) | Err(Errno::EAGAIN) => {
                return Err(failed(
                    &"an engine is running there already; `v2m-engine status` shows it",
                ));
            }
            Err(cause) => return Err(failed(&cause.desc())),
        }
        let socket = make(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
            .map_err(|cause| failed(&cause))?;
        bind(socket.as_raw_fd(), &address).map_err(|cause| failed(&cause.desc()))?;
        let bound = Self {
            socket,
            bound: Some(Bound::new(path).map_err(|cause| failed(&cause))?),
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(|cause| failed(&cause))?;
        listen(&bound.socket, Backlog::MAXCONN).map_err(|cause| failed(&cause))?;
        Ok(bound)
    }

    /// Its file, if this process made it.
    pub fn bound(&self) -> Option<Bound> {
        self.bound.clone()
    }
}

impl Drop for ServiceSocket {
    fn drop(&mut self) {
        self.bound.iter().for_each(Bound::remove);
    }
}

/// A socket's file that this process made.
#[derive(Clone, Debug)]
pub struct Bound {
    path: PathBuf,
    /// Device and inode: another file of the name is not ours.
    id: (u64, u64),
}

impl Bound {
    fn new(path: &Path) -> std::io::Result<Self> {
        let known = std::fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.into(),
            id: (known.dev(), known.ino()),
        })
    }

    /// Removes it, if it is still there.
    pub fn remove(&self) {
        if Self::new(&self.path).is_ok_and(|now| now.id == self.id) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a path is a socket, not a link to one, that this user made.
fn is_own_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|known| {
        known.file_type().is_socket() && known.uid() == nix::unistd::geteuid().as_raw()
    })
}

/// Locks a directory, which anybody who may read it can do, and keep.
fn lock(directory: &Path) -> Result<Flock<std::fs::File>, String> {
    let deadline = Instant::now() + LOCK;
    let mut file = std::fs::File::open(directory).map_err(|cause| cause.to_string())?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = back,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(format!(
                    "another program has held a lock on {} for {} s: end it, or name another path",
                    directory.display(),
                    LOCK.as_secs()
                ));
            }
            Err((_, cause)) => return Err(cause.to_string()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The server's thread; stopped and joined when dropped.
#[derive(Debug)]
pub struct Server {
    calls: Arc<Calls>,
    thread: Bounded,
}

/// What the engine wants of the thread.
#[derive(Debug)]
struct Calls {
    event: EventFd,
    stop: AtomicBool,
    /// How often it was to show that it lives, and how often it has.
    asked: AtomicU32,
    answered: AtomicU32,
}

impl Calls {
    fn ring(&self) {
        // Fails only if it has rung so often that it is heard anyway.
        let _ = self.event.write(1);
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
    pub fn start(endpoint: Endpoint, engine: Arc<dyn EngineHandle>) -> Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|cause| Error::system("cannot make an eventfd", cause))?;
        let calls = Arc::new(Calls {
            event,
            stop: AtomicBool::new(false),
            asked: AtomicU32::new(0),
            answered: AtomicU32::new(0),
        });
        let mut serving = Serving {
            endpoint: None,
            client: None,
            peers: Vec::new(),
            engine,
        };
        match endpoint {
            Endpoint::Service(socket) => serving.endpoint = Some(socket),
            Endpoint::Private(socket) => serving.adopt(socket)?,
        }
        let heard = calls.clone();
        let thread = Bounded::spawn("v2m-server", move |_| serving.run(&heard))?;
        Ok(Self { calls, thread })
    }

    /// Whether the thread has shown that it lives since this was asked last.
    pub fn answers(&self) -> bool {
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

struct Client {
    socket: OwnedFd,
    pid: i32,
    since: Instant,
    /// Has asked for something.
    known: bool,
    /// Waits for the status.
    asks: bool,
    holds: Option<Holds>,
}

/// What is known of a peer that holds the ring.
struct Holds {
    since: Instant,
    observes: bool,
    /// The quantum it asked for.
    latency: Option<Quantum>,
    /// What the kernel calls its program.
    program: Option<String>,
    reader_cursor: Option<RemoteCursor>,
}

impl Client {
    fn new(socket: OwnedFd, pid: i32) -> Self {
        Self {
            socket,
            pid,
            since: Instant::now(),
            known: false,
            asks: false,
            holds: None,
        }
    }

    /// For people: process and program.
    fn text(&self) -> String {
        let program = self.holds.as_ref().and_then(|holds| holds.program.clone());
        let program = program.or_else(|| program_of(self.pid));
        let program = program.as_deref().unwrap_or("an unknown program");
        format!("process {} ({program})", self.pid)
    }

    /// For the status, if it holds the ring.
    fn describe(&self) -> Option<ReaderStatus> {
        let holds = self.holds.as_ref()?;
        let reader_cursor = holds.reader_cursor.as_ref();
        let Note { position, name } = reader_cursor.map(RemoteCursor::look).unwrap_or_default();
        Some(ReaderStatus {
            pid: self.pid.try_into().unwrap_or(0),
            name: name.or_else(|| holds.program.clone()),
            age_s: holds.since.elapsed().as_secs_f64(),
            observes: holds.observes,
            position,
            lag: None,
            lag_ms: None,
        })
    }
}

struct Serving {
    endpoint: Option<ServiceSocket>,
    /// The one client's process, in a private engine.
    client: Option<OwnedFd>,
    peers: Vec<Client>,
    engine: Arc<dyn EngineHandle>,
}

impl Serving {
    /// A private engine's client. Its process is watched beside the connection,
    /// which a forked child of it may hold open.
    fn adopt(&mut self, socket: OwnedFd) -> Result<()> {
        let pid = protocol::peer_of_same_user(socket.as_fd())?;
        set_nonblocking(socket.as_fd())?;
        self.client = pidfd(pid);
        self.peers.push(Client {
            known: true,
            ..Client::new(socket, pid)
        });
        Ok(())
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
            waiting.extend(
                self.peers
                    .iter()
                    .map(|peer| PollFd::new(peer.socket.as_fd(), PollFlags::POLLIN)),
            );
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
            self.serve(&ready[first..]);
            if private && self.peers.is_empty() {
                self.engine.orphaned();
                return;
            }
            if !private && first > 1 && ready[1] {
                self.accept();
            }
        }
    }

    /// Answers the peers that said something and drops those that must go.
    fn serve(&mut self, ready: &[bool]) {
        let mut changed = false;
        let mut at = 0;
        let engine = self.engine.clone();
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
            match answer(peer, &*engine) {
                Ok(holds_now) => {
                    changed |= holds_now;
                    true
                }
                Err(error) => {
                    changed |= peer.holds.is_some();
                    dropped(peer, &error)
                }
            }
        });
        if self.peers.iter().any(|peer| peer.asks) {
            changed |= self.tell_status();
        }
        if changed {
            let holding = self.peers.iter().filter_map(|peer| peer.holds.as_ref());
            let count = holding.clone().count();
            let asking = holding.filter(|holds| !holds.observes);
            let asked: Vec<_> = asking.map(|holds| holds.latency).collect();
            self.engine.listeners(count, &asked);
        }
    }

    /// Answers those who asked for the status; whether one that holds the ring
    /// had to be dropped.
    fn tell_status(&mut self) -> bool {
        let holding = self.peers.iter().filter(|peer| peer.holds.is_some());
        let clients = holding.count();
        let described = self.peers.iter().filter_map(Client::describe);
        let readers = described.take(MAX_DESCRIBED).collect();
        let status = Box::new(self.engine.status(clients, readers));
        let reply = Reply::Status { status };
        let mut changed = false;
        self.peers.retain_mut(|peer| {
            if !std::mem::take(&mut peer.asks) {
                return true;
            }
            match protocol::send(peer.socket.as_fd(), &reply, None) {
                Ok(()) => true,
                Err(error) => {
                    changed |= peer.holds.is_some();
                    dropped(peer, &error)
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
            Ok(pid) => self.peers.push(Client::new(socket, pid)),
            Err(error) => tracing::warn!("{error}"),
        }
    }
}

/// Says that a peer is gone, or why it is dropped: it is not kept.
fn dropped(peer: &Client, error: &Error) -> bool {
    if error.kind() != ErrorKind::Unavailable {
        tracing::warn!("dropped {}: {error}", peer.text());
    } else if peer.holds.is_some() {
        tracing::info!("{} listens no more", peer.text());
    }
    false
}

/// Answers one request; whether the peer has got the ring by it.
fn answer(peer: &mut Client, engine: &dyn EngineHandle) -> Result<bool> {
    let Some(packet) = protocol::receive::<Request>(peer.socket.as_fd(), protocol::MAX_REQUEST)?
    else {
        return Ok(false);
    };
    peer.known = true;
    let socket = peer.socket.as_fd();
    match packet.message {
        Request::Open { version, .. } if version != protocol::VERSION => {
            let message = format!(
                "this engine speaks version {} of the protocol, the client {version}: install the same release of both",
                protocol::VERSION
            );
            protocol::send(socket, &Reply::Refused { message }, None)?;
            Ok(false)
        }
        Request::Open {
            latency, observe, ..
        } => {
            engine.opening();
            protocol::send(
                socket,
                &Reply::Opened {
                    source: engine.source(),
                    channel: engine.channel(),
                },
                Some(engine.ring()),
            )?;
            let again = peer.holds.replace(Holds {
                since: Instant::now(),
                observes: observe,
                latency,
                program: program_of(peer.pid),
                reader_cursor: packet.descriptor.and_then(RemoteCursor::accept),
            });
            if again.is_none() {
                tracing::info!("{} listens", peer.text());
            }
            Ok(true)
        }
        Request::Status {} => {
            peer.asks = true;
            Ok(false)
        }
    }
}

/// What the kernel calls a process's program; looked up while its connection
/// shows that the number is still its own.
fn program_of(pid: i32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    reader_cursor::printable(&name)
}

fn set_nonblocking(socket: BorrowedFd<'_>) -> Result<()> {
    fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map(|_| ())
        .map_err(|cause| Error::system("cannot change a socket", cause))
}

/// A descriptor that becomes readable when the process ends; none on kernels
/// before 5.3, where the connection's end has to do.
fn pidfd(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}
