//! The utterances of a stream by one client's parameters. The rules are those of
//! [`follow`]; here they meet engines that come and go.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use v2m_dsp::vad::segment::Params;

use crate::engine::{Engine, is_same, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::follow::{self, Follower, Step};
use crate::progress::{Poll, Source};
use crate::ring::{Reader, State};
use crate::stream::{Stream, Window};

/// So many windows without any probability, 2 s: time to ask the engine why.
const UNHEARD: u64 = 63;
/// The same where there never was one.
const UNHEARD_EVER: u64 = 4;
/// From one question to the next.
const PATIENCE: Duration = Duration::from_secs(1);

/// An utterance, pads included, or what there is of it so far.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// Where it lies.
    pub window: Window,
    /// It doesn't grow any more.
    pub is_final: bool,
}

/// Utterances as they become certain. Shared by those who read from it.
pub struct Segments {
    stream: Arc<Stream>,
    params: Params,
    following: Mutex<Following>,
}

/// The ring that is followed now. Doesn't keep its engine: the stream does.
struct Following {
    engine: Weak<Engine>,
    ring: Arc<Reader>,
    follower: Follower,
    /// Audio that was there at the beginning; more shows that the engine works.
    begun: u64,
    /// The next utterance does not follow on the one before.
    broken: bool,
    /// When the engine was asked why it hears nothing.
    asked: Option<Instant>,
}

impl Following {
    fn begin(params: &Params, stream: &Stream, broken: bool) -> Result<Option<Self>> {
        stream.relax();
        let Some((engine, position)) = stream.place() else {
            return Ok(None);
        };
        let follower = Follower::new(params, engine.ring(), position)?;
        Ok(Some(Self {
            begun: engine.ring().committed(),
            engine: Arc::downgrade(&engine),
            ring: engine.ring().clone(),
            follower,
            broken,
            asked: None,
        }))
    }

    /// Why there is nothing to take; None: there is something.
    fn state<T>(&mut self, stream: &Stream) -> Option<Poll<T>> {
        let ring = &*self.ring;
        if stream.is_closed() {
            // With it, what is open.
            self.follower.finish_at(ring, stream.end().unwrap_or(0));
            return (!self.follower.is_due(ring)).then_some(Poll::Ended);
        }
        let engine = self.engine.upgrade();
        if engine.as_ref().is_none_or(|engine| engine.is_lost()) {
            self.follower.finish(ring);
        } else if ring.state() != State::Stopped && ring.committed() > self.begun {
            stream.heard(&self.engine);
        }
        let due = self.follower.is_due(ring);
        if let Some(engine) = engine {
            engine.reached(self.follower.reached());
        }
        if due {
            return None;
        }
        if self.follower.is_over() {
            let moved = stream
                .engine()
                .is_some_and(|now| !is_same(&now, &self.engine));
            return match ring.state() {
                State::Ended => Some(Poll::Ended),
                _ if moved => None,
                _ => Some(Poll::EngineLost),
            };
        }
        let limit = match ring.speech_committed() {
            0 => UNHEARD_EVER,
            _ => UNHEARD,
        };
        let patient = self.asked.is_some_and(|asked| asked.elapsed() < PATIENCE);
        Some(
            if self.follower.unheard(ring) >= limit * ring.rate().window() && !patient {
                Poll::NoSpeechTrack
            } else {
                Poll::Pending
            },
        )
    }
}

impl Segments {
    /// Those of an open stream.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: a parameter is out of range; [`ErrorKind::Unavailable`]:
    /// the stream is not open.
    pub fn new(stream: Arc<Stream>, params: Params) -> Result<Self> {
        params.validate()?;
        let Some(following) = Following::begin(&params, &stream, false)? else {
            return Err(Error::new(ErrorKind::Unavailable, "the stream is not open"));
        };
        Ok(Self {
            stream,
            params,
            following: Mutex::new(following),
        })
    }

    /// Ends the utterance in progress with the audio that is there now, as far as it was
    /// judged; it is the next one to be had, and what follows begins anew. Whether there is
    /// one.
    pub fn finish(&self) -> bool {
        let ended = {
            let following = &mut *lock(&self.following);
            let ring = following.ring.clone();
            !self.stream.is_closed() && following.follower.cut_now(&ring)
        };
        if ended {
            self.stream.wake();
        }
        ended
    }

    /// Whether speech goes on, as of the windows taken so far.
    pub fn in_speech(&self) -> bool {
        lock(&self.following).follower.in_speech()
    }

    /// Asks the engine why it hears nothing; an error if it never will. Blocks.
    fn ask(&self) -> Result<()> {
        let engine = {
            let following = &mut *lock(&self.following);
            following.asked = Some(Instant::now());
            following.engine.clone()
        };
        match engine.upgrade().and_then(|engine| engine.status()) {
            Some(status) => follow::check(&status),
            // It hangs or is gone, which shows elsewhere.
            None => Ok(()),
        }
    }
}

impl Source for Segments {
    type Item = Utterance;

    fn poll(&self) -> Result<Poll<Utterance>> {
        let following = &mut *lock(&self.following);
        loop {
            if let Some(found) = following.state(&self.stream) {
                return Ok(found);
            }
            let ring = following.ring.clone();
            let step = following.follower.step(&ring);
            if let Some(engine) = following.engine.upgrade() {
                engine.reached(following.follower.reached());
            }
            match step {
                Step::Segment(segment) => {
                    let count = segment.end - segment.start;
                    return match Window::new(&ring, segment.start, count) {
                        Ok(window) => {
                            let gap = window.gap | following.broken;
                            following.broken &= !segment.is_final;
                            self.stream.took(&following.engine);
                            Ok(Poll::Ready(Utterance {
                                window: Window { gap, ..window },
                                is_final: segment.is_final,
                            }))
                        }
                        // Overwritten just now.
                        Err(error) if error.kind() == ErrorKind::Overrun => {
                            Ok(Poll::Overrun(count))
                        }
                        Err(error) => Err(error),
                    };
                }
                Step::Overrun(lost) => return Ok(Poll::Overrun(lost)),
                Step::Wait => return Ok(Poll::Pending),
                // Another engine stands in for the one that is gone.
                Step::Over => match Following::begin(&self.params, &self.stream, true)? {
                    Some(next) => *following = next,
                    None => return Ok(Poll::Ended),
                },
            }
        }
    }

    fn is_pending(&self) -> bool {
        let state = lock(&self.following).state::<Utterance>(&self.stream);
        matches!(state, Some(Poll::Pending))
    }

    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn recover(&self) -> Result<bool> {
        let state = lock(&self.following).state::<Utterance>(&self.stream);
        match state {
            Some(Poll::EngineLost) => self.stream.recover(),
            Some(Poll::NoSpeechTrack) => self.ask().map(|()| true),
            _ => Ok(true),
        }
    }
}
