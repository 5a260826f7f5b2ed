//! Audio that comes out of a pipe: a FIFO, or standard input. It comes when it comes, can't be
//! gone back in, and whoever writes may never do.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use v2m_files::{Kind, Place};

/// Milliseconds between two looks whether it shall end.
const LOOK: u8 = 100;

/// A pipe that is waited for until it is over, or `over` is set.
pub(super) struct Pipe {
    file: File,
    over: Arc<AtomicBool>,
}

impl Pipe {
    /// The pipe that `path` is, `-` being standard input; None if it is no pipe.
    pub(super) fn at(path: &Path, over: Arc<AtomicBool>) -> io::Result<Option<Self>> {
        if path.as_os_str() == "-" {
            let input = io::stdin();
            if input.is_terminal() {
                let why = "standard input is a terminal: lead audio into it, as in \
                           arecord | v2m-engine run --source file:-";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            let file = File::from(input.as_fd().try_clone_to_owned()?);
            return Ok(Some(Self { file, over }));
        }
        let found = Place::of(path)?.found;
        let Some(found) = found.filter(|found| found.kind() == Kind::Fifo) else {
            return Ok(None);
        };
        let file = found.open_at_once(OpenOptions::new().read(true))?;
        Ok(Some(Self { file, over }))
    }
}

impl Read for Pipe {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.over.load(Ordering::Acquire) {
                return Ok(0);
            }
            // Nobody has opened the other end yet, or says nothing: nothing is ready.
            let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, PollTimeout::from(LOOK))? > 0 {
                return self.file.read(bytes);
            }
        }
    }
}
