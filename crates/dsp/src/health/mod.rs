//! What is wrong with a source, judged by its sound: nothing but zeros, only noise, DC,
//! clipping, too quiet; and by what is known of its switches and channels.
//!
//! Follow a window of 32 ms: [`measure`] takes its figures and keeps those of the last ten
//! seconds, [`amplitude`] counts its samples by size, [`Judge`] compares both with
//! thresholds. `docs/health.md` says why each is where it is.
//!
//! ```
//! use v2m_dsp::health::{Facts, Judge, Kind, Moment, PATIENCE, WINDOW};
//!
//! let mut judge = Judge::new(PATIENCE);
//! for n in 0..100 {
//!     let moment = Moment { position: n * WINDOW as u64, time_ns: n as i64 * 32_000_000 };
//!     judge.window(&[0.0; WINDOW], None, moment);
//! }
//! let findings = judge.findings(&Facts::default(), Moment::default());
//! assert_eq!(findings[0].kind, Kind::Silence);
//! assert_eq!(findings[0].since.position, 0);
//! ```

mod amplitude;
mod judge;
mod measure;

pub use judge::{Judge, PATIENCE};

/// Samples of one window: 32 ms at 16 kHz.
pub const WINDOW: usize = crate::vad::WINDOW;

/// What can be wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A switch of the desktop or the card is off, or the volume is zero.
    Muted,
    /// The same value all the time, which no microphone gives.
    Silence,
    /// Faint and even noise, and nothing else.
    Noise,
    /// What is heard is too faint.
    TooQuiet,
    /// Peaks are cut off.
    Clipping,
    /// The samples' mean isn't zero.
    Dc,
    /// One channel of several gives nothing.
    DeadChannel,
    /// Two channels would cancel each other.
    OppositePolarity,
}

impl Kind {
    /// As programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Muted => "muted",
            Self::Silence => "silence",
            Self::Noise => "noise",
            Self::TooQuiet => "too-quiet",
            Self::Clipping => "clipping",
            Self::Dc => "dc",
            Self::DeadChannel => "dead-channel",
            Self::OppositePolarity => "opposite-polarity",
        }
    }

    /// It comes of the sound, not of [`Facts`].
    fn is_heard(self) -> bool {
        !matches!(
            self,
            Self::Muted | Self::DeadChannel | Self::OppositePolarity
        )
    }
}

/// A moment of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// In samples at 16 kHz.
    pub position: u64,
    /// CLOCK_MONOTONIC nanoseconds of its capture.
    pub time_ns: i64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// When it began.
    pub since: Moment,
    /// How much, in `unit`; `None` where there is nothing to measure.
    pub value: Option<f32>,
    /// `dBFS`, or `full scale` where `value` is a share of that.
    pub unit: &'static str,
    /// One line: what was found.
    pub text: String,
    /// One line: what to do.
    pub remedy: String,
}

/// A switch that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// One line: which.
    pub text: String,
    /// One line: how to switch it on.
    pub remedy: String,
}

/// What is known of one of the source's channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// As the source names it.
    pub name: String,
    /// It counts in what is heard.
    pub heard: bool,
    /// It carries no sound.
    pub dead: bool,
    /// It carries what is heard, in opposite polarity.
    pub inverted: bool,
}

/// What the sound itself doesn't tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// A switch that is off, if one is.
    pub mute: Option<&'a Mute>,
    /// The source's channels.
    pub channels: &'a [Channel],
}

#[cfg(test)]
mod tests;
