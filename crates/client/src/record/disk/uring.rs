//! io_uring: a chain is one submission of linked entries, and the thread waits
//! for it, for the notifier and for the clock in one system call.
//!
//! Float samples are written from the ring's own pages by IORING_OP_WRITE: nothing
//! is copied in user space. They can't be *registered* as fixed buffers: the kernel
//! pins those for writing (FOLL_WRITE), which a read-only map refuses with EFAULT
//! (seen on Linux 6.18), and a writable one is what the ring's seals forbid. For
//! buffered files registering would save a page lookup at each write, once a second.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use nix::errno::Errno;

use super::{Done, Operation, Payload, ZERO};
use crate::error::{Error, Result};

/// Entries of one chain, and the notifier.
const ENTRIES: u32 = 64;
const NOTIFIER: u64 = u64::MAX;

pub(in crate::record) struct Uring {
    // Closed before the file and the steps' memory go.
    ring: IoUring,
    file: File,
    steps: Vec<Operation>,
    results: Vec<Option<i32>>,
    /// A poll of the notifier is under way, or came.
    listening: bool,
}

impl Uring {
    /// Gives the file back where the kernel or a sandbox refuses io_uring, or is too
    /// old for a wait with a timeout (Linux 5.11).
    pub(super) fn new(file: File) -> std::result::Result<Self, (File, io::Error)> {
        let ring = match IoUring::new(ENTRIES) {
            Ok(ring) => ring,
            Err(cause) => return Err((file, cause)),
        };
        if !ring.params().is_feature_ext_arg() {
            return Err((file, io::Error::from_raw_os_error(libc::ENOSYS)));
        }
        Ok(Self {
            ring,
            file,
            steps: Vec::new(),
            results: Vec::new(),
            listening: false,
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn start(&mut self, steps: Vec<Operation>) -> Result<()> {
        let fd = Fd(self.file.as_raw_fd());
        let last = steps.len().saturating_sub(1);
        let entries: Vec<squeue::Entry> = (0..)
            .zip(&steps)
            .map(|(n, step)| {
                let entry = match step {
                    Operation::Write {
                        offset,
                        source,
                        length,
                    } => opcode::Write::new(fd, address(source), *length as u32)
                        .offset(*offset)
                        .build(),
                    Operation::Sync => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
                };
                let link = match n == last {
                    true => squeue::Flags::empty(),
                    false => squeue::Flags::IO_LINK,
                };
                entry.flags(link).user_data(n as u64)
            })
            .collect();
        self.results = vec![None; steps.len()];
        self.steps = steps;
        // SAFETY: the file stays open and the steps' memory mapped until all
        // entries have completed: both are kept in `self`, whose drop waits for
        // that. A step's source has as many bytes as it says, a ring's no more than its
        // lane. The kernel only reads that memory, so others may write it meanwhile.
        unsafe { self.ring.submission().push_multiple(&entries) }
            .map_err(|cause| Error::system("io_uring is full", cause))
        // Submitted by the wait that follows: one system call for both.
    }

    pub(super) fn take(&mut self) -> Option<Done> {
        self.reap();
        if self.steps.is_empty() || self.results.contains(&None) {
            return None;
        }
        self.steps.clear();
        let done = self.results.drain(..).flatten();
        Some(
            done.map(|result| match result {
                0.. => Ok(result as usize),
                _ => Err(Errno::from_raw(-result)),
            })
            .collect(),
        )
    }

    pub(super) fn wait(
        &mut self,
        notifier: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<()> {
        self.reap();
        if !self.steps.is_empty() && !self.results.contains(&None) {
            return Ok(());
        }
        if let Some(notifier) = notifier.filter(|_| !self.listening) {
            let poll = opcode::PollAdd::new(Fd(notifier.as_raw_fd()), libc::POLLIN as u32);
            // SAFETY: the entry refers to no memory of ours; the kernel takes its
            // own reference of the descriptor.
            unsafe {
                self.ring
                    .submission()
                    .push(&poll.build().user_data(NOTIFIER))
            }
            .map_err(|cause| Error::system("io_uring is full", cause))?;
            self.listening = true;
        }
        self.enter(timeout)?;
        self.reap();
        Ok(())
    }

    /// Takes note of what has completed.
    fn reap(&mut self) {
        for entry in self.ring.completion() {
            if let Some(result) = self.results.get_mut(entry.user_data() as usize) {
                *result = Some(entry.result());
            }
        }
    }

    /// Submits what is new and waits for a completion.
    fn enter(&self, timeout: Duration) -> Result<()> {
        let timeout = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&timeout);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => Ok(()),
            Err(cause) => match cause.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(Error::system("io_uring refuses", cause)),
            },
        }
    }
}

/// Where its bytes stand, and stay.
fn address(source: &Payload) -> *const u8 {
    match source {
        Payload::Ring(ring, position) => ring.address(*position),
        Payload::Bytes(bytes, from) => bytes[*from..].as_ptr(),
        Payload::Zeros => ZERO.as_ptr(),
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        while self.results.contains(&None) {
            if self.enter(Duration::from_secs(1)).is_err() {
                break;
            }
            self.reap();
        }
    }
}
