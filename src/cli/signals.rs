//! Signals that end a command, obeyed from its first instruction on: until it has
//! something to end in order, they end the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigSet, Signal, raise};
use v2m_error::{Error, Result};

type Stop = Box<dyn FnMut(Signal) + Send>;

/// The signals that end a command, and what they do now.
pub(super) struct Signals(Arc<Mutex<Stop>>);

impl Signals {
    /// To be called before any other thread exists: all of them inherit the mask, one waits.
    pub(super) fn watch() -> Result<Self> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals
            .thread_block()
            .map_err(|cause| Error::system("cannot block signals", cause))?;
        let stop: Arc<Mutex<Stop>> = Arc::new(Mutex::new(Box::new(end)));
        let told = stop.clone();
        std::thread::Builder::new()
            .name("v2m-signals".into())
            .spawn(move || {
                while let Ok(signal) = signals.wait() {
                    lock(&told)(signal);
                }
            })
            .map_err(|cause| Error::system("cannot start the signals' thread", cause))?;
        Ok(Self(stop))
    }

    /// From now on, each signal calls `stop`, on a thread of its own.
    pub(super) fn hand_over(&self, stop: impl FnMut(Signal) + Send + 'static) {
        *lock(&self.0) = Box::new(stop);
    }
}

/// Ends the process as the signal would by itself.
pub(super) fn end(signal: Signal) {
    let _ = SigSet::from(signal).thread_unblock();
    let _ = raise(signal);
}

fn lock(stop: &Mutex<Stop>) -> MutexGuard<'_, Stop> {
    stop.lock().unwrap_or_else(PoisonError::into_inner)
}
