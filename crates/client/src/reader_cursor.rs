//! How far a reader has read, noted in a little memory of its own. It hands that
//! to the engine with `open` and stores its position there as it goes; the engine
//! looks only when somebody asks for its status, and believes nothing in it.
//!
//! So lag can be shown although the writer knows no reader: a note is one store
//! for the reader and nothing for the engine. The layout is in `docs/ring-layout.md`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use nix::sys::uio::{pread, pwrite};

use crate::error::{Error, Result};
use crate::text;
use v2m_ring::shm::{self, ALIGNMENT, Access, Map, Section};

const MAGIC: [u8; 8] = *b"v2m-mark";
const VERSION: u32 = 1;
/// Byte offsets.
mod at {
    pub(super) const VERSION: usize = 0x08;
    pub(super) const POSITION: usize = 0x10;
    pub(super) const NAME: usize = 0x40;
}
/// Bytes of the name, zeros behind it.
const NAME: usize = 64;
/// Bytes of a reader cursor that mean something.
pub const BYTES: usize = at::NAME + NAME;
/// Nothing read yet.
const NOWHERE: u64 = u64::MAX;

/// A reader's own: where it notes how far it has read.
#[derive(Debug)]
pub struct ReaderCursor {
    map: Map,
    file: OwnedFd,
}

impl ReaderCursor {
    /// The cursor of a reader that calls itself `name` (cut at 64 bytes).
    pub fn new(name: &str) -> Result<Self> {
        let file = shm::create("v2m-cursor", ALIGNMENT)?;
        let mut bytes = [0; BYTES];
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        bytes[at::VERSION..at::VERSION + 4].copy_from_slice(&VERSION.to_ne_bytes());
        bytes[at::POSITION..at::POSITION + 8].copy_from_slice(&NOWHERE.to_ne_bytes());
        let name = &name.as_bytes()[..name.len().min(NAME)];
        bytes[at::NAME..at::NAME + name.len()].copy_from_slice(name);
        match pwrite(file.as_fd(), &bytes, 0) {
            Ok(BYTES) => {}
            Ok(_) => return Err(Error::system("cannot write a reader's cursor", "cut short")),
            Err(cause) => return Err(Error::system("cannot write a reader's cursor", cause)),
        }
        let section = Section {
            offset: 0,
            length: ALIGNMENT,
            mirrored: false,
        };
        let map = Map::new(file.as_fd(), &[section], Access::Write)?;
        shm::seal(file.as_fd())?;
        Ok(Self { map, file })
    }

    /// A cursor named after this process: its program and, where there is one,
    /// the script or command that it runs.
    pub fn of_this_process() -> Result<Self> {
        Self::new(&program(std::env::args_os().map(|argument| {
            // Lossy: a name is for people.
            argument.to_string_lossy().into_owned()
        })))
    }

    /// Notes that everything before `position` was read. Costs one store.
    #[inline]
    pub fn reached(&self, position: u64) {
        let word = self.map.word(0, at::POSITION);
        word.store(position, Ordering::Relaxed);
    }

    /// The descriptor to hand to the engine.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What a process is called: the program's name, and the first argument's unless
/// that is an option.
fn program(mut arguments: impl Iterator<Item = String>) -> String {
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let program = arguments.next().map(|path| base(&path)).unwrap_or_default();
    match arguments.next().filter(|first| !first.starts_with('-')) {
        Some(first) => format!("{program} {}", base(&first)),
        None => program,
    }
}

/// A reader cursor as the engine holds it: a descriptor from a process that may put
/// anything there at any time.
#[derive(Debug)]
pub struct RemoteCursor(OwnedFd);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CursorReport {
    /// Everything before this was read, says the reader.
    pub position: Option<u64>,
    /// Its name, fit to be printed.
    pub name: Option<String>,
}

impl RemoteCursor {
    /// Accepts a descriptor if it is sealed memory: not a file or a pipe, where
    /// looking could mean waiting.
    pub fn accept(file: OwnedFd) -> Option<Self> {
        shm::check_sealed(file.as_fd()).ok()?;
        let bytes = shm::file_size(file.as_fd()).ok()?;
        (bytes >= BYTES).then_some(Self(file))
    }

    /// What stands there now. Read, not mapped: nothing that the other side does
    /// to its memory can be a fault here.
    pub fn look(&self) -> CursorReport {
        let mut bytes = [0; BYTES];
        match pread(self.0.as_fd(), &mut bytes, 0) {
            Ok(BYTES) => parse(&bytes),
            _ => CursorReport::default(),
        }
    }
}

/// Parses a copy of a reader cursor. Whatever it is, the note holds nothing that
/// could not be printed.
pub fn parse(bytes: &[u8; BYTES]) -> CursorReport {
    let version = &bytes[at::VERSION..at::VERSION + 4];
    if bytes[..MAGIC.len()] != MAGIC || version != VERSION.to_ne_bytes() {
        return CursorReport::default();
    }
    let position = bytes[at::POSITION..at::POSITION + 8].try_into();
    let position = u64::from_ne_bytes(position.expect("eight bytes"));
    CursorReport {
        position: (position != NOWHERE).then_some(position),
        name: printable(&bytes[at::NAME..]),
    }
}

/// A name from elsewhere: up to the first zero, fit to be shown; None if it is empty.
pub fn printable(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&byte| byte == 0);
    let name = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]);
    let name = text::printable(name.trim(), NAME);
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_seen() {
        let cursor = ReaderCursor::new("reader one").unwrap();
        let handed =
            RemoteCursor::accept(cursor.descriptor().try_clone_to_owned().unwrap()).unwrap();
        let name = Some("reader one".to_owned());
        let nothing = CursorReport {
            position: None,
            name: name.clone(),
        };
        assert_eq!(handed.look(), nothing);
        for position in [0, 1, 1 << 40, u64::MAX - 1] {
            cursor.reached(position);
            let position = Some(position);
            let name = name.clone();
            assert_eq!(handed.look(), CursorReport { position, name });
        }
        drop(cursor);
        assert_eq!(handed.look().position, Some(u64::MAX - 1));
    }

    #[test]
    fn only_sealed_memory_of_the_right_size_is_accepted() {
        let loose = shm::create("loose", ALIGNMENT).unwrap();
        assert!(RemoteCursor::accept(loose).is_none());
        let small = shm::create("small", BYTES - 1).unwrap();
        shm::seal(small.as_fd()).unwrap();
        assert!(RemoteCursor::accept(small).is_none());
        for path in ["/dev/zero", "/proc/self/exe"] {
            let file = std::fs::File::open(path).unwrap();
            assert!(RemoteCursor::accept(file.into()).is_none(), "{path}");
        }
        let (pipe, _) = nix::unistd::pipe().unwrap();
        assert!(RemoteCursor::accept(pipe).is_none());
    }

    #[test]
    fn a_cursor_that_lies_gives_nothing_dangerous() {
        let mut bytes = [0xff; BYTES];
        assert_eq!(parse(&bytes), CursorReport::default());
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&2_u32.to_ne_bytes());
        assert_eq!(parse(&bytes), CursorReport::default());
        bytes[8..12].copy_from_slice(&VERSION.to_ne_bytes());
        let evil = b"\x1b]0;owned\x07\r\nroot\xe2\x80\xae\xff\xfe";
        bytes[at::NAME..].fill(0);
        bytes[at::NAME..at::NAME + evil.len()].copy_from_slice(evil);
        assert_eq!(
            parse(&bytes).name.unwrap(),
            "\u{fffd}]0;owned\u{fffd}  root\u{fffd}\u{fffd}\u{fffd}"
        );
        bytes[at::NAME..].fill(b'x');
        assert_eq!(parse(&bytes).name.unwrap().len(), 64);
        bytes[at::NAME] = 0;
        assert_eq!(parse(&bytes).name, None);
    }

    #[test]
    fn a_process_is_named_by_what_it_runs() {
        let name = |words: &[&str]| program(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(
            name(&["/usr/bin/python3", "demo/live.py", "-v"]),
            "python3 live.py"
        );
        assert_eq!(name(&["python3", "-c", "print()"]), "python3");
        assert_eq!(name(&["v2m-engine", "monitor"]), "v2m-engine monitor");
        assert_eq!(name(&[]), "");
    }
}
