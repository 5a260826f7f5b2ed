//! A client's side: reach an engine, or start one, and map its ring.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, socketpair,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{Error, ErrorKind, Result};
use crate::protocol::{self, Packet, Reply, Request, Wanted};
use crate::quantum::Quantum;
use crate::reader_cursor::ReaderCursor;
use crate::ring::{Rate, Reader};
use crate::status::Status;

/// How long an engine may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Which libraries an engine is loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Libraries {
    /// The system's. A bundle (PyInstaller, AppImage) has its own program find the bundle's by
    /// `LD_LIBRARY_PATH`; an engine with these would not meet the system's PipeWire.
    System,
    /// Those that `LD_LIBRARY_PATH` leads this process to.
    Inherited,
}

impl Libraries {
    /// In the order in which they are tried.
    pub(crate) fn ways() -> &'static [Self] {
        match std::env::var_os("LD_LIBRARY_PATH") {
            Some(_) => &[Self::System, Self::Inherited],
            None => &[Self::System],
        }
    }
}

/// A connection to an engine. The engine counts its owner as listening while
/// it is open; a private engine ends with it.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// The private engine, reaped with its last connection.
    child: Option<Arc<PrivateEngine>>,
    /// The process that connected. A forked child of it holds the socket too,
    /// and must not end the engine of its parent.
    owner: u32,
    reader_cursor: Option<Arc<ReaderCursor>>,
    /// Its stream is read together with others.
    together: bool,
    /// Answers that came too late for who asked, and are still to come.
    late: u32,
}

/// An engine of this process.
#[derive(Debug)]
struct PrivateEngine {
    child: Mutex<Child>,
    /// The process that started it.
    owner: u32,
}

/// A stream that an engine gave.
#[derive(Debug)]
pub struct Opened {
    /// Its ring.
    pub ring: Reader,
    /// What is captured, as the engine says it.
    pub source: String,
    /// Which of its channels are heard, as the engine says it.
    pub channel: String,
}

/// Where the user's engine listens: `$V2M_ENGINE_SOCKET`, or
/// `$XDG_RUNTIME_DIR/v2m-engine/engine.sock`.
pub fn socket_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("V2M_ENGINE_SOCKET").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        Some(directory) => Ok(Path::new(&directory).join("v2m-engine/engine.sock")),
        None => Err(Error::new(
            ErrorKind::Unavailable,
            "there is no place for the engine's socket: set XDG_RUNTIME_DIR (a login does that) or V2M_ENGINE_SOCKET",
        )),
    }
}

impl Connection {
    /// Connects to the user's engine.
    ///
    /// Fails with [`ErrorKind::Unavailable`] if none runs.
    pub fn service() -> Result<Self> {
        Self::at(&socket_path()?)
    }

    /// Connects to the engine that listens at `path`, as [`service`](Self::service).
    pub fn at(path: &Path) -> Result<Self> {
        let unavailable = |cause: Errno| {
            let (kind, hint) = match cause {
                Errno::ENOENT | Errno::ECONNREFUSED => (
                    ErrorKind::Unavailable,
                    "no engine is running: start it with `v2m-engine run`",
                ),
                // Its queue of connections is full, and stays so.
                Errno::EAGAIN => (
                    ErrorKind::Timeout,
                    "it takes no connection within 5 s, it hangs or has too many clients: \
                     close some, or restart it",
                ),
                cause => (ErrorKind::Unavailable, cause.desc()),
            };
            let message = format!("cannot reach an engine at {}: {hint}", path.display());
            Error::new(kind, message)
        };
        let address = UnixAddr::new(path).map_err(unavailable)?;
        let socket = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map_err(unavailable)?;
        // Also bounds how long connecting may take.
        let limit = TimeVal::seconds(ANSWER.as_secs() as i64);
        setsockopt(&socket, SendTimeout, &limit).map_err(unavailable)?;
        loop {
            match connect(socket.as_raw_fd(), &address) {
                Err(Errno::EINTR) => {}
                done => break done.map_err(unavailable)?,
            }
        }
        // Not ours to use, but no reason to do without: one of this process may be.
        protocol::peer_of_same_user(socket.as_fd())
            .map_err(|error| Error::new(ErrorKind::Unavailable, error.to_string()))?;
        Ok(Self {
            socket,
            child: None,
            owner: std::process::id(),
            reader_cursor: None,
            together: false,
            late: 0,
        })
    }

    /// Starts `program` as an engine for this process alone, with further
    /// `arguments` for its `run` command. It ends when the connection is dropped
    /// or this process dies, and leaves nothing behind.
    pub fn private(program: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Self> {
        Self::private_with(program, arguments, Libraries::System)
    }

    /// The same, with these libraries.
    pub(crate) fn private_with(
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        libraries: Libraries,
    ) -> Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(|cause| Error::system("cannot make a socket pair", cause))?;
        let mut command = Command::new(program);
        command
            .arg("run")
            .args(arguments)
            .arg("--private")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // A Ctrl-C in the terminal is for the client; it decides.
            .process_group(0);
        if libraries == Libraries::System {
            match std::env::var_os("LD_LIBRARY_PATH_ORIG") {
                Some(before) => command.env("LD_LIBRARY_PATH", before),
                None => command.env_remove("LD_LIBRARY_PATH"),
            };
        }
        let child = command.spawn().map_err(|cause| {
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "cannot start {}: {cause}; install v2m-engine or set V2M_ENGINE_BIN",
                    program.display()
                ),
            )
        })?;
        Ok(Self {
            socket: ours,
            child: Some(Arc::new(PrivateEngine {
                child: Mutex::new(child),
                owner: std::process::id(),
            })),
            owner: std::process::id(),
            reader_cursor: None,
            together: false,
            late: 0,
        })
    }

    /// Asks for the stream that the engine is configured for, at 16 kHz; what it captures
    /// comes with it.
    pub fn open(&mut self, latency: Option<Quantum>) -> Result<(Reader, String)> {
        let opened = self.open_stream(&Wanted::default(), latency, false)?;
        Ok((opened.ring, opened.source))
    }

    /// Another connection to the same engine, for another stream.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the engine is gone, or has no room.
    pub fn another(&mut self) -> Result<Self> {
        let packet = self.ask(&Request::Connect {}, None, ANSWER)?;
        match (packet.message, packet.descriptor) {
            (Reply::Connected {}, Some(socket)) => Ok(Self {
                socket,
                child: self.child.clone(),
                owner: std::process::id(),
                reader_cursor: None,
                together: false,
                late: 0,
            }),
            (Reply::Refused { message, kind }, _) => Err(kind.error(&message)),
            _ => Err(unasked()),
        }
    }

    /// Where to note how far this client has read, for the engine's status; it
    /// exists from the first [`open`](Self::open) on. None if the system gives no
    /// memory for it: then the status says that it doesn't know.
    pub fn reader_cursor(&self) -> Option<Arc<ReaderCursor>> {
        self.reader_cursor.clone()
    }

    /// Asks for a stream, which takes the place of the one before. Where the client only
    /// looks on (`observe`), what the engine asks of the graph stays as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Device`]: the source can't be had; [`ErrorKind::Unavailable`]: the engine
    /// can't give more; [`ErrorKind::Protocol`]: it gave something else;
    /// [`ErrorKind::Invalid`]: no engine takes names as long as that.
    pub fn open_stream(
        &mut self,
        wanted: &Wanted,
        latency: Option<Quantum>,
        observe: bool,
    ) -> Result<Opened> {
        if self.reader_cursor.is_none() {
            self.reader_cursor = ReaderCursor::of_this_process().ok().map(Arc::new);
        }
        let request = Request::Open {
            version: protocol::VERSION,
            wanted: wanted.clone(),
            latency,
            observe,
            together: self.together,
        };
        let reader_cursor = self.reader_cursor.clone();
        let reader_cursor = reader_cursor.as_ref().map(|cursor| cursor.descriptor());
        let packet = self.ask(&request, reader_cursor, ANSWER)?;
        match (packet.message, packet.descriptor) {
            (
                Reply::Opened {
                    source, channel, ..
                },
                Some(file),
            ) => {
                let ring = Reader::new(file)?;
                let asked = wanted.rate.unwrap_or(Rate::SPEECH.hz());
                if ring.rate().hz() != asked {
                    let message = format!(
                        "the engine gave a stream of {} Hz, not the {asked} Hz asked for",
                        ring.rate()
                    );
                    return Err(Error::new(ErrorKind::Protocol, message));
                }
                Ok(Opened {
                    ring,
                    source,
                    channel,
                })
            }
            (Reply::Refused { message, kind }, _) => Err(kind.error(&message)),
            _ => Err(unasked()),
        }
    }

    /// Asks once more for the stream that it has, to be read together with others that are
    /// asked for so.
    pub(crate) fn together(&mut self, wanted: &Wanted, latency: Option<Quantum>) -> Result<()> {
        self.together = true;
        self.open_stream(wanted, latency, false).map(drop)
    }

    pub fn status(&mut self) -> Result<Status> {
        self.status_within(ANSWER)
    }

    /// As [`status`](Self::status), for who can't wait so long for an engine that hangs.
    pub fn status_within(&mut self, limit: Duration) -> Result<Status> {
        match self.ask(&Request::Status {}, None, limit)?.message {
            Reply::Status { status } => Ok(*status),
            Reply::Refused { message, kind } => Err(kind.error(&message)),
            _ => Err(unasked()),
        }
    }

    fn ask(
        &mut self,
        request: &Request,
        descriptor: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> Result<Packet<Reply>> {
        let length = serde_json::to_vec(request).map_or(0, |bytes| bytes.len());
        if length > protocol::MAX_REQUEST {
            let message = format!(
                "the names of source and channel have {length} bytes, {} at most can be asked for: \
                 give a file a shorter one by a link",
                protocol::MAX_REQUEST
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        // An engine that refuses before it is asked hangs up as well. The kernel
        // reports that first, once, and gives its words afterwards.
        let mut reported = protocol::send(self.socket.as_fd(), request, descriptor).is_err();
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, timeout) {
                Err(Errno::EINTR) => {}
                Ok(0) => {
                    self.late += 1;
                    let message =
                        format!("the engine did not answer within {} s", limit.as_secs_f32());
                    return Err(Error::new(ErrorKind::Timeout, message));
                }
                Ok(_) => match protocol::receive(self.socket.as_fd(), protocol::MAX_REPLY) {
                    Ok(Some(_)) if self.late > 0 => self.late -= 1,
                    Ok(Some(packet)) => return Ok(packet),
                    Ok(None) => {}
                    Err(error) if !reported && error.kind() == ErrorKind::Unavailable => {
                        reported = true;
                    }
                    Err(error) => return Err(self.explain_end(error)),
                },
                Err(cause) => return Err(Error::system("cannot wait for the engine", cause)),
            }
        }
    }

    /// A private engine that ended says why on standard error; point there. One
    /// that could not even be loaded is [`ErrorKind::System`].
    fn explain_end(&mut self, error: Error) -> Error {
        let Some(child) = &self.child else {
            return error;
        };
        if error.kind() != ErrorKind::Unavailable {
            return error;
        }
        // It hung up, so it is about to end.
        let deadline = Instant::now() + Duration::from_secs(1);
        let status = loop {
            match child.lock().try_wait() {
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                status => break status.ok().flatten(),
            }
        };
        // How the loader ends a program whose libraries it can't find.
        if status.and_then(|status| status.code()) == Some(127) {
            let message = "a library that it needs is missing, too old, or another's of that name; \
                standard error names it: install libpipewire-0.3-0 and libasound2 (Debian) or \
                pipewire-libs and alsa-lib (Fedora)";
            return Error::new(ErrorKind::System, message);
        }
        let message = "the private engine ended at once; its reason is on standard error";
        Error::new(ErrorKind::Unavailable, message)
    }

    /// Whether the engine has closed the connection (stopped, or died).
    pub fn is_closed(&self) -> bool {
        let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let closed = PollFlags::POLLHUP | PollFlags::POLLERR;
        matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1) if ready[0].revents().is_some_and(|r| r.intersects(closed)))
    }

    /// The socket: readable or hung up once the engine is gone.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Process id of the private engine, if this connection started one.
    pub fn private_pid(&self) -> Option<u32> {
        self.child.as_ref().map(|child| child.lock().id())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The engine lets go of us, or ends by itself when its last peer hangs up. A forked
        // child must not hang up for its parent.
        if self.owner == std::process::id() {
            let _ = nix::sys::socket::shutdown(
                self.socket.as_raw_fd(),
                nix::sys::socket::Shutdown::Both,
            );
        }
    }
}

impl PrivateEngine {
    fn lock(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + Duration::from_secs(1);
        while let Ok(None) = child.try_wait() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn unasked() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the engine answered something else than asked",
    )
}
