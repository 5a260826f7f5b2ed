//! Where audio enters: a backend delivers [`Block`]s to the [`Sink`] on its
//! real-time thread, and tells the engine what happens around it by [`Event`]s.

#[cfg(feature = "alsa")]
pub mod alsa;
mod backend;
pub mod channels;
pub mod clean;
pub mod file;
pub mod graph;
#[cfg(feature = "alsa")]
pub mod handover;
pub mod ingest;
#[cfg(not(feature = "alsa"))]
pub mod no_alsa;
pub mod null;
pub mod pipewire;
mod stamps;
mod thread;
mod timeline;

pub use backend::{Backend, Kind, Start};
pub use thread::{CaptureThread, Orders};
pub use v2m_client::status::{SourceInfo, SourceKind};

use v2m_dsp::channels::{Heard, Planar};
use v2m_error::{Error, ErrorKind, Result};

/// All backends, in the order in which their sources are listed.
pub static KINDS: [&Kind; 5] = [
    &graph::KIND,
    &clean::KIND,
    #[cfg(feature = "alsa")]
    &alsa::KIND,
    #[cfg(not(feature = "alsa"))]
    &no_alsa::KIND,
    &file::KIND,
    &null::KIND,
];

/// Starts to capture what the configuration asks for.
pub fn start(start: Start<'_>) -> Result<Box<dyn Backend>> {
    let source = &start.config.source;
    let kind = KINDS.iter().find(|kind| (kind.takes)(source));
    kind.map_or_else(
        || {
            let message = format!("no backend captures {source}");
            Err(Error::new(ErrorKind::Invalid, message))
        },
        |kind| (kind.start)(start),
    )
}

/// One cycle of audio as a backend got it, at the rate of its own clock.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The source's channels; full scale is ±1.
    pub channels: Planar<'a>,
    /// What is heard of them.
    pub heard: Heard<'a>,
    /// Samples per second of this block and of `position`.
    pub rate: u32,
    /// Which clock `position` counts on. A change means: the two can't be compared.
    pub clock: u64,
    /// The clock's count at the first sample. Gaps and repeats show here, and
    /// only here: callbacks are never counted.
    pub position: u64,
    /// CLOCK_MONOTONIC nanoseconds at which the first sample was captured.
    pub time_ns: i64,
}

impl<'a> Block<'a> {
    /// A source's only channel; rate, clock, position and time are 0.
    pub fn mono(samples: &'a [f32]) -> Self {
        Self {
            channels: Planar::new(samples, samples.len(), samples.len(), 1),
            heard: Heard::Channel(0),
            rate: 0,
            clock: 0,
            position: 0,
            time_ns: 0,
        }
    }

    /// How long it is, in samples of each channel.
    pub fn frames(&self) -> usize {
        self.channels.frames()
    }

    /// How long it is, in nanoseconds.
    pub fn duration_ns(&self) -> i64 {
        self.frames() as i64 * 1_000_000_000 / i64::from(self.rate.max(1))
    }

    /// CLOCK_MONOTONIC nanoseconds at which its last sample had been captured.
    pub fn end_ns(&self) -> i64 {
        self.time_ns.saturating_add(self.duration_ns())
    }
}

/// Takes blocks on the real-time thread: no allocation, lock, log or system call.
pub trait Sink: Send + Sync {
    /// Takes one block. Blocks already seen are ignored, missing ones become a gap.
    fn block(&self, block: &Block<'_>);

    /// Wakes those who wait for the blocks. Called on the same thread after one or more,
    /// when it has done what others wait for and is about to rest; the one place for
    /// system calls.
    fn wake(&self) {}

    /// Makes ready for blocks of this rate; called before the first of them, and
    /// allowed what [`block`](Self::block) is not.
    fn expect(&self, _rate: u32) {}
}

/// Where a backend tells its [`Event`]s.
pub type Events = Box<dyn Fn(Event) + Send>;

/// What a backend tells the engine, off the real-time thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The audio server answers; the PCM, the file is open.
    Reached,
    /// Linked to this source; audio is expected.
    Linked(String),
    /// Nothing to capture now, and why; the backend goes on trying.
    Waiting(String),
    /// The audio server is gone; the backend goes on trying.
    Lost(String),
    /// This of the source's channels is heard now, by its number from 1 and its name.
    Heard {
        /// The first, where several that are the same are heard.
        number: u32,
        /// As the status has it.
        name: String,
    },
    /// The source can't be had as it was asked for; told at most once, and first. What waits
    /// for it to come goes on trying.
    Refused(Error),
    /// The source has no more audio (end of a file).
    Ended,
}
