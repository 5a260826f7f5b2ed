//! Ending a recording from another thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Result};

/// Asks a recording to end; clones ask the same one.
#[derive(Clone, Debug)]
pub struct Stop(Arc<StopShared>);

#[derive(Debug)]
struct StopShared {
    asked: AtomicBool,
    notifier: EventFd,
}

impl Stop {
    /// Not asked yet.
    pub fn new() -> Result<Self> {
        let notifier = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|cause| Error::system("cannot make an eventfd", cause))?;
        let asked = AtomicBool::new(false);
        Ok(Self(Arc::new(StopShared { asked, notifier })))
    }

    /// Asks: the recording ends with the audio that is there now. Doesn't wait.
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::Release);
        let _ = self.0.notifier.write(1);
    }

    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }

    /// Readable once asked; none after that, when there is nothing more to hear.
    pub(super) fn notifier(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_asked()).then(|| self.0.notifier.as_fd())
    }
}
