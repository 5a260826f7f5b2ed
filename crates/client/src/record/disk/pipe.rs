//! Pipes, terminals, devices: written on and on, never waited for longer than
//! asked. A reader that stalls, or has not come yet, leaves the audio in the ring.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::{Done, Operation, wait_for};
use crate::error::Result;
use crate::files::Found;

/// POSIX's PIPE_BUF on Linux: a pipe that is ready takes as much without waiting.
/// (Making the descriptor non-blocking would make it so for everybody who has it.)
const PORTION: usize = 4096;

/// How often it is tried whether somebody reads a FIFO by now.
const LOOK: Duration = Duration::from_millis(50);

pub(in crate::record) struct Pipe {
    end: End,
    steps: Vec<Operation>,
    /// Of the step under way.
    written: usize,
    done: Done,
}

enum End {
    Open(File),
    /// Nobody has read it yet.
    Unread(Box<Found>),
}

impl End {
    /// What to write to, once there is a reader.
    fn open(&mut self) -> nix::Result<Option<&File>> {
        if let Self::Unread(fifo) = self {
            match fifo.open_at_once(OpenOptions::new().write(true)) {
                Ok(file) => *self = Self::Open(file),
                Err(cause) => match Errno::from_raw(cause.raw_os_error().unwrap_or(libc::EPERM)) {
                    Errno::ENXIO | Errno::EINTR => {}
                    cause => return Err(cause),
                },
            }
        }
        Ok(match self {
            Self::Open(file) => Some(file),
            Self::Unread(_) => None,
        })
    }
}

impl Pipe {
    pub(super) fn new(file: File) -> Self {
        Self::to(End::Open(file))
    }

    pub(super) fn fifo(fifo: Box<Found>) -> Self {
        Self::to(End::Unread(fifo))
    }

    fn to(end: End) -> Self {
        Self {
            end,
            steps: Vec::new(),
            written: 0,
            done: Done::new(),
        }
    }

    pub(super) fn is_unread(&self) -> bool {
        matches!(self.end, End::Unread(_))
    }

    pub(super) fn start(&mut self, steps: Vec<Operation>) {
        (self.steps, self.written) = (steps, 0);
        self.done.clear();
        self.go_on();
    }

    pub(super) fn take(&mut self) -> Option<Done> {
        let ended = !self.steps.is_empty() && self.done.len() == self.steps.len();
        ended.then(|| {
            self.steps.clear();
            std::mem::take(&mut self.done)
        })
    }

    pub(super) fn wait(
        &mut self,
        notifier: Option<BorrowedFd<'_>>,
        audio: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<()> {
        let ended = self.done.len() == self.steps.len();
        if ended && !self.steps.is_empty() {
            return Ok(());
        }
        // While the pipe is full, or nobody has opened it, more audio is no news.
        let (audio, pipe, timeout) = match &self.end {
            End::Open(file) if !ended => (None, Some(file.as_fd()), timeout),
            End::Open(_) => (audio, None, timeout),
            End::Unread(_) => (None, None, timeout.min(LOOK)),
        };
        wait_for([notifier, audio], pipe, timeout)?;
        self.go_on();
        Ok(())
    }

    /// Writes as much as goes without waiting.
    fn go_on(&mut self) {
        while let Some(step) = self.steps.get(self.done.len()) {
            let Operation::Write { source, length, .. } = step else {
                self.done.push(Ok(0));
                continue;
            };
            if self.written == *length {
                self.done.push(Ok(*length));
                self.written = 0;
                continue;
            }
            let end = *length.min(&(self.written + PORTION));
            let written = self.end.open().and_then(|file| {
                let file = file.ok_or(Errno::EAGAIN)?;
                let mut ready = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut ready, PollTimeout::ZERO) {
                    Ok(1..) => write(file, &source.copy(self.written..end)),
                    _ => Err(Errno::EAGAIN),
                }
            });
            match written {
                Ok(written) => self.written += written,
                Err(Errno::EINTR | Errno::EAGAIN) => return,
                Err(cause) => {
                    self.done.push(Err(cause));
                    self.done.resize(self.steps.len(), Err(Errno::ECANCELED));
                }
            }
        }
    }
}
