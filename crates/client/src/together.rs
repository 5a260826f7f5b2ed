//! Several streams read together: windows that cover the same time.

use std::sync::{Arc, Mutex, Weak};

use crate::alignment::{Alignment, beside};
use crate::engine::{Engine, is_same, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Poll, Source};
use crate::ring::State;
use crate::stream::{Stream, Window};

/// The windows of an open stream, each with those of others that cover the same time, at
/// whatever rates. Reads the first one; the others are only looked at.
#[derive(Debug)]
pub struct Together {
    first: Arc<Stream>,
    others: Vec<Arc<Stream>>,
    state: Mutex<Assembly>,
}

#[derive(Debug)]
struct Assembly {
    /// Taken of the first stream, while one of the others is not so far.
    taken: Option<Window>,
    /// Something was given: from here on, what is missing was lost.
    begun: bool,
    /// For each of the others.
    beside: Vec<Option<Beside>>,
}

/// Another stream beside the first one.
#[derive(Debug)]
struct Beside {
    engines: [Weak<Engine>; 2],
    alignment: Alignment,
}

impl Together {
    /// Of `streams`, at least one, all of them open. Has one clock drive them, where there is
    /// a choice, until they are closed. Blocks.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: there is none; [`ErrorKind::Unavailable`]: one isn't open.
    pub fn new(streams: Vec<Arc<Stream>>) -> Result<Self> {
        let engines = streams.iter().map(|stream| stream.engine());
        let Some(engines) = engines.collect::<Option<Vec<_>>>() else {
            return Err(Error::new(ErrorKind::Unavailable, "a stream is not open"));
        };
        // By itself it has the clock that it has.
        if engines.len() > 1 {
            engines.iter().try_for_each(|engine| engine.together())?;
        }
        let mut streams = streams.into_iter();
        let first = streams.next().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "no stream: name those to read together")
        })?;
        let others: Vec<_> = streams.collect();
        Ok(Self {
            state: Mutex::new(Assembly {
                taken: None,
                begun: false,
                beside: others.iter().map(|_| None).collect(),
            }),
            first,
            others,
        })
    }

    fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The first stream's next window, and those beside it.
    fn take(&self, state: &mut Assembly) -> Result<Poll<Vec<Window>>> {
        let window = match state.taken.take() {
            Some(window) => window,
            None => match self.first.poll()? {
                Poll::Ready(window) => window,
                Poll::Overrun(lost) => return Ok(Poll::Overrun(lost)),
                Poll::Pending => return Ok(Poll::Pending),
                Poll::EngineLost => return Ok(Poll::EngineLost),
                Poll::NoSpeechTrack => return Ok(Poll::NoSpeechTrack),
                Poll::Ended => return Ok(Poll::Ended),
            },
        };
        let mut all = vec![window];
        for (other, known) in self.others.iter().zip(&mut state.beside) {
            match self.beside(&all[0], other, known)? {
                Poll::Ready(beside) => all.push(beside),
                Poll::Overrun(lost) => return Ok(Poll::Overrun(lost)),
                Poll::Ended => return Ok(Poll::Ended),
                found => {
                    state.taken = Some(all.swap_remove(0));
                    return Ok(match found {
                        Poll::EngineLost => Poll::EngineLost,
                        _ => Poll::Pending,
                    });
                }
            }
        }
        Ok(Poll::Ready(all))
    }

    /// What another stream has for the time of `window`.
    fn beside(
        &self,
        window: &Window,
        other: &Stream,
        known: &mut Option<Beside>,
    ) -> Result<Poll<Window>> {
        let (Some(first), Some(engine)) = (self.first.engine(), other.engine()) else {
            return Ok(Poll::Ended);
        };
        let ring = engine.ring();
        // Before the count: once it says that no more comes, the count is final.
        let (state, is_lost) = (ring.state(), engine.is_lost());
        let engines = [&first, &engine];
        let known = match known {
            Some(known) if known.is_of(engines) => known,
            known => known.insert(Beside {
                engines: engines.map(Arc::downgrade),
                alignment: Alignment::default(),
            }),
        };
        let aligned = [&*window.ring, ring];
        let Some(samples) = known.alignment.at(aligned, window.position, window.count) else {
            return Ok(match window.ring.time_ns(window.position) {
                Some(_) if first.is_lost() => Poll::EngineLost,
                Some(_) => nothing(state, is_lost),
                // Waited too long: where it stood is forgotten.
                None => Poll::Overrun(window.count),
            });
        };
        let rate = ring.rate();
        let Some(position) = beside(window.ring.rate(), rate, window.position, samples) else {
            // The other one was not there yet.
            return Ok(Poll::Overrun(window.count));
        };
        let count = rate.convert(window.count, window.ring.rate()).max(1);
        if position.saturating_add(count) > ring.committed() {
            return Ok(nothing(state, is_lost));
        }
        match Window::new(ring, position, count) {
            Ok(found) => {
                engine.reached(position + count);
                Ok(Poll::Ready(found))
            }
            Err(error) if error.kind() == ErrorKind::Overrun => Ok(Poll::Overrun(count)),
            Err(error) => Err(error),
        }
    }
}

/// Why there is no window.
fn nothing<T>(state: State, is_lost: bool) -> Poll<T> {
    match state {
        State::Ended => Poll::Ended,
        State::Stopped => Poll::EngineLost,
        _ if is_lost => Poll::EngineLost,
        _ => Poll::Pending,
    }
}

impl Beside {
    fn is_of(&self, engines: [&Arc<Engine>; 2]) -> bool {
        let mut pairs = engines.iter().zip(&self.engines);
        pairs.all(|(engine, known)| is_same(engine, known))
    }
}

impl Source for Together {
    type Item = Vec<Window>;

    fn poll(&self) -> Result<Poll<Vec<Window>>> {
        let state = &mut *lock(&self.state);
        loop {
            match self.take(state)? {
                // One of them was not there yet.
                Poll::Overrun(_) if !state.begun => {}
                found => {
                    state.begun |= matches!(found, Poll::Ready(_));
                    return Ok(found);
                }
            }
        }
    }

    fn is_pending(&self) -> bool {
        let state = &mut *lock(&self.state);
        let Some(window) = state.taken.clone() else {
            return self.first.is_pending();
        };
        let mut others = self.others.iter().zip(&mut state.beside);
        others.any(|(other, known)| {
            let found = self.beside(&window, other, known);
            matches!(found, Ok(Poll::Pending))
        })
    }

    fn stream(&self) -> &Stream {
        &self.first
    }

    fn recover(&self) -> Result<bool> {
        let mut all = true;
        for stream in self.streams() {
            all &= stream.recover()?;
        }
        if all {
            for engine in self.streams().filter_map(|stream| stream.engine()) {
                engine.together()?;
            }
            // What was taken is of an engine that is gone.
            lock(&self.state).taken = None;
        }
        Ok(all)
    }
}
