//! Threads that call into what may never answer: a sound server, a card, a bus, a disk.
//!
//! A call that hangs can't be taken back. So it runs on a thread of its own, which says what
//! it is calling; nobody waits for it without a limit; and a thread that doesn't end in time
//! is left behind, and said to be. A process that leaves threads behind ends by `_exit`:
//! what runs at an orderly exit would pull the library from under them.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::{Duration, Instant};

use v2m_error::{Error, Result};

pub use crate::sys::exit_now;

/// How long a thread may take to end, once it was told to.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// A call that takes longer than this is worth a word.
const LONG: Duration = Duration::from_secs(1);

/// Those that did not end in time.
static LEFT: Mutex<Vec<(Calls, JoinHandle<()>)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The call that a thread is in.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Option<(String, Instant)>>>);

impl Calls {
    /// Makes a call that may not return; `what` is being done by it ("opening …").
    pub fn during<T>(&self, what: impl Into<String>, call: impl FnOnce() -> T) -> T {
        *lock(&self.0) = Some((what.into(), Instant::now()));
        let result = call();
        *lock(&self.0) = None;
        result
    }

    /// What takes long, and how long it has taken.
    pub fn hanging(&self) -> Option<String> {
        let call = lock(&self.0);
        let (what, since) = call.as_ref()?;
        let taken = since.elapsed();
        (taken >= LONG).then(|| format!("{what} has taken {} s so far", taken.as_secs()))
    }

    fn name(&self) -> Option<String> {
        lock(&self.0).as_ref().map(|(what, _)| what.clone())
    }
}

/// A thread that may hang; told to end by other means, and not waited for for long.
pub struct Bounded {
    name: &'static str,
    calls: Calls,
    thread: Option<JoinHandle<()>>,
    /// Is hung up when the thread ends; in a mutex as it can't be shared otherwise.
    ended: Mutex<Receiver<()>>,
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("name", &self.name)
            .field("hanging", &self.calls.hanging())
            .finish_non_exhaustive()
    }
}

impl Bounded {
    /// Starts a thread of this name, at most 15 letters.
    ///
    /// # Errors
    /// [`v2m_error::ErrorKind::System`] if there can be no more threads.
    pub fn spawn(name: &'static str, body: impl FnOnce(&Calls) + Send + 'static) -> Result<Self> {
        let (alive, ended) = channel();
        let calls = Calls::default();
        let noted = calls.clone();
        let thread = Builder::new().name(name.into()).spawn(move || {
            let _alive = alive;
            body(&noted);
        });
        let thread = thread.map_err(|cause| Error::system(format!("can't start {name}"), cause))?;
        Ok(Self {
            name,
            calls,
            thread: Some(thread),
            ended: Mutex::new(ended),
        })
    }

    /// The thread, unless it has been joined.
    pub fn thread(&self) -> Option<&Thread> {
        self.thread.as_ref().map(JoinHandle::thread)
    }

    /// What it is calling, if that takes long.
    pub fn hanging(&self) -> Option<String> {
        self.calls.hanging()
    }

    /// Waits for its end, at most [`PATIENCE`]; it must have been told to end.
    pub fn join(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let ended = lock(&self.ended).recv_timeout(PATIENCE);
        if ended == Err(RecvTimeoutError::Timeout) {
            let what = self.calls.name();
            let what = what.unwrap_or_else(|| "something does not return".into());
            tracing::warn!("{} is left behind: {what} takes too long", self.name);
            lock(&LEFT).push((self.calls.clone(), thread));
        } else if thread.join().is_err() {
            tracing::error!("{} panicked", self.name);
        }
    }
}

/// What threads that were left behind are still calling, one line each.
pub fn left_behind() -> Vec<String> {
    let mut left = lock(&LEFT);
    left.retain(|(_, thread)| !thread.is_finished());
    let line = |(calls, thread): &(Calls, JoinHandle<()>)| {
        let name = thread.thread().name().unwrap_or_default();
        let what = calls.hanging().unwrap_or_else(|| "it does not end".into());
        format!("a thread was left behind ({name}): {what}")
    };
    left.iter().map(line).collect()
}

/// Ends the process at once if threads were left behind.
pub fn exit_past_those_left_behind(code: i32) {
    if !left_behind().is_empty() {
        exit_now(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_is_joined_and_one_that_hangs_is_left_behind_and_named() {
        let mut ends = Bounded::spawn("ends", |_| {}).unwrap();
        ends.join();
        let (release, held) = channel::<()>();
        let mut hangs = Bounded::spawn("hangs", move |calls| {
            calls.during("asking a server that is dead", || {
                let _ = held.recv();
            });
        })
        .unwrap();
        let begin = Instant::now();
        hangs.join();
        assert!(begin.elapsed() >= PATIENCE);
        let named = |name: &str| left_behind().iter().any(|line| line.contains(name));
        assert!(named("(hangs)") && !named("(ends)"), "{:?}", left_behind());
        drop(release);
        while named("(hangs)") {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_call_is_worth_a_word_only_while_it_takes_long() {
        let calls = Calls::default();
        calls.during("opening", || assert_eq!(calls.hanging(), None));
        let long_ago = Instant::now().checked_sub(LONG * 2).unwrap();
        *lock(&calls.0) = Some(("opening".into(), long_ago));
        assert_eq!(
            calls.hanging().as_deref(),
            Some("opening has taken 2 s so far")
        );
        calls.during("closing", || ());
        assert_eq!(calls.hanging(), None);
    }
}
