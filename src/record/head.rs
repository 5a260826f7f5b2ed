//! What stands in a file beside its audio: where and when it began, and cues.
//! The container's own part of it is in `wav.rs` and `flac.rs`; both fill the
//! file's first [`HEAD`] bytes anew at every sync.

use super::moment::Moment;
use crate::ring::SAMPLE_RATE;

/// The bytes before the audio: a page, so that no kill can leave a half of it.
pub(super) const HEAD: usize = 4096;

/// The program, as files name it.
pub(super) const PROGRAM: &str = concat!("v2m-engine ", env!("CARGO_PKG_VERSION"));

/// Where a recording came from.
#[derive(Clone)]
pub(super) struct Origin {
    /// The ring's id, hexadecimal.
    pub(super) ring: String,
    /// The ring's position of the file's first sample.
    pub(super) position: u64,
    /// CLOCK_MONOTONIC nanoseconds of that sample, and the same by the wall clock,
    /// once known.
    pub(super) began: Option<(i64, Moment)>,
    /// What the engine captures.
    pub(super) source: String,
}

impl Origin {
    /// In a line for people and programs.
    pub(super) fn line(&self) -> String {
        let mut line = format!("ring {}, position {}", self.ring, self.position);
        if let Some((time_ns, _)) = self.began {
            line += &format!(", CLOCK_MONOTONIC {time_ns} ns");
        }
        line + ", source " + &self.short_source()
    }

    /// As much of the source's name as a file's head has room for.
    pub(super) fn short_source(&self) -> String {
        self.source.chars().take(200).collect()
    }
}

/// A place in the recording and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cue {
    /// The file's sample that it marks.
    pub(super) sample: u64,
    pub(super) label: String,
}

/// How long a recording is, as far as its head may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// So many samples; after them so many bytes of something else.
    Known { samples: u64, tail: u64 },
    /// It goes into a pipe.
    Unknown,
}

/// `1.250 s`.
pub(super) fn seconds(samples: u64) -> String {
    format!("{:.3} s", samples as f64 / f64::from(SAMPLE_RATE))
}

#[cfg(test)]
pub(super) fn origin() -> Origin {
    Origin {
        ring: "00112233445566778899aabbccddeeff".into(),
        position: 123_456,
        began: Some((5_000_000_000, Moment::of_monotonic(5_000_000_000))),
        source: "default".into(),
    }
}
