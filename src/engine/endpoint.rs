//! Where the engine's clients come from: a socket of its own, one from systemd, or the one
//! client of a private engine.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};

use v2m_error::{Error, ErrorKind, Result};

/// How long another engine may take to bind its socket.
const LOCK: Duration = Duration::from_secs(5);

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
    pub(super) socket: OwnedFd,
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

pub(super) fn set_nonblocking(socket: BorrowedFd<'_>) -> Result<()> {
    fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map(|_| ())
        .map_err(|cause| Error::system("cannot change a socket", cause))
}
