//! What happened, and at which position. 32 bytes in a lane.

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// Lost audio, filled with silence: `[position, position + length)`, the
    /// samples that the resampler's filter smeared at its edges included.
    Gap = 1,
    /// Speech begins at `position`.
    SpeechStart = 2,
    /// Speech ended at `position`; `length` is how long it was.
    SpeechEnd = 3,
    /// Another source is captured from about `position` on; `detail` are the bytes of its name,
    /// which is in the records of [`Kind::Name`] before this one.
    Device = 4,
    /// The engine's state became `detail` (a [`State`](super::State)) at about `position`.
    State = 5,
    /// From about `position` on, the source's channel number `detail` (from 1) is heard.
    Channel = 6,
    /// The wall clock was set, or the machine slept: from `time_ns` on CLOCK_REALTIME is
    /// `length` nanoseconds, signed, ahead of CLOCK_MONOTONIC. Also the first record.
    Clock = 7,
    /// At about `position` the machine slept for as long as `length` samples take. No samples
    /// stand for that: positions count CLOCK_MONOTONIC, which stood still.
    Suspend = 8,
    /// Piece number `detail` of a name: `length` is eight bytes of it, UTF-8, the last ones zero
    /// where it is shorter.
    Name = 9,
}

/// Why audio is missing ([`Kind::Gap`]'s detail).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum GapReason {
    /// The graph or the driver skipped samples and its clock says how many.
    Xrun = 1,
    /// Capture stopped or moved to another clock; measured by CLOCK_MONOTONIC.
    Interrupted = 2,
    /// Still no audio: this record continues the one before.
    Continued = 3,
    /// Nobody listened, so nothing was captured, or what had been was wiped: not a loss,
    /// and not counted as one.
    NotCaptured = 4,
    /// The user has muted speech capture: no loss either.
    Muted = 5,
    /// The machine slept just before, or in the tenth of a second before that: no loss, and the
    /// samples are the source's own. [`Kind::Suspend`] says for how long.
    Suspended = 6,
}

impl GapReason {
    /// By its number in the ring; None for one of a version to come.
    pub fn from_number(number: u32) -> Option<Self> {
        let all = [
            Self::Xrun,
            Self::Interrupted,
            Self::Continued,
            Self::NotCaptured,
            Self::Muted,
            Self::Suspended,
        ];
        all.into_iter().find(|&reason| reason as u32 == number)
    }
}

/// Of a source's name so much is told.
pub(crate) const NAME_BYTES: usize = 1024;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// A [`Kind`]; a number that this version doesn't know is passed over.
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

impl Event {
    pub(crate) fn to_words(self) -> [u32; 8] {
        let mut bytes = [0; 32];
        bytes[0..4].copy_from_slice(&self.kind.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.detail.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_ne_bytes());
        bytes[24..32].copy_from_slice(&self.time_ns.to_ne_bytes());
        bytemuck::cast(bytes)
    }

    pub(crate) fn from_words(words: [u32; 8]) -> Self {
        let words: [u64; 4] = bytemuck::cast(words);
        let [kind, detail]: [u32; 2] = bytemuck::cast(words[0]);
        Self {
            kind,
            detail,
            position: words[1],
            length: words[2],
            time_ns: words[3] as i64,
        }
    }

    /// First sample after what the record concerns.
    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.length)
    }
}
