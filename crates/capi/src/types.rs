//! What C sees, in its own words: these comments are those of `v2m.h`.

use std::ffi::{c_char, c_void};
use std::mem::size_of;
use std::ptr::null;

use v2m_client::ErrorKind;
use v2m_client::events::{self, What};
use v2m_client::ring::{self, State};
use v2m_client::vad::segment::Params;

/// What a function answers: 0 or more is an outcome, less than 0 an error, of which
/// v2m_last_error() has the text.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Done; what was asked for is there.
    Ok = 0,
    /// Nothing yet, or not within the time given.
    Pending = 1,
    /// Audio was overwritten before it was read. From a read or poll, `count` of what was to be
    /// filled is how many samples; what follows is fresh.
    Overrun = 2,
    /// The source has ended, or the stream was closed: nothing follows.
    Ended = 3,
    /// A signal was handled while the call waited. One that arrives just before it waits is not
    /// seen: who goes by signals waits for a limited time, or closes the stream from a thread.
    Interrupted = 4,
    /// The engine is gone or hears no speech: call v2m_stream_recover or
    /// v2m_segments_recover. Only polls answer this; reads recover by themselves.
    Recover = 5,
    /// The call itself is wrong: correct the argument that the text names.
    ErrorInvalid = -1,
    /// No engine can be reached or started.
    ErrorUnavailable = -2,
    /// The source is not there, refuses, or gives no audio.
    ErrorDevice = -3,
    /// The engine broke the protocol.
    ErrorProtocol = -4,
    /// The engine did not answer in time.
    ErrorTimeout = -5,
    /// The operating system refused.
    ErrorSystem = -6,
    /// A fault in this library.
    ErrorInternal = -7,
}

impl From<ErrorKind> for Code {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid | ErrorKind::NotOpen => Self::ErrorInvalid,
            ErrorKind::Unavailable => Self::ErrorUnavailable,
            ErrorKind::Device => Self::ErrorDevice,
            ErrorKind::Overrun => Self::Overrun,
            ErrorKind::Protocol => Self::ErrorProtocol,
            ErrorKind::Timeout => Self::ErrorTimeout,
            ErrorKind::System => Self::ErrorSystem,
            _ => Self::ErrorInternal,
        }
    }
}

/// Which engine to listen to.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The user's service if it runs, else one that this process starts.
    Auto = 0,
    /// The user's service.
    Service = 1,
    /// One that this process starts, and that ends with its last stream.
    Private = 2,
}

/// What to open. Fill it by v2m_options_init, then change what is to be otherwise.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of this structure, as v2m_options_init sets it.
    pub size: usize,
    /// What to capture (UTF-8). NULL: what the service captures, or the default source.
    pub source: *const c_char,
    /// Which of its channels: "auto", "mix", a name, or a number from 1. NULL: "auto".
    pub channel: *const c_char,
    /// The quantum to ask the graph for, as "128/48000". NULL: the engine's own.
    pub latency: *const c_char,
    /// The engine's program. NULL: $V2M_ENGINE_BIN, else the first on $PATH.
    pub program: *const c_char,
    /// A v2m_engine.
    pub engine: u32,
    /// Samples per second: 8000, 16000, 24000, 32000 or 48000. 0: 16000.
    pub rate: u32,
    /// Samples of a chunk. 0: 32 ms of them.
    pub count: u64,
    /// Samples from the beginning of one chunk to that of the next. 0: `count`.
    /// V2M_HOP_QUANTUM: as far as audio has arrived.
    pub hop: u64,
    /// Nanoseconds without any audio, or without an engine, after which reads fail.
    /// 0: they wait for ever.
    pub timeout_ns: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size: size_of::<Self>(),
            source: null(),
            channel: null(),
            latency: null(),
            program: null(),
            engine: Engine::Auto as u32,
            rate: 0,
            count: 0,
            hop: 0,
            timeout_ns: 0,
        }
    }
}

/// Samples in the engine's own memory. Fresh audio overwrites them when they are as old as
/// the engine's history (a minute, unless it is configured otherwise): whoever takes that
/// long asks v2m_chunk_check afterwards. The memory itself stays readable, whatever
/// becomes of the engine and the stream, until v2m_chunk_release.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// `count` samples. Read only.
    pub samples: *const f32,
    /// How many. After V2M_OVERRUN: how many were lost; `samples` is NULL then.
    pub count: u64,
    /// Index of the first, since the engine's first sample of this source.
    pub position: u64,
    /// CLOCK_MONOTONIC nanoseconds at which the first was captured.
    pub time_ns: i64,
    /// V2M_CHUNK_GAP, V2M_CHUNK_FINAL.
    pub flags: u32,
    /// Samples per second.
    pub rate: u32,
    /// What keeps the memory. Leave it alone.
    pub owner: *const c_void,
}

/// A chunk whenever audio arrives, that ends with the newest.
pub const HOP_QUANTUM: u64 = u64::MAX;

/// It holds silence filled in for lost audio, or does not follow on the chunk before.
pub const CHUNK_GAP: u32 = 1;
/// Of an utterance: it doesn't grow any more.
pub const CHUNK_FINAL: u32 = 2;

/// What counts as an utterance. Fill it by v2m_speech_init.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Speech {
    /// Bytes of this structure, as v2m_speech_init sets it.
    pub size: usize,
    /// From this probability on a window is speech.
    pub threshold: f32,
    /// Below this one it is a pause. 0: 0.15 below `threshold`, at least 0.01.
    pub neg_threshold: f32,
    /// Speech must be longer than this to count.
    pub min_speech_ms: u32,
    /// A pause this long ends an utterance.
    pub min_silence_ms: u32,
    /// Added before and after each utterance.
    pub pad_ms: u32,
    /// Also give an utterance that grows, each time it grew by this much. 0: don't.
    pub partial_ms: u32,
    /// The longest utterance, its pads included, in seconds.
    pub max_s: f64,
}

impl Default for Speech {
    fn default() -> Self {
        let params = Params::default();
        Self {
            size: size_of::<Self>(),
            threshold: params.threshold,
            neg_threshold: params.neg_threshold.unwrap_or(0.0),
            min_speech_ms: params.min_speech_ms,
            min_silence_ms: params.min_silence_ms,
            pad_ms: params.pad_ms,
            partial_ms: params.partial_ms.unwrap_or(0),
            max_s: params.max_s,
        }
    }
}

/// What happened, and at which position.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// A v2m_event_kind. Pass over those that you don't know.
    pub kind: u32,
    /// Depends on the kind.
    pub detail: u32,
    /// First sample concerned.
    pub position: u64,
    /// Samples concerned.
    pub length: u64,
    /// CLOCK_MONOTONIC nanoseconds of `position`.
    pub time_ns: i64,
}

impl From<ring::Event> for Event {
    fn from(event: ring::Event) -> Self {
        Self {
            kind: event.kind,
            detail: event.detail,
            position: event.position,
            length: event.length,
            time_ns: event.time_ns,
        }
    }
}

impl From<events::Event> for Event {
    fn from(event: events::Event) -> Self {
        let (kind, detail) = match event.what {
            What::SpeechStart => (EventKind::SpeechStart, 0),
            What::SpeechEnd => (EventKind::SpeechEnd, 0),
            What::Gap(reason) => (EventKind::Gap, reason as u32),
            What::Mute => (EventKind::Mute, 0),
            What::Unmute => (EventKind::Unmute, 0),
            What::Source(_) => (EventKind::Device, 0),
            What::Channel(number) => (EventKind::Channel, number),
            What::State(state) => (EventKind::State, state as u32),
            What::EngineLost => (EventKind::State, State::Stopped as u32),
        };
        Self {
            kind: kind as u32,
            detail,
            position: event.position,
            length: event.length,
            time_ns: event.time_ns,
        }
    }
}

/// What an event tells.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Audio is missing, and silence of `length` samples in its place; `detail` is a v2m_gap.
    Gap = 1,
    /// Speech begins, by the engine's own parameters.
    SpeechStart = 2,
    /// It ended, after `length` samples.
    SpeechEnd = 3,
    /// Another source is captured from about here on.
    Device = 4,
    /// The engine's state became `detail`, a v2m_state.
    State = 5,
    /// From about here on the source's channel number `detail` (from 1) is heard.
    Channel = 6,
    /// The user has muted speech capture: silence from here on.
    Mute = 7,
    /// That has ended, after `length` samples.
    Unmute = 8,
}

/// Why audio is missing.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The graph or the driver skipped samples.
    Xrun = 1,
    /// Capture stopped, or moved to another clock.
    Interrupted = 2,
    /// Still no audio: this goes on with the gap before.
    Continued = 3,
    /// Nobody listened, so nothing was captured. Not a loss.
    NotCaptured = 4,
    /// The user has muted speech capture. Not a loss.
    Muted = 5,
    /// The machine slept for as long as the event. Not a loss, and no samples stand for it.
    Suspended = 6,
}

/// What was done to 32 ms of the source "clean"; all zeros of others, and where nothing plays.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo {
    /// By how many dB the microphone became softer.
    pub cancelled_db: f32,
    /// V2M_ECHO_PLAYS, V2M_ECHO_BOTH, V2M_ECHO_CONVERGING.
    pub flags: u32,
}

/// The loudspeaker plays, or its echo may still be heard.
pub const ECHO_PLAYS: u32 = 1;
/// Both sides speak: somebody interrupts what plays.
pub const ECHO_BOTH: u32 = 2;
/// The room isn't known yet, at the beginning and after a change of microphone or loudspeaker; or
/// what was played isn't, as where a machine is too busy.
pub const ECHO_CONVERGING: u32 = 4;

impl From<ring::Echo> for Echo {
    fn from(echo: ring::Echo) -> Self {
        let flags = [
            (echo.plays, ECHO_PLAYS),
            (echo.both, ECHO_BOTH),
            (echo.converging, ECHO_CONVERGING),
        ];
        Self {
            cancelled_db: echo.cancelled_db,
            flags: flags
                .iter()
                .filter(|(is, _)| *is)
                .map(|(_, flag)| flag)
                .sum(),
        }
    }
}

/// What the engine is doing.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// Looking for its source.
    Starting = 0,
    /// Audio arrives.
    Running = 1,
    /// The source or the audio server is gone; silence is filled in meanwhile.
    Waiting = 2,
    /// The source has come to its end, as a file does; nothing follows.
    Ended = 3,
    /// The engine has stopped, or is gone.
    Stopped = 4,
    /// Nobody listens and nothing is captured; positions stand still.
    Idle = 5,
}

/// How a stream is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    /// Bytes of this structure that this library knows.
    pub size: usize,
    /// Samples captured so far: the position of the next one.
    pub position: u64,
    /// The oldest position that is not overwritten.
    pub oldest: u64,
    /// Samples lost, and filled with silence, since the engine's first.
    pub lost: u64,
    /// In so many gaps.
    pub gaps: u64,
    /// CLOCK_MONOTONIC nanoseconds at which the newest samples were written.
    pub written_ns: i64,
    /// Samples per second.
    pub rate: u32,
    /// Samples of a window of speech detection (32 ms).
    pub window: u32,
    /// A v2m_state.
    pub state: u32,
    /// Process of the private engine. 0: it is the user's service.
    pub private_pid: u32,
}

// The engine's numbers are C's.
const _: () = {
    assert!(EventKind::Gap as u32 == ring::Kind::Gap as u32);
    assert!(EventKind::SpeechStart as u32 == ring::Kind::SpeechStart as u32);
    assert!(EventKind::SpeechEnd as u32 == ring::Kind::SpeechEnd as u32);
    assert!(EventKind::Device as u32 == ring::Kind::Device as u32);
    assert!(EventKind::State as u32 == ring::Kind::State as u32);
    assert!(EventKind::Channel as u32 == ring::Kind::Channel as u32);
    assert!(Gap::Xrun as u32 == ring::GapReason::Xrun as u32);
    assert!(Gap::Interrupted as u32 == ring::GapReason::Interrupted as u32);
    assert!(Gap::Continued as u32 == ring::GapReason::Continued as u32);
    assert!(Gap::NotCaptured as u32 == ring::GapReason::NotCaptured as u32);
    assert!(Gap::Muted as u32 == ring::GapReason::Muted as u32);
    assert!(Gap::Suspended as u32 == ring::GapReason::Suspended as u32);
    assert!(StreamState::Starting as u32 == State::Starting as u32);
    assert!(StreamState::Running as u32 == State::Running as u32);
    assert!(StreamState::Waiting as u32 == State::Waiting as u32);
    assert!(StreamState::Stopped as u32 == State::Stopped as u32);
    assert!(StreamState::Ended as u32 == State::Ended as u32);
    assert!(StreamState::Idle as u32 == State::Idle as u32);
};
