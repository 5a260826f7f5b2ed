//! Speech in recordings that come one after the other, files and other audio; what is found
//! stays in their order.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use v2m_dsp::vad::corpus::{Found, Items, Search, Source};
use v2m_error::{Error, Result};

use crate::Mono;

/// A recording to come.
pub enum Item {
    /// Opened by the worker that takes it.
    File(PathBuf),
    Audio(Box<dyn Source>),
}

/// Finds speech in each recording that `next` gives, until it gives None: what was found in it,
/// or the error that it cost. `next` is asked by one worker at a time, and not before a worker
/// has room for a recording; `look` by the calling thread, every few seconds of audio.
///
/// # Errors
/// Those of [`Search::run`]; and an error of `next` itself or of `look`, each of which ends the
/// search.
pub fn search<E: From<Error> + Send>(
    search: &Search,
    next: impl FnMut() -> Result<Option<Result<Item, E>>, E> + Send,
    look: impl FnMut() -> Result<(), E> + Send,
) -> Result<Vec<Result<Found, E>>, E> {
    let corpus = Corpus {
        next: Mutex::new((next, 0)),
        look: Mutex::new(look),
        caller: thread::current().id(),
        found: Mutex::default(),
        failed: Mutex::new(None),
        stop: AtomicBool::new(false),
    };
    search.run(&corpus)?;
    if let Some(error) = lock(&corpus.failed).take() {
        return Err(error);
    }
    let found = std::mem::take(&mut *lock(&corpus.found));
    // Each that was counted is done: the search has ended by itself.
    Ok(found.into_iter().flatten().collect())
}

struct Corpus<N, L, E> {
    /// With how many recordings it gave.
    next: Mutex<(N, usize)>,
    look: Mutex<L>,
    caller: ThreadId,
    /// By the recordings' numbers.
    found: Mutex<Vec<Option<Result<Found, E>>>>,
    /// What ends all of it.
    failed: Mutex<Option<E>>,
    stop: AtomicBool,
}

impl<N, L, E> Corpus<N, L, E>
where
    N: FnMut() -> Result<Option<Result<Item, E>>, E>,
{
    fn fail(&self, error: E) {
        lock(&self.failed).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn put(&self, number: usize, result: Result<Found, E>) {
        let mut found = lock(&self.found);
        if found.len() <= number {
            found.resize_with(number + 1, || None);
        }
        found[number] = Some(result);
    }

    /// The next that is a recording, and its number.
    fn take(&self) -> Option<(usize, Item)> {
        loop {
            let mut next = lock(&self.next);
            let item = match (next.0)() {
                Ok(item) => item?,
                Err(error) => {
                    self.fail(error);
                    return None;
                }
            };
            let number = next.1;
            next.1 += 1;
            match item {
                Ok(item) => return Some((number, item)),
                Err(error) => self.put(number, Err(error)),
            }
        }
    }
}

impl<N, L, E> Items for Corpus<N, L, E>
where
    N: FnMut() -> Result<Option<Result<Item, E>>, E> + Send,
    L: FnMut() -> Result<(), E> + Send,
    E: From<Error> + Send,
{
    fn next(&self) -> Option<(usize, Result<Box<dyn Source + '_>>)> {
        let (number, item) = self.take()?;
        let source: Result<Box<dyn Source>> = match item {
            Item::File(path) => Mono::open(&path).map(|file| Box::new(file) as _),
            Item::Audio(source) => Ok(source),
        };
        Some((number, source))
    }

    fn done(&self, number: usize, found: Result<Found>) {
        self.put(number, found.map_err(E::from));
    }

    fn stopped(&self) -> bool {
        if thread::current().id() == self.caller {
            let looked = (lock(&self.look))();
            if let Err(error) = looked {
                self.fail(error);
            }
        }
        self.stop.load(Ordering::Relaxed)
    }
}

/// A panic elsewhere leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
