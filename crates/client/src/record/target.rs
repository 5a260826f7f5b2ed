//! Where a recording goes: opening it, and noticing that it was removed. Nobody but this
//! user and root gets to hear it by the name's having been prepared for that.
//!
//! A file has its name only once its head is on the disk: neither a kill nor a power
//! loss leaves one that says nothing of itself.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind as Io, Seek};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl};
use nix::unistd::linkat;

use crate::error::{Error, ErrorKind, Result};
use crate::files::{self, Found, Kind, Place, folder_of};

/// Standard output, as a path.
pub(super) const STDOUT: &str = "-";
/// A recording's mode, less what the umask takes: what was heard is its user's.
const MODE: u32 = 0o600;

pub(super) enum Target {
    /// A regular file, which can be written anywhere.
    File(File),
    /// A pipe or a device: written on and on, and never overwritten.
    Pipe(File),
    /// A FIFO, which can be opened as soon as somebody reads it.
    Fifo(Box<Found>),
}

/// Opens a target; a file that exists only if it may be overwritten. A file begins
/// with `head`.
pub(super) fn open(path: &Path, overwrite: bool, head: &[u8]) -> Result<Target> {
    if path.as_os_str() == STDOUT {
        return standard_output(head);
    }
    let failed = |cause: io::Error| {
        let message = match cause.kind() {
            Io::AlreadyExists => format!(
                "{} exists already: choose another name, or say that it may be overwritten \
                 (--overwrite, overwrite=True)",
                path.display()
            ),
            Io::IsADirectory => format!("{} is a directory: name a file", path.display()),
            _ => format!("cannot write {}: {cause}", path.display()),
        };
        let kind = match cause.kind() {
            Io::AlreadyExists | Io::IsADirectory | Io::NotFound => ErrorKind::Invalid,
            _ => ErrorKind::System,
        };
        Error::new(kind, message)
    };
    open_path(path, overwrite, head).map_err(failed)
}

fn open_path(path: &Path, overwrite: bool, head: &[u8]) -> io::Result<Target> {
    let place = Place::of(path)?;
    let Some(found) = place.found else {
        // A link that leads nowhere yet is there, too.
        if place.path != path && !overwrite {
            return Err(Errno::EEXIST.into());
        }
        let file = create(&place.path, |file| file.write_all_at(head, 0))?;
        return Ok(Target::File(file));
    };
    let kind = found.kind();
    match kind {
        Kind::Directory => return Err(Errno::EISDIR.into()),
        // Whoever owns it would hear what is recorded.
        _ if !found.is_own() || kind == Kind::Other => return Err(files::foreign(&found)),
        Kind::Regular if !overwrite => return Err(Errno::EEXIST.into()),
        _ => {}
    }
    let mut options = OpenOptions::new();
    match kind {
        Kind::Fifo => Ok(Target::Fifo(found.into())),
        Kind::Regular => {
            let file = found.open(options.read(true).write(true))?;
            replace(&file, head)?;
            Ok(Target::File(file))
        }
        _ => Ok(Target::Pipe(found.open_at_once(options.write(true))?)),
    }
}

/// Makes a file that holds what `fill` writes into it before anybody sees it.
fn create(path: &Path, fill: impl Fn(&File) -> io::Result<()>) -> io::Result<File> {
    let file = match nameless(path) {
        Ok(file) => {
            fill(&file)?;
            file.sync_all()?;
            match give_name(&file, path) {
                Ok(()) => Some(file),
                Err(Errno::EEXIST) => return Err(Errno::EEXIST.into()),
                Err(_) => None,
            }
        }
        Err(_) => None,
    };
    // Not every file system has files without a name, nor every sandbox a /proc to name
    // them by: then the name comes first.
    let file = match file {
        Some(file) => file,
        None => {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create_new(true);
            let file = options.mode(MODE).open(path)?;
            fill(&file)
                .and_then(|()| file.sync_all())
                .inspect_err(|_| drop(std::fs::remove_file(path)))?;
            file
        }
    };
    keep_name(path);
    Ok(file)
}

fn nameless(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).mode(MODE);
    options.custom_flags(libc::O_TMPFILE).open(folder_of(path))
}

fn give_name(file: &File, path: &Path) -> nix::Result<()> {
    let known_as = format!("/proc/self/fd/{}", file.as_raw_fd());
    let follow = AtFlags::AT_SYMLINK_FOLLOW;
    linkat(AT_FDCWD, &*known_as, AT_FDCWD, path, follow)
}

/// Makes a recording of a file that exists. The head goes first: whatever else is still
/// there then, the file claims nothing of it.
fn replace(file: &File, head: &[u8]) -> io::Result<()> {
    file.write_all_at(head, 0)?;
    file.set_len(head.len() as u64)?;
    file.sync_all()
}

fn standard_output(head: &[u8]) -> Result<Target> {
    let failed =
        |cause: &dyn std::fmt::Display| Error::system("cannot write to standard output", cause);
    let file = std::io::stdout().as_fd().try_clone_to_owned();
    let mut file = File::from(file.map_err(|cause| failed(&cause))?);
    let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(|cause| failed(&cause))?;
    let append = OFlag::from_bits_retain(flags).contains(OFlag::O_APPEND);
    let regular = file.metadata().is_ok_and(|known| known.is_file());
    // `> out.wav` is as good as a name; `>> out.wav` is not.
    let is_file = regular && !append && file.stream_position().is_ok_and(|at| at == 0);
    if is_file {
        file.write_all_at(head, 0).map_err(|cause| failed(&cause))?;
        return Ok(Target::File(file));
    }
    Ok(Target::Pipe(file))
}

/// Brings a new file's name to the disk, as far as the file system can; a sync of the
/// file need not.
fn keep_name(path: &Path) {
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
}

/// Whether no name leads to this file any more.
pub(super) fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|known| known.nlink() == 0)
}

/// Makes a removed file once more, by its name or, if that is taken, by one like
/// it, with its first `bytes`.
pub(super) fn restore(path: &Path, old: &File, bytes: u64) -> io::Result<(File, PathBuf)> {
    let copy = |new: &File| {
        let (mut from, mut to) = (old, new);
        from.rewind()?;
        to.rewind()?;
        io::copy(&mut io::Read::take(from, bytes), &mut to).map(drop)
    };
    match create(path, copy) {
        Err(cause) if cause.kind() == Io::AlreadyExists => {
            let part = |part: Option<&std::ffi::OsStr>| {
                part.unwrap_or_default().to_string_lossy().into_owned()
            };
            let (stem, extension) = (part(path.file_stem()), part(path.extension()));
            let now = super::moment::Moment::now();
            let path = path.with_file_name(format!("{stem}-{}.{extension}", now.file_name()));
            Ok((create(&path, copy)?, path))
        }
        result => Ok((result?, path.to_owned())),
    }
}
