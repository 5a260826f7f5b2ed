//! Where a recording goes: opening it, and noticing that it was removed.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as Io, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::error::{Error, ErrorKind, Result};

/// Standard output, as a path.
pub(super) const STDOUT: &str = "-";

/// An opened target.
pub(super) struct Target {
    pub(super) file: File,
    /// A regular file, which can be written anywhere; else a pipe or the like.
    pub(super) is_file: bool,
}

/// Opens a target; a file that exists only if it may be overwritten.
pub(super) fn open(path: &Path, overwrite: bool) -> Result<Target> {
    if path.as_os_str() == STDOUT {
        return standard_output();
    }
    let failed = |cause: std::io::Error| {
        let message = match cause.kind() {
            Io::AlreadyExists => format!(
                "{} exists already: choose another name, or say that it may be overwritten",
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
    // A named pipe or a device is written to, and can't be overwritten.
    let special = path.metadata().ok().filter(|known| {
        let kind = known.file_type();
        kind.is_fifo() || kind.is_char_device()
    });
    if special.is_some() {
        let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        return Ok(Target {
            file,
            is_file: false,
        });
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match overwrite {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let file = options.open(path).map_err(failed)?;
    keep_name(path);
    Ok(Target {
        file,
        is_file: true,
    })
}

fn standard_output() -> Result<Target> {
    let failed =
        |cause: &dyn std::fmt::Display| Error::system("cannot write to standard output", cause);
    let file = std::io::stdout().as_fd().try_clone_to_owned();
    let mut file = File::from(file.map_err(|cause| failed(&cause))?);
    let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(|cause| failed(&cause))?;
    let append = OFlag::from_bits_retain(flags).contains(OFlag::O_APPEND);
    let regular = file.metadata().is_ok_and(|known| known.is_file());
    // `> out.wav` is as good as a name; `>> out.wav` is not.
    let is_file = regular && !append && file.stream_position().is_ok_and(|at| at == 0);
    Ok(Target { file, is_file })
}

/// Brings a new file's name to the disk, as far as the file system can; a sync of the
/// file need not.
fn keep_name(path: &Path) {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let _ = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
}

/// Whether no name leads to this file any more.
pub(super) fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|known| known.nlink() == 0)
}

/// Makes a removed file once more, by its name or, if that is taken, by one like
/// it, with its first `bytes`.
pub(super) fn restore(path: &Path, old: &File, bytes: u64) -> std::io::Result<(File, PathBuf)> {
    let mut path = path.to_owned();
    let create = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
    };
    let new = match create(&path) {
        Err(cause) if cause.kind() == Io::AlreadyExists => {
            let stem = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let extension = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let now = super::moment::Moment::of_monotonic(crate::time::monotonic_ns());
            path.set_file_name(format!("{stem}-{}.{extension}", now.file_name()));
            create(&path)?
        }
        result => result?,
    };
    let mut from = old;
    from.rewind()?;
    match std::io::copy(&mut std::io::Read::take(from, bytes), &mut &new) {
        Ok(_) => {
            keep_name(&path);
            Ok((new, path))
        }
        Err(cause) => {
            let _ = std::fs::remove_file(&path);
            Err(cause)
        }
    }
}
