//! What C holds: a stream, its utterances, its events. Safe code; C's structures come out.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr::null;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use v2m_client::cursor::Hop;
use v2m_client::locator::Locator;
use v2m_client::readiness::Readiness;
use v2m_client::ring::Reader;
use v2m_client::segments::Utterance;
use v2m_client::stream::{self, Window};
use v2m_client::vad::segment::Params;
use v2m_client::{Result, engine, events, judge, segments};

use crate::reading::{Found, Limit, Reading};
use crate::types::{
    CHUNK_FINAL, CHUNK_GAP, Chunk, Code, Event, HOP_QUANTUM, Options, Speech, Status,
};

/// Audio as it arrives.
pub struct Stream {
    reading: Reading<Arc<stream::Stream>>,
    /// Made when the descriptor is asked for.
    readiness: OnceLock<Arc<Readiness>>,
}

impl Stream {
    pub(crate) fn open(locator: Locator, options: &Options) -> Result<Self> {
        let count = or(options.count, locator.rate.window());
        let hop = match options.hop {
            HOP_QUANTUM => Hop::Quantum,
            hop => Hop::Samples(or(hop, count)),
        };
        let timeout = (options.timeout_ns != 0).then(|| Duration::from_nanos(options.timeout_ns));
        let stream = stream::Stream::new(locator, count, hop, timeout);
        stream.open()?;
        Ok(Self {
            reading: Reading::new(Arc::new(stream)),
            readiness: OnceLock::new(),
        })
    }

    /// The client's.
    pub(crate) fn client(&self) -> &Arc<stream::Stream> {
        &self.reading.source
    }

    /// The same where it is read: in the process that opened it.
    fn own(&self) -> Result<&Arc<stream::Stream>> {
        self.client().check_own()?;
        Ok(self.client())
    }

    /// The engine that it reads now; None: closed.
    fn engine(&self) -> Result<Option<Arc<engine::Engine>>> {
        Ok(self.own()?.engine())
    }

    pub(crate) fn read(&self, limit: Limit) -> Result<(Code, Chunk)> {
        self.own()?;
        chunk_of(self.reading.read(limit)?)
    }

    pub(crate) fn poll(&self) -> Result<(Code, Chunk)> {
        self.own()?;
        chunk_of(self.reading.poll()?)
    }

    pub(crate) fn latest(&self) -> Result<(Code, Chunk)> {
        chunk_of(match self.own()?.latest()? {
            Some(window) => Found::Item(window),
            None if self.client().is_closed() => Found::Nothing(Code::Ended),
            None => Found::Nothing(Code::Pending),
        })
    }

    pub(crate) fn wait(&self, limit: Limit) -> Result<Code> {
        self.own()?;
        self.reading.wait(limit)
    }

    pub(crate) fn recover(&self) -> Result<Code> {
        self.own()?;
        self.reading.recover().map(attempt)
    }

    fn readiness(&self) -> Result<&Readiness> {
        let stream = self.own()?;
        if let Some(readiness) = self.readiness.get() {
            return Ok(readiness);
        }
        let made = stream.readiness()?;
        Ok(self.readiness.get_or_init(|| made))
    }

    pub(crate) fn descriptor(&self) -> Result<RawFd> {
        Ok(self.readiness()?.as_fd().as_raw_fd())
    }

    pub(crate) fn arm(&self) -> Result<Code> {
        let readiness = self.readiness()?;
        readiness.drain();
        self.client().arm(readiness)?;
        Ok(Code::Ok)
    }

    pub(crate) fn status(&self) -> Result<(Code, Status)> {
        let Some(engine) = self.engine()? else {
            return Ok((Code::Ended, Status::default()));
        };
        let ring = engine.ring();
        let losses = ring.losses();
        let status = Status {
            size: size_of::<Status>(),
            position: ring.committed(),
            oldest: ring.oldest(),
            lost: losses.samples,
            gaps: losses.gaps,
            written_ns: ring.written_ns(),
            rate: ring.rate().hz(),
            window: ring.rate().window() as u32,
            state: ring.state() as u32,
            private_pid: engine.private_pid().unwrap_or(0),
        };
        Ok((Code::Ok, status))
    }

    /// What is captured, for C.
    pub(crate) fn source(&self) -> Result<(Code, String)> {
        Ok(match self.engine()? {
            Some(engine) => (Code::Ok, engine.source().to_owned()),
            None => (Code::Ended, String::new()),
        })
    }

    pub(crate) fn time_ns(&self, position: u64) -> Result<(Code, i64)> {
        let Some(engine) = self.engine()? else {
            return Ok((Code::Ended, 0));
        };
        Ok(match engine.ring().time_ns(position) {
            Some(time) => (Code::Ok, time),
            None if position >= engine.ring().committed() => (Code::Pending, 0),
            None => (Code::Overrun, 0),
        })
    }
}

/// The utterances of a stream.
pub struct Segments {
    reading: Reading<segments::Segments>,
}

impl Segments {
    pub(crate) fn open(stream: &Stream, speech: &Speech) -> Result<Self> {
        let params = Params {
            threshold: speech.threshold,
            neg_threshold: (speech.neg_threshold != 0.0).then_some(speech.neg_threshold),
            min_speech_ms: speech.min_speech_ms,
            min_silence_ms: speech.min_silence_ms,
            pad_ms: speech.pad_ms,
            max_s: speech.max_s,
            partial_ms: (speech.partial_ms != 0).then_some(speech.partial_ms),
            ..Params::default()
        };
        let source = segments::Segments::new(stream.own()?.clone(), params)?;
        Ok(Self {
            reading: Reading::new(source),
        })
    }

    pub(crate) fn read(&self, limit: Limit) -> Result<(Code, Chunk)> {
        self.reading.stream().check_own()?;
        utterance_of(self.reading.read(limit)?)
    }

    pub(crate) fn poll(&self) -> Result<(Code, Chunk)> {
        self.reading.stream().check_own()?;
        utterance_of(self.reading.poll()?)
    }

    pub(crate) fn recover(&self) -> Result<Code> {
        self.reading.stream().check_own()?;
        self.reading.recover().map(attempt)
    }
}

/// What happens to a stream's audio.
pub struct Events {
    reading: Reading<events::Events>,
}

impl Events {
    pub(crate) fn open(stream: &Stream) -> Result<Self> {
        let source = events::Events::new(stream.own()?.clone())?;
        Ok(Self {
            reading: Reading::new(source),
        })
    }

    pub(crate) fn read(&self, limit: Limit) -> Result<(Code, Event)> {
        self.reading.stream().check_own()?;
        Ok(event_of(self.reading.read(limit)?))
    }

    pub(crate) fn poll(&self) -> Result<(Code, Event)> {
        self.reading.stream().check_own()?;
        Ok(event_of(self.reading.poll()?))
    }
}

fn attempt(done: bool) -> Code {
    if done { Code::Ok } else { Code::Pending }
}

fn or(value: u64, default: u64) -> u64 {
    if value == 0 { default } else { value }
}

/// A chunk holds the ring: its memory stays.
fn chunk_of(found: Found<Window>) -> Result<(Code, Chunk)> {
    Ok(match found {
        Found::Item(window) => (Code::Ok, chunk(window, 0)?),
        Found::Lost(count) => (
            Code::Overrun,
            Chunk {
                count,
                ..Chunk::NONE
            },
        ),
        Found::Nothing(code) => (code, Chunk::NONE),
    })
}

fn utterance_of(found: Found<Utterance>) -> Result<(Code, Chunk)> {
    Ok(match found {
        Found::Item(Utterance { window, is_final }) => {
            let flags = if is_final { CHUNK_FINAL } else { 0 };
            (Code::Ok, chunk(window, flags)?)
        }
        Found::Lost(count) => (
            Code::Overrun,
            Chunk {
                count,
                ..Chunk::NONE
            },
        ),
        Found::Nothing(code) => (code, Chunk::NONE),
    })
}

fn chunk(window: Window, flags: u32) -> Result<Chunk> {
    let samples = window.ring.window(window.position, window.count)?;
    Ok(Chunk {
        samples: samples.as_ptr(),
        count: window.count,
        position: window.position,
        time_ns: window.time_ns,
        flags: flags | if window.gap { CHUNK_GAP } else { 0 },
        rate: window.ring.rate().hz(),
        owner: Arc::into_raw(window.ring).cast(),
    })
}

fn event_of(found: Found<events::Event>) -> (Code, Event) {
    let none = Event::default();
    match found {
        Found::Item(event) => (Code::Ok, event.into()),
        Found::Lost(length) => (Code::Overrun, Event { length, ..none }),
        Found::Nothing(code) => (code, none),
    }
}

/// The probabilities of the windows that end in `[position, position + count)`, and of the one
/// that it begins in: where they are, and how many.
pub(crate) fn speech(ring: &Reader, position: u64, count: u64) -> Result<(*const f32, u64)> {
    let (first, count) = judge::track(ring, position, count);
    let found = ring.speech(first, count)?;
    Ok((found.as_ptr(), count))
}

impl Chunk {
    /// None.
    pub(crate) const NONE: Self = Self {
        samples: null(),
        count: 0,
        position: 0,
        time_ns: 0,
        flags: 0,
        rate: 0,
        owner: null(),
    };
}
