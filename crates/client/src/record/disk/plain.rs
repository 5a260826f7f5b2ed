//! Plain writes: for kernels and sandboxes that refuse io_uring. While the disk
//! stalls the thread stalls with it; the ring keeps the audio meanwhile.

use std::fs::File;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::uio::pwrite;
use nix::unistd::fdatasync;

use super::{Done, Operation};

pub(in crate::record) struct Plain {
    file: File,
    done: Option<Done>,
}

impl Plain {
    pub(super) fn new(file: File) -> Self {
        Self { file, done: None }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn start(&mut self, steps: Vec<Operation>) {
        let mut broken = false;
        let mut done = Done::new();
        for step in &steps {
            let result = match broken {
                true => Err(Errno::ECANCELED),
                false => self.run(step),
            };
            broken |= match (step, result) {
                (Operation::Write { length, .. }, Ok(written)) => written < *length,
                (Operation::Sync, Ok(_)) => false,
                (_, Err(_)) => true,
            };
            done.push(result);
        }
        self.done = Some(done);
    }

    fn run(&self, step: &Operation) -> nix::Result<usize> {
        loop {
            let result = match step {
                Operation::Write {
                    offset,
                    source,
                    length,
                } => pwrite(&self.file, &source.copy(0..*length), *offset as i64),
                Operation::Sync => fdatasync(self.file.as_fd()).map(|()| 0),
            };
            if result != Err(Errno::EINTR) {
                return result;
            }
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.done.is_some()
    }

    pub(super) fn take(&mut self) -> Option<Done> {
        self.done.take()
    }
}
