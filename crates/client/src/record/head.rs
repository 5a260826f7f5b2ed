//! What stands in a file beside its audio: where and when it began, and cues.
//! The container's own part of it is in `wav.rs` and `flac.rs`; both fill the
//! file's first [`HEAD`] bytes anew at every sync.

use std::ops::Range;

use super::moment::Moment;
use crate::ring::Rate;

/// The bytes before the audio.
pub(super) const HEAD: usize = 8192;

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
    pub(super) shape: Shape,
}

/// What a file's audio is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rate: Rate,
    /// At least one. What is said of samples elsewhere is said of frames, one sample of each
    /// channel, in which the channels stand side by side.
    pub(super) channels: u32,
}

impl Shape {
    pub(super) fn mono(rate: Rate) -> Self {
        Self { rate, channels: 1 }
    }

    /// How many frames are in so many interleaved samples.
    pub(super) fn frames(self, samples: usize) -> u64 {
        samples as u64 / u64::from(self.channels)
    }
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

/// What a file says of itself, in two places of the head that take turns: what is said
/// next is on the disk before a single sector turns to it. So a head of which a power
/// loss leaves some sectors old reads as the one or as the other.
///
/// ```text
/// sizes │ notes, filler ──────────────────────> │ audio …   the first is shown
/// sizes │ filler ───> │ notes, filler ────────> │ audio …   the second
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notes {
    places: [Vec<u8>; 2],
    shown: usize,
}

/// A head, and what of it has to be on the disk before the rest.
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) first: Range<usize>,
}

impl Head {
    /// That of a file which is nothing but audio.
    pub(super) fn none() -> Self {
        Self {
            bytes: Vec::new(),
            first: 0..0,
        }
    }
}

impl Notes {
    /// The same in both places: whole chunks or blocks of the container.
    pub(super) fn new(notes: Vec<u8>) -> Self {
        Self {
            places: [notes.clone(), notes],
            shown: 0,
        }
    }

    /// Other notes, in the place that wasn't shown; None if they are what is shown.
    pub(super) fn turned(&self, notes: Vec<u8>) -> Option<Self> {
        if self.places[self.shown] == notes {
            return None;
        }
        let mut turned = self.clone();
        turned.shown = 1 - self.shown;
        turned.places[turned.shown] = notes;
        Some(turned)
    }

    /// How long the notes of one place may be, in so much space for both.
    pub(super) fn room(space: usize) -> usize {
        space / 2 / 8 * 8 - 8
    }

    /// Appends both places to the head's `bytes`, so that they end at `end`. `filler`
    /// begins what nobody reads, of a length in bytes, with nothing behind it or with more.
    pub(super) fn lay(
        &self,
        mut bytes: Vec<u8>,
        end: usize,
        filler: impl Fn(usize, bool) -> Vec<u8>,
    ) -> Head {
        let start = bytes.len();
        let middle = start + Self::room(end - start) + 8;
        for (notes, to) in self.places.iter().zip([middle, end]) {
            bytes.extend(notes);
            bytes.extend(filler(end - bytes.len(), true));
            bytes.resize(to, 0);
        }
        let closed = filler(middle - start, false);
        let opens = start + closed.len();
        let first = match self.shown {
            0 => opens..middle,
            _ => {
                bytes[start..opens].copy_from_slice(&closed);
                middle..end
            }
        };
        Head { bytes, first }
    }
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
pub(super) fn seconds(rate: Rate, samples: u64) -> String {
    format!("{:.3} s", rate.seconds(samples))
}

/// Whatever sectors of a head reach the disk on the way from one to the next, `notes`
/// finds those of the one or of the other.
#[cfg(test)]
pub(super) fn survives_power_loss(before: &Head, after: &Head, notes: impl Fn(&[u8]) -> Vec<u8>) {
    const SECTOR: usize = 512;
    // Every mixture of two heads' sectors.
    let mixtures = |old: &[u8], new: &[u8]| -> Vec<Vec<u8>> {
        let differ = |n: &usize| old[n * SECTOR..][..SECTOR] != new[n * SECTOR..][..SECTOR];
        let changed: Vec<usize> = (0..HEAD / SECTOR).filter(differ).collect();
        let mixture = |mask: u32| {
            let mut mixed = old.to_vec();
            for (bit, n) in changed.iter().enumerate() {
                let sector = n * SECTOR..(n + 1) * SECTOR;
                if mask >> bit & 1 == 1 {
                    mixed[sector.clone()].copy_from_slice(&new[sector]);
                }
            }
            mixed
        };
        (0..1 << changed.len()).map(mixture).collect()
    };
    let (old, new) = (notes(&before.bytes), notes(&after.bytes));
    let mut staged = before.bytes.clone();
    staged[after.first.clone()].copy_from_slice(&after.bytes[after.first.clone()]);
    for mixed in mixtures(&before.bytes, &staged) {
        assert_eq!(notes(&mixed), old);
    }
    for mixed in mixtures(&staged, &after.bytes) {
        let found = notes(&mixed);
        assert!(found == old || found == new);
    }
}

#[cfg(test)]
pub(super) fn origin() -> Origin {
    Origin {
        ring: "00112233445566778899aabbccddeeff".into(),
        position: 123_456,
        began: Some((5_000_000_000, Moment::of_wall(5_000_000_000))),
        source: "default".into(),
        shape: Shape::mono(Rate::SPEECH),
    }
}
