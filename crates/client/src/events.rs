//! What happened to a stream's audio, as the engine notes it beside the samples: speech
//! that begins and ends, gaps, changes of source, channel and state.

use std::sync::{Arc, Mutex, Weak};

use crate::engine::{Engine, is_same, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Poll, Source};
use crate::ring::{Event, EventLane, Reader, State};
use crate::stream::Stream;

const LANES: [EventLane; 3] = [
    EventLane::Gaps,
    EventLane::SpeechEvents,
    EventLane::EngineEvents,
];

/// A stream's events from now on, by position where several are there. Shared by those who
/// read from it. [`Poll::Overrun`] counts events here.
#[derive(Debug)]
pub struct Events {
    stream: Arc<Stream>,
    place: Mutex<Place>,
}

/// Where in which ring. Doesn't keep the engine: the stream does.
#[derive(Debug)]
struct Place {
    engine: Weak<Engine>,
    ring: Arc<Reader>,
    /// Number of the next event of each lane.
    next: [u64; LANES.len()],
}

impl Place {
    /// After everything that is there.
    fn begin(engine: &Arc<Engine>) -> Self {
        let ring = engine.ring().clone();
        Self {
            engine: Arc::downgrade(engine),
            next: LANES.map(|lane| ring.records_committed(lane)),
            ring,
        }
    }

    /// Why there is nothing to take; None: there is something, or another engine.
    fn state<T>(&self, stream: &Stream) -> Option<Poll<T>> {
        let Some(now) = stream.engine().filter(|_| !stream.is_closed()) else {
            return Some(Poll::Ended);
        };
        // Before the counts: once it says that no more comes, they are final.
        let state = self.ring.state();
        let committed = LANES.map(|lane| self.ring.records_committed(lane));
        if !is_same(&now, &self.engine) || self.next.iter().zip(&committed).any(|(n, c)| n < c) {
            None
        } else if state == State::Ended {
            Some(Poll::Ended)
        } else if state == State::Stopped || now.is_lost() {
            Some(Poll::EngineLost)
        } else {
            Some(Poll::Pending)
        }
    }

    /// Takes the event that comes first; None: there is none.
    fn take(&mut self) -> Option<Poll<Event>> {
        let mut first: Option<(usize, Event)> = None;
        for (index, lane) in LANES.into_iter().enumerate() {
            let committed = self.ring.records_committed(lane);
            if self.next[index] >= committed {
                continue;
            }
            let Some(event) = self.ring.record(lane, self.next[index]) else {
                // Overwritten: on with the newest.
                let lost = committed - self.next[index];
                self.next[index] = committed;
                return Some(Poll::Overrun(lost));
            };
            if first.is_none_or(|(_, other)| event.position < other.position) {
                first = Some((index, event));
            }
        }
        let (index, event) = first?;
        self.next[index] += 1;
        Some(Poll::Ready(event))
    }
}

impl Events {
    /// Those of an open stream.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the stream is not open.
    pub fn new(stream: Arc<Stream>) -> Result<Self> {
        let Some(engine) = stream.engine() else {
            return Err(Error::new(ErrorKind::Unavailable, "the stream is not open"));
        };
        Ok(Self {
            place: Mutex::new(Place::begin(&engine)),
            stream,
        })
    }
}

impl Source for Events {
    type Item = Event;

    fn poll(&self) -> Result<Poll<Event>> {
        let place = &mut *lock(&self.place);
        loop {
            if let Some(found) = place.state(&self.stream) {
                return Ok(found);
            }
            if let Some(found) = place.take() {
                return Ok(found);
            }
            // Another engine stands in for the one that is gone.
            match self.stream.engine() {
                Some(engine) => *place = Place::begin(&engine),
                None => return Ok(Poll::Ended),
            }
        }
    }

    fn is_pending(&self) -> bool {
        let state = lock(&self.place).state::<Event>(&self.stream);
        matches!(state, Some(Poll::Pending))
    }

    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn recover(&self) -> Result<bool> {
        let state = lock(&self.place).state::<Event>(&self.stream);
        match state {
            Some(Poll::EngineLost) => self.stream.recover(),
            _ => Ok(true),
        }
    }
}
