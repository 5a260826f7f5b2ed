//! `stream.segments()`: the utterances of a stream by one client's parameters. The
//! rules are the core's (`vad::follow`); here they meet engines that come and go.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use v2m_engine::ErrorKind;
use v2m_engine::ring::{Reader, SAMPLE_RATE, State, WINDOW};
use v2m_engine::vad::follow::{self, Follower, Step};
use v2m_engine::vad::segment::Params;

use crate::chunk::AudioChunk;
use crate::engine::{Engine, is_same, lock};
use crate::errors::{self, NeedsRecovery};
use crate::feed::{Awaited, Behind, Feed, Look};
use crate::link;
use crate::segment::SpeechSegment;
use crate::stream::AudioStream;

/// So much audio without any probability: time to ask the engine why.
const UNHEARD: u64 = 2 * SAMPLE_RATE as u64;
/// The same where there never was one.
const UNHEARD_EVER: u64 = 4 * WINDOW;
/// From one question to the next.
const PATIENCE: Duration = Duration::from_secs(1);

/// Utterances as they become certain.
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct SpeechSegments {
    track: Track,
    stream: Py<AudioStream>,
}

/// What is behind it.
struct Track {
    feed: Arc<Feed>,
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
    /// The next segment does not follow on the one before.
    broken: bool,
    /// When the engine was asked why it hears nothing.
    asked: Option<Instant>,
}

impl Following {
    fn begin(params: &Params, feed: &Feed, broken: bool) -> v2m_engine::Result<Option<Self>> {
        let Some((engine, position)) = feed.place() else {
            return Ok(None);
        };
        let follower = Follower::new(params, &engine.ring, position)?;
        Ok(Some(Self {
            begun: engine.ring.committed(),
            engine: Arc::downgrade(&engine),
            ring: engine.ring.clone(),
            follower,
            broken,
            asked: None,
        }))
    }

    fn look(&mut self, feed: &Feed) -> Look {
        if feed.is_closed() {
            return Look::Over;
        }
        let ring = &*self.ring;
        if ring.committed() > self.begun {
            feed.heard(&self.engine);
        }
        let engine = self.engine.upgrade();
        if engine.as_ref().is_none_or(|engine| engine.is_lost()) {
            self.follower.finish(ring);
        }
        let due = self.follower.is_due(ring);
        if let Some(engine) = engine {
            engine.reached(self.follower.reached());
        }
        if due {
            return Look::Ready;
        }
        if self.follower.is_over() {
            let moved = feed
                .current()
                .is_some_and(|now| !is_same(&now, &self.engine));
            return match ring.state() {
                State::Ended => Look::Over,
                _ if moved => Look::Ready,
                _ => Look::Lost,
            };
        }
        let limit = match ring.speech_committed() {
            0 => UNHEARD_EVER,
            _ => UNHEARD,
        };
        let patient = self.asked.is_some_and(|asked| asked.elapsed() < PATIENCE);
        match self.follower.unheard(ring) >= limit && !patient {
            true => Look::Deaf,
            false => Look::Wait,
        }
    }
}

impl Track {
    /// The next segment, if there is one.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Py<SpeechSegment>>> {
        self.feed.own()?;
        match py.detach(|| self.advance()) {
            Ok(Some(segment)) => Py::new(py, segment).map(Some),
            Ok(None) => Ok(None),
            Err(behind) => Err(behind.raise(py)),
        }
    }

    fn advance(&self) -> Result<Option<(SpeechSegment, AudioChunk)>, Behind> {
        let following = &mut *lock(&self.following);
        loop {
            if !matches!(following.look(&self.feed), Look::Ready) {
                return Ok(None);
            }
            let ring = following.ring.clone();
            let history = ring.layout().history();
            let step = following.follower.step(&ring);
            if let Some(engine) = following.engine.upgrade() {
                engine.reached(following.follower.reached());
            }
            match step {
                Step::Segment(segment) => {
                    return match SpeechSegment::new(&ring, segment, following.broken) {
                        Ok(found) => {
                            following.broken &= !segment.is_final;
                            self.feed.took(&following.engine);
                            Ok(Some(found))
                        }
                        // Overwritten just now.
                        Err(error) if error.kind() == ErrorKind::Overrun => Err(Behind::Overrun {
                            lost: segment.end - segment.start,
                            history,
                        }),
                        Err(error) => Err(Behind::Other(error)),
                    };
                }
                Step::Overrun(lost) => return Err(Behind::Overrun { lost, history }),
                Step::Wait => return Ok(None),
                // Another engine stands in for the one that is gone.
                Step::Over => {
                    match Following::begin(&self.params, &self.feed, true).map_err(Behind::Other)? {
                        Some(next) => *following = next,
                        None => return Ok(None),
                    }
                }
            }
        }
    }

    /// Asks the engine why it hears nothing; an error if it never will. Blocks.
    fn ask(&self) -> v2m_engine::Result<()> {
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

impl Awaited for Track {
    fn feed(&self) -> &Feed {
        &self.feed
    }

    fn look(&self) -> Look {
        lock(&self.following).look(&self.feed)
    }
}

impl SpeechSegments {
    /// Those of an open stream.
    pub(crate) fn new(stream: &Bound<'_, AudioStream>, params: Params) -> PyResult<Self> {
        let feed = stream.get().feed().clone();
        params.validate().map_err(errors::raise)?;
        feed.engine()?;
        let following = Following::begin(&params, &feed, false).map_err(errors::raise)?;
        let Some(following) = following else {
            return Err(errors::V2MError::new_err("the stream was closed meanwhile"));
        };
        Ok(Self {
            track: Track {
                feed,
                params,
                following: Mutex::new(following),
            },
            stream: stream.clone().unbind(),
        })
    }
}

#[pymethods]
impl SpeechSegments {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<SpeechSegment>>> {
        loop {
            if let Some(segment) = self.track.take(py)? {
                return Ok(Some(segment));
            }
            self.track.feed.entered()?;
            match self.track.look() {
                Look::Over => return Ok(None),
                Look::Lost => self.track.feed.recover(py)?,
                Look::Deaf => py.detach(|| self.track.ask()).map_err(errors::raise)?,
                Look::Ready => {}
                Look::Wait => self.track.wait(py)?,
            }
        }
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        link::aio(slf, "following")
    }

    // For `_aio.py`; see `AudioStream`.

    fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<SpeechSegment>>> {
        if let Some(segment) = self.track.take(py)? {
            return Ok(Some(segment));
        }
        self.track.feed.entered()?;
        match self.track.look() {
            Look::Lost => Err(NeedsRecovery::new_err("the engine is gone")),
            Look::Deaf => Err(NeedsRecovery::new_err("no speech detection so far")),
            Look::Over => Err(PyStopAsyncIteration::new_err(())),
            Look::Ready | Look::Wait => Ok(None),
        }
    }

    fn _pending(&self) -> bool {
        matches!(self.track.look(), Look::Wait)
    }

    /// One attempt to connect again, or the question whether the engine detects speech at
    /// all; False: try once more. Blocks, without the GIL.
    fn _recover(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| match self.track.look() {
            Look::Lost => self.track.feed.reconnect(),
            Look::Deaf => self.track.ask().map(|()| true).map_err(errors::raise),
            _ => Ok(true),
        })
    }

    #[getter]
    fn _stream(&self, py: Python<'_>) -> Py<AudioStream> {
        self.stream.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stream)
    }
}
