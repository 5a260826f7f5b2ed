//! Files by names that others may have had a hand in: found first, looked at by the
//! descriptor, and only then opened, the very one that was looked at.
//!
//! Finding touches nothing (O_PATH): no FIFO is waited for, no device starts.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, readlinkat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::geteuid;

/// Links that are followed from one name, as the kernel does.
const LINKS: usize = 40;

/// What kind of file a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Regular,
    /// A named pipe, or an end of one without a name.
    Fifo,
    /// A terminal, `/dev/null` and their like.
    CharacterDevice,
    Directory,
    /// A disk, a socket, or what the kernel may come up with.
    Other,
}

impl Kind {
    /// In words, with an article.
    pub fn text(self) -> &'static str {
        match self {
            Self::Regular => "a regular file",
            Self::Fifo => "a FIFO",
            Self::CharacterDevice => "a device",
            Self::Directory => "a directory",
            Self::Other => "a disk or a socket",
        }
    }
}

/// A file that was found and not opened yet.
#[derive(Debug)]
pub struct Found {
    handle: File,
    known: Metadata,
    path: PathBuf,
    /// It is open in a process of ours already, which `/proc` led to.
    handed: bool,
}

#[derive(Debug)]
pub struct Place {
    /// The name at the end of all links.
    pub path: PathBuf,
    /// What is there; None if nothing is.
    pub found: Option<Found>,
}

impl Place {
    /// Follows a name to its end. Of links, only those that this user or root made:
    /// another user's could lead to any file of ours.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            let Some(handle) = handle(&path, libc::O_NOFOLLOW)? else {
                return Ok(Self { path, found: None });
            };
            let known = handle.metadata()?;
            if !known.is_symlink() {
                let found = Some(Found::new(handle, known, &path, false));
                return Ok(Self { path, found });
            }
            // A process's own descriptor: its text names nothing.
            if fstatfs(&handle)?.filesystem_type() == PROC_SUPER_MAGIC
                && let Some(handle) = self::handle(&path, 0)?
            {
                let known = handle.metadata()?;
                let found = Some(Found::new(handle, known, &path, true));
                return Ok(Self { path, found });
            }
            if !is_trusted(&known) {
                return Err(refused(format!(
                    "it is a link that user {} made: name the file itself",
                    known.uid()
                )));
            }
            let target = readlinkat(&handle, "")?;
            path = folder_of(&path).join(target);
        }
        Err(Errno::ELOOP.into())
    }
}

impl Found {
    fn new(handle: File, known: Metadata, path: &Path, handed: bool) -> Self {
        Self {
            handle,
            known,
            path: path.to_owned(),
            handed,
        }
    }

    pub fn kind(&self) -> Kind {
        let kind = self.known.file_type();
        match () {
            () if kind.is_file() => Kind::Regular,
            () if kind.is_fifo() => Kind::Fifo,
            () if kind.is_char_device() => Kind::CharacterDevice,
            () if kind.is_dir() => Kind::Directory,
            () => Kind::Other,
        }
    }

    /// Whether what is written there stays with this user, as far as its owner tells: it
    /// is this user's own, or was given to this process open. A device is root's to make.
    pub fn is_own(&self) -> bool {
        match self.kind() {
            Kind::Regular => self.handed || self.known.uid() == geteuid().as_raw(),
            Kind::CharacterDevice => true,
            _ => self.handed || is_trusted(&self.known),
        }
    }

    /// Whether nobody but this user and root can have put there what is read.
    pub fn is_trusted(&self) -> bool {
        is_trusted(&self.known) && self.known.mode() & 0o002 == 0
    }

    /// The owner's user id.
    pub fn owner(&self) -> u32 {
        self.known.uid()
    }

    /// Opens what was found. A FIFO is waited for until its other end is open, too.
    pub fn open(&self, options: &mut OpenOptions) -> io::Result<File> {
        self.open_with(options.custom_flags(libc::O_NOCTTY))
    }

    /// Opens what was found, and waits for nobody: a FIFO that nobody reads can't be opened
    /// for writing (ENXIO).
    pub fn open_at_once(&self, options: &mut OpenOptions) -> io::Result<File> {
        let file = self.open_with(options.custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK))?;
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
        Ok(file)
    }

    fn open_with(&self, options: &OpenOptions) -> io::Result<File> {
        let known_as = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        match options.open(known_as) {
            // Not every sandbox has a /proc.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let file = options.open(&self.path)?;
                let now = file.metadata()?;
                match (now.dev(), now.ino()) == (self.known.dev(), self.known.ino()) {
                    true => Ok(file),
                    false => Err(refused("it was exchanged just now: try again".into())),
                }
            }
            result => result,
        }
    }
}

/// Finds a regular file that `path` leads to, over whoever's links.
pub fn regular(path: &Path) -> io::Result<Found> {
    let handle = handle(path, 0)?.ok_or(Errno::ENOENT)?;
    let known = handle.metadata()?;
    let found = Found::new(handle, known, path, false);
    match found.kind() {
        Kind::Regular => Ok(found),
        kind => Err(refused(format!(
            "it is {}, not a regular file",
            kind.text()
        ))),
    }
}

/// Opens a regular file for reading. One of the kernel's that has nothing to say yet
/// (`/proc/kmsg`) fails instead of being waited for.
pub fn open(path: &Path) -> io::Result<File> {
    open_found(&regular(path)?)
}

fn open_found(found: &Found) -> io::Result<File> {
    let file = found.open(OpenOptions::new().read(true))?;
    fcntl(file.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// Reads a regular file of at most `longest` bytes.
pub fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    read_found(&regular(path)?, longest)
}

/// Reads a file that was found, of at most `longest` bytes.
pub fn read_found(found: &Found, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_found(found)?;
    file.take(longest + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > longest {
        true => Err(refused(format!("it is longer than {longest} bytes"))),
        false => Ok(bytes),
    }
}

/// Writes a file of this user's, which may exist.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write;
    let place = Place::of(path)?;
    let mut options = OpenOptions::new();
    let mut file = match &place.found {
        None => options.write(true).create_new(true).open(&place.path)?,
        Some(found) if found.is_own() && found.kind() != Kind::Other => {
            let file = found.open(options.write(true))?;
            if found.kind() == Kind::Regular {
                file.set_len(0)?;
            }
            file
        }
        Some(found) => return Err(foreign(found)),
    };
    file.write_all(bytes)
}

/// Why a file is not written to.
pub fn foreign(found: &Found) -> io::Error {
    refused(format!(
        "it is {} of user {}, who would get what is written: choose another name",
        found.kind().text(),
        found.owner()
    ))
}

pub fn folder_of(path: &Path) -> &Path {
    let folder = path.parent();
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

fn is_trusted(known: &Metadata) -> bool {
    known.uid() == 0 || known.uid() == geteuid().as_raw()
}

/// What a name stands for, without opening it; None if nothing is there.
fn handle(path: &Path, flags: i32) -> io::Result<Option<File>> {
    if path.as_os_str().as_bytes().is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_PATH | flags);
    match options.open(path) {
        Ok(handle) => Ok(Some(handle)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}
