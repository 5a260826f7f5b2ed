//! Several streams read together: windows that cover the same time.
//!
//! Where sources have one clock, their positions stay a constant apart. That constant is
//! found from the times of many windows, as a single one's are as exact as the moment at which
//! a thread woke; and it is followed, sample by sample, where clocks drift.

use std::sync::{Arc, Mutex, Weak};

use crate::engine::{Engine, is_same, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Poll, Source};
use crate::ring::{Rate, Reader, State};
use crate::stream::{Stream, Window};

/// Windows of 32 ms whose times are looked at, as far as they are there.
const LOOKS: u64 = 32;
/// What is off by more than this part of a second isn't drift: the audio was interrupted.
const JUMP: i64 = 100;

/// The windows of an open stream, each with those of others that cover the same time, at
/// whatever rates. Reads the first one; the others are only looked at.
#[derive(Debug)]
pub struct Together {
    first: Arc<Stream>,
    others: Vec<Arc<Stream>>,
    state: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// Taken of the first stream, while one of the others is not so far.
    taken: Option<Window>,
    /// Something was given: from here on, what is missing was lost.
    begun: bool,
    /// For each of the others.
    apart: Vec<Option<Apart>>,
}

/// How far the positions of another stream are ahead of the first one's, in its samples.
#[derive(Debug)]
struct Apart {
    engines: [Weak<Engine>; 2],
    samples: i64,
    /// What looks since the last change found beyond that, and how many these were.
    beyond: (i64, i64),
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
            state: Mutex::new(Progress {
                taken: None,
                begun: false,
                apart: others.iter().map(|_| None).collect(),
            }),
            first,
            others,
        })
    }

    fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The first stream's next window, and those beside it.
    fn take(&self, state: &mut Progress) -> Result<Poll<Vec<Window>>> {
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
        for (other, apart) in self.others.iter().zip(&mut state.apart) {
            match self.beside(&all[0], other, apart)? {
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
        apart: &mut Option<Apart>,
    ) -> Result<Poll<Window>> {
        let (Some(first), Some(engine)) = (self.first.engine(), other.engine()) else {
            return Ok(Poll::Ended);
        };
        let ring = engine.ring();
        // Before the count: once it says that no more comes, the count is final.
        let state = ring.state();
        let engines = [&first, &engine];
        let known = apart.take().filter(|apart| {
            let mut pairs = engines.iter().zip(&apart.engines);
            pairs.all(|(engine, known)| is_same(engine, known))
        });
        let Some(known) = known.or_else(|| Apart::find(window, engines)) else {
            return Ok(nothing(state, &engine));
        };
        let known = apart.insert(known.look(window, ring));
        let rate = ring.rate();
        let begin = rate.convert(window.position, window.ring.rate());
        let Some(position) = begin.checked_add_signed(known.samples) else {
            // The other one was not there yet.
            return Ok(Poll::Overrun(window.count));
        };
        let count = rate.convert(window.count, window.ring.rate()).max(1);
        if position.saturating_add(count) > ring.committed() {
            return Ok(nothing(state, &engine));
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
fn nothing<T>(state: State, engine: &Engine) -> Poll<T> {
    match state {
        State::Ended => Poll::Ended,
        State::Stopped => Poll::EngineLost,
        _ if engine.is_lost() => Poll::EngineLost,
        _ => Poll::Pending,
    }
}

impl Apart {
    /// By the times of the windows before `window`; the middle one counts.
    fn find(window: &Window, [first, other]: [&Arc<Engine>; 2]) -> Option<Self> {
        let size = window.ring.rate().window();
        let looks = (0..LOOKS).filter_map(|n| {
            let position = window.position.checked_sub(n * size)?;
            let time_ns = window.ring.time_ns(position)?;
            apart(other.ring(), window.ring.rate(), position, time_ns)
        });
        let mut looks: Vec<i64> = looks.collect();
        looks.sort_unstable();
        Some(Self {
            engines: [Arc::downgrade(first), Arc::downgrade(other)],
            samples: *looks.get(looks.len() / 2)?,
            beyond: (0, 0),
        })
    }

    /// After a look at one more window.
    fn look(mut self, window: &Window, ring: &Reader) -> Self {
        let rate = window.ring.rate();
        let Some(now) = apart(ring, rate, window.position, window.time_ns) else {
            return self;
        };
        let off = now - self.samples;
        let (sum, looks) = (self.beyond.0 + off, self.beyond.1 + 1);
        self.beyond = (sum, looks);
        if off.abs() > i64::from(ring.rate().hz()) / JUMP {
            (self.samples, self.beyond) = (now, (0, 0));
        } else if looks >= LOOKS as i64 {
            // One that is off by less than a sample on average stays.
            self.samples += sum / looks;
            self.beyond = (0, 0);
        }
        self
    }
}

/// How far the position of `ring` that was captured at `time_ns` is ahead of `position`, which
/// another stream of `rate` has there; `None` if it doesn't know.
fn apart(ring: &Reader, rate: Rate, position: u64, time_ns: i64) -> Option<i64> {
    let own = ring.rate();
    let nearest = |ns: i64| own.samples(ns.saturating_add(own.ns(1) / 2));
    let newest = ring.committed().checked_sub(1)?;
    let mut there = newest as i64 + nearest(time_ns.saturating_sub(ring.time_ns(newest)?));
    // From the newest on its clock may have drifted: once more, from nearby.
    if let Some(told) = u64::try_from(there)
        .ok()
        .and_then(|there| ring.time_ns(there))
    {
        there += nearest(time_ns.saturating_sub(told));
    }
    Some(there - own.convert(position, rate) as i64)
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
        let mut others = self.others.iter().zip(&mut state.apart);
        others.any(|(other, apart)| {
            let found = self.beside(&window, other, apart);
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
