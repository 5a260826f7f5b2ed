//! Pipes, terminals, devices: written on and on, never waited for longer than
//! asked. A reader that stalls leaves the audio in the ring.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::{Done, Step, wait_for};
use crate::error::Result;

/// POSIX's PIPE_BUF on Linux: a pipe that is ready takes as much without waiting.
/// (Making the descriptor non-blocking would make it so for everybody who has it.)
const PORTION: usize = 4096;

pub(in crate::record) struct Pipe {
    file: File,
    steps: Vec<Step>,
    /// Of the step under way.
    written: usize,
    done: Done,
}

impl Pipe {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            steps: Vec::new(),
            written: 0,
            done: Done::new(),
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn start(&mut self, steps: Vec<Step>) {
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
        timeout: Duration,
    ) -> Result<()> {
        let ended = self.done.len() == self.steps.len();
        if ended && !self.steps.is_empty() {
            return Ok(());
        }
        let pipe = (!ended).then(|| (self.file.as_fd(), PollFlags::POLLOUT));
        wait_for(
            notifier.map(|notifier| (notifier, PollFlags::POLLIN)),
            pipe,
            timeout,
        )?;
        self.go_on();
        Ok(())
    }

    /// Writes as much as goes without waiting.
    fn go_on(&mut self) {
        while let Some(step) = self.steps.get(self.done.len()) {
            let Step::Write { source, length, .. } = step else {
                self.done.push(Ok(0));
                continue;
            };
            if self.written == *length {
                self.done.push(Ok(*length));
                self.written = 0;
                continue;
            }
            let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1..)) {
                return;
            }
            let end = *length.min(&(self.written + PORTION));
            match write(&self.file, &source.copy(self.written..end)) {
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
