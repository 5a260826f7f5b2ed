//! What happens to a stream besides its audio, from the ring's own records, one after the
//! other and from one engine to the next.

use std::sync::{Arc, Mutex, Weak};

use crate::engine::{Engine, is_same, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Poll, Source};
use crate::ring::{EventLane, GapReason, Kind, Reader, State};
use crate::stream::Stream;

/// Lanes of records, in the order in which they are told where positions are equal.
const LANES: [EventLane; 3] = [
    EventLane::EngineEvents,
    EventLane::Gaps,
    EventLane::SpeechEvents,
];

/// The place of gaps among them.
const GAPS: usize = 1;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Speech began, as the engine decided just now.
    SpeechStart,
    /// Speech ended; it was as long as the event.
    SpeechEnd,
    /// Lost audio, for which there is silence as long as the event; or the machine slept for as
    /// long, for which there is none.
    Gap(GapReason),
    /// The user has muted speech capture: silence from here on.
    Mute,
    /// That has ended; it was as long as the event.
    Unmute,
    /// The source of this name is captured; None if its name isn't told.
    Source(Option<String>),
    /// The source's channel of this number, from 1, is heard.
    Channel(u32),
    /// The engine's state is this one.
    State(State),
    /// The engine is gone; positions of the next one begin anew.
    EngineLost,
}

impl What {
    /// Its name, as programs have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SpeechStart => "speech-start",
            Self::SpeechEnd => "speech-end",
            Self::Gap(_) => "gap",
            Self::Mute => "mute",
            Self::Unmute => "unmute",
            Self::Source(_) => "source",
            Self::Channel(_) => "channel",
            Self::State(_) | Self::EngineLost => "state",
        }
    }

    /// More of it, in a word: a gap's reason, a source's name, a channel's number, a state.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::SpeechStart | Self::SpeechEnd | Self::Mute | Self::Unmute => None,
            Self::Source(name) => name.clone(),
            Self::Gap(reason) => Some(
                match reason {
                    GapReason::Xrun => "xrun",
                    GapReason::Interrupted => "interrupted",
                    GapReason::Continued => "continued",
                    GapReason::NotCaptured => "not-captured",
                    GapReason::Muted => "muted",
                    GapReason::Suspended => "suspended",
                }
                .into(),
            ),
            Self::Channel(number) => Some(number.to_string()),
            Self::State(state) => Some(format!("{state:?}").to_lowercase()),
            Self::EngineLost => Some("lost".into()),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it was.
    pub what: What,
    /// First sample concerned.
    pub position: u64,
    /// Samples concerned.
    pub length: u64,
    /// CLOCK_MONOTONIC nanoseconds of the position.
    pub time_ns: i64,
}

impl Event {
    /// Record `number` of a lane; None for one of a version to come.
    fn of(ring: &Reader, lane: EventLane, number: u64) -> Option<Self> {
        let record = ring.record(lane, number)?;
        let detail = record.detail;
        let is = |kind: Kind| kind as u32 == record.kind;
        let what = if is(Kind::SpeechStart) {
            What::SpeechStart
        } else if is(Kind::SpeechEnd) {
            What::SpeechEnd
        } else if is(Kind::Gap) {
            match GapReason::from_number(detail)? {
                GapReason::Muted => What::Mute,
                // The engine's record says how long it was.
                GapReason::Suspended => return None,
                reason => What::Gap(reason),
            }
        } else if is(Kind::Suspend) {
            What::Gap(GapReason::Suspended)
        } else if is(Kind::Device) {
            What::Source(ring.device_name(number))
        } else if is(Kind::Channel) {
            What::Channel(detail)
        } else if is(Kind::State) {
            What::State(State::from_number(detail))
        } else {
            return None;
        };
        Some(Self {
            what,
            position: record.position,
            length: record.length,
            time_ns: record.time_ns,
        })
    }
}

/// Events in the order of their positions, as far as they are known. Shared by those who
/// read from it.
pub struct Events {
    stream: Arc<Stream>,
    following: Mutex<EventCursor>,
}

/// The ring that is followed now. Doesn't keep its engine: the stream does.
struct EventCursor {
    engine: Weak<Engine>,
    ring: Arc<Reader>,
    /// The record to be told next, of each lane.
    next: [u64; LANES.len()],
    /// Audio that was there at the beginning; more shows that the engine works.
    begun: u64,
    /// Muted from the first position to the second, as far as is known.
    muted: Option<(u64, u64)>,
    /// It was told that the engine is gone.
    told_lost: bool,
}

impl EventCursor {
    /// From where the stream was entered, or its newest window; before it, where the speech
    /// began that goes on there.
    fn begin(stream: &Stream) -> Option<Self> {
        let (engine, position) = stream.place()?;
        let ring = engine.ring().clone();
        let next = LANES.map(|lane| {
            let mut next = ring.records_committed(lane);
            while next > ring.records_oldest(lane)
                && let Some(record) = ring.record(lane, next - 1)
                && record.position >= position
            {
                next -= 1;
            }
            let start = Kind::SpeechStart as u32;
            let before = next
                .checked_sub(1)
                .filter(|_| lane == EventLane::SpeechEvents);
            let goes_on = before.and_then(|number| Some((number, ring.record(lane, number)?)));
            match goes_on {
                Some((number, record)) if record.kind == start => number,
                _ => next,
            }
        });
        Some(Self {
            engine: Arc::downgrade(&engine),
            begun: ring.committed(),
            ring,
            next,
            muted: None,
            told_lost: false,
        })
    }

    /// The next event of each lane that has one. What was overwritten is passed over, and so
    /// is what goes on.
    fn due(&mut self) -> [Option<Event>; LANES.len()] {
        let ring = &self.ring;
        // Before the records: what is muted of this is in one of them.
        let committed = ring.committed();
        let mut due = [const { None }; LANES.len()];
        for ((&lane, next), due) in LANES.iter().zip(&mut self.next).zip(&mut due) {
            // Once: no more are looked at than the lane holds, whatever the counters do.
            let there = ring.records_committed(lane);
            *next = (*next).max(ring.records_oldest(lane));
            while due.is_none() && *next < there {
                *due = Event::of(ring, lane, *next);
                if let (Some(event), Some((_, end))) = (&*due, &mut self.muted)
                    && event.position <= *end
                    && matches!(event.what, What::Mute | What::Gap(GapReason::Continued))
                {
                    *end = event.position.saturating_add(event.length).max(*end);
                    *due = None;
                }
                if due.is_none() {
                    *next = (*next + 1).max(ring.records_oldest(lane));
                }
            }
        }
        if let Some((begin, end)) = self.muted
            && committed > end
            && due[GAPS].as_ref().is_none_or(|event| event.position >= end)
        {
            due[GAPS] = Some(Event {
                what: What::Unmute,
                position: end,
                length: end - begin,
                time_ns: ring.time_ns(end).unwrap_or(0),
            });
        }
        due
    }

    /// Takes the next event.
    fn take(&mut self) -> Option<Event> {
        let due = self.due();
        let with_position = |(lane, event): (usize, Option<Event>)| Some((lane, event?));
        let found = due.into_iter().enumerate().filter_map(with_position);
        let (lane, mut event) = found.min_by_key(|(_, event)| event.position)?;
        match event.what {
            What::Unmute => {
                self.muted = None;
                return Some(event);
            }
            What::Mute => {
                let end = event.position.saturating_add(event.length);
                self.muted = Some((event.position, end));
                // It goes on, for nobody knows how long.
                event.length = 0;
            }
            _ => {}
        }
        self.next[lane] += 1;
        Some(event)
    }

    /// Why there is nothing to take; None: there is something.
    fn state<T>(&mut self, stream: &Stream) -> Option<Poll<T>> {
        if stream.is_closed() {
            return Some(Poll::Ended);
        }
        // Before the records: once it says that no more come, they are all there.
        let state = self.ring.state();
        let engine = self.engine.upgrade();
        let is_lost =
            state == State::Stopped || engine.as_ref().is_none_or(|engine| engine.is_lost());
        if self.due().iter().any(Option::is_some) {
            return None;
        }
        match (state, is_lost) {
            (State::Ended, _) => Some(Poll::Ended),
            (_, false) => {
                if self.ring.committed() > self.begun {
                    stream.heard(&self.engine);
                }
                Some(Poll::Pending)
            }
            (_, true) if !self.told_lost => None,
            (_, true) => match stream.engine() {
                Some(now) if !is_same(&now, &self.engine) => None,
                _ => Some(Poll::EngineLost),
            },
        }
    }
}

impl Events {
    /// Those of an open stream.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the stream is not open.
    pub fn new(stream: Arc<Stream>) -> Result<Self> {
        let Some(following) = EventCursor::begin(&stream) else {
            return Err(Error::new(ErrorKind::Unavailable, "the stream is not open"));
        };
        Ok(Self {
            stream,
            following: Mutex::new(following),
        })
    }
}

impl Source for Events {
    type Item = Event;

    fn poll(&self) -> Result<Poll<Event>> {
        let following = &mut *lock(&self.following);
        loop {
            if let Some(found) = following.state(&self.stream) {
                return Ok(found);
            }
            if let Some(event) = following.take() {
                return Ok(Poll::Ready(event));
            }
            if !std::mem::replace(&mut following.told_lost, true) {
                let position = following.ring.committed();
                let last = following.ring.time_ns(position.saturating_sub(1));
                return Ok(Poll::Ready(Event {
                    what: What::EngineLost,
                    position,
                    length: 0,
                    time_ns: last.unwrap_or_else(v2m_ring::time::monotonic_ns),
                }));
            }
            match EventCursor::begin(&self.stream) {
                Some(next) => *following = next,
                None => return Ok(Poll::Ended),
            }
        }
    }

    fn is_pending(&self) -> bool {
        let state = lock(&self.following).state::<Event>(&self.stream);
        matches!(state, Some(Poll::Pending))
    }

    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn recover(&self) -> Result<bool> {
        self.stream.recover()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{self, Ring};

    fn following(reader: Reader) -> EventCursor {
        EventCursor {
            engine: Weak::new(),
            ring: Arc::new(reader),
            next: [0; LANES.len()],
            begun: 0,
            muted: None,
            told_lost: true,
        }
    }

    fn told(following: &mut EventCursor) -> Vec<(What, u64, u64)> {
        std::iter::from_fn(|| following.take())
            .map(|event| (event.what, event.position, event.length))
            .collect()
    }

    #[test]
    fn events_come_by_their_positions_and_are_told_once() {
        let (ring, mut capture, mut speech, mut control) = Ring::create(1 << 16).unwrap();
        let mut following = following(Reader::new(ring.duplicate().unwrap()).unwrap());
        control.state(State::Running, 5);
        capture.append(&[0.1; 1024], 0);
        capture.gap(512, GapReason::Xrun, 64_000_000);
        capture.append_silence(512, 64_000_000);
        speech.turn(ring::Event {
            kind: Kind::SpeechStart as u32,
            detail: 0,
            position: 512,
            length: 0,
            time_ns: 32_000_000,
        });
        control.device("a_microphone", 96_000_000);
        let all = [
            (What::State(State::Running), 0, 0),
            (What::SpeechStart, 512, 0),
            (What::Gap(GapReason::Xrun), 1024, 512),
            (What::Source(Some("a_microphone".into())), 1536, 0),
        ];
        assert_eq!(told(&mut following), all);
        assert_eq!(told(&mut following), []);
    }

    #[test]
    fn what_is_muted_begins_and_ends_once() {
        let (ring, mut capture, _, _) = Ring::create(1 << 16).unwrap();
        let mut following = following(Reader::new(ring.duplicate().unwrap()).unwrap());
        capture.append(&[0.1; 1000], 0);
        for piece in 0..3 {
            let reason = match piece {
                0 | 2 => GapReason::Muted,
                _ => GapReason::Continued,
            };
            capture.gap(400, reason, 0);
            if piece == 0 {
                assert_eq!(told(&mut following), [(What::Mute, 1000, 0)]);
            }
            capture.append_silence(400, 0);
            assert_eq!(told(&mut following), []);
        }
        capture.append(&[0.1; 100], 0);
        assert_eq!(told(&mut following), [(What::Unmute, 2200, 1200)]);
        assert_eq!(told(&mut following), []);
        // A loss beside it is one by itself.
        capture.gap(10, GapReason::Muted, 0);
        capture.append_silence(10, 0);
        capture.gap(20, GapReason::Interrupted, 0);
        capture.append_silence(20, 0);
        let all = [
            (What::Mute, 2300, 0),
            (What::Unmute, 2310, 10),
            (What::Gap(GapReason::Interrupted), 2310, 20),
        ];
        assert_eq!(told(&mut following), all);
    }

    #[test]
    fn what_was_overwritten_is_passed_over() {
        let (ring, mut capture, _, _) = Ring::create(1 << 16).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        for n in 0..3000 {
            capture.gap(1, GapReason::Xrun, n);
            capture.append_silence(1, n);
        }
        let kept = reader.records_oldest(EventLane::Gaps);
        let mut following = following(reader);
        let found = told(&mut following);
        assert_eq!(found.len() as u64, 3000 - kept);
        assert_eq!(found[0], (What::Gap(GapReason::Xrun), kept, 1));
    }
}
