//! What counts as a segment, in the words of silero-vad's parameters.

use std::str::FromStr;

use super::super::SAMPLE_RATE;
use super::{MS, STEP};
use crate::{Error, ErrorKind, Result};

/// What counts as a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// From this probability on a window is speech.
    pub threshold: f32,
    /// Below this one it is a pause; `None`: 0.15 below `threshold`, at least 0.01.
    pub neg_threshold: Option<f32>,
    /// Speech must be longer than this to count, in ms.
    pub min_speech_ms: u32,
    /// A pause this long ends a segment, in ms.
    pub min_silence_ms: u32,
    /// Added before and after each segment, in ms.
    pub pad_ms: u32,
    /// The longest segment including its pads, in seconds; may be infinite.
    pub max_s: f64,
    /// A pause longer than this may split a segment that gets too long, in ms.
    pub split_silence_ms: u32,
    /// Where a segment that gets too long is cut.
    pub split: Split,
    /// Also report a growing segment each time it grew by this many ms.
    pub partial_ms: Option<u32>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            neg_threshold: None,
            min_speech_ms: 250,
            min_silence_ms: 500,
            pad_ms: 200,
            max_s: 30.0,
            split_silence_ms: 98,
            split: Split::default(),
            partial_ms: None,
        }
    }
}

/// Where speech is cut that gets too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// At its longest finished pause; without one, where it is too long. silero-vad's default.
    Longest,
    /// At its last pause, finished or not; without one, where it is too long. silero-vad's
    /// `use_max_poss_sil_at_max_speech=False`.
    Last,
    /// At its longest finished pause; without one, in the last five seconds where it is
    /// quietest, or speech was least likely. A pause shorter than some 200 ms lowers the
    /// probability, but seldom to the lower threshold.
    #[default]
    Quietest,
}

impl Split {
    const ALL: [Self; 3] = [Self::Longest, Self::Last, Self::Quietest];

    /// As it is written: `longest`, `last`, `quietest`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Longest => "longest",
            Self::Last => "last",
            Self::Quietest => "quietest",
        }
    }
}

impl FromStr for Split {
    type Err = Error;

    /// Errors: [`ErrorKind::Invalid`], naming what there is.
    fn from_str(text: &str) -> Result<Self> {
        let named = |split: &Self| split.name() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let message = format!("{text:?} is no place to split: write longest, last or quietest");
            Error::new(ErrorKind::Invalid, message)
        })
    }
}

impl Params {
    /// Errors: [`ErrorKind::Invalid`], naming the parameter and what it may be.
    pub fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
        let threshold = self.threshold;
        if !(threshold > 0.0 && threshold <= 1.0) {
            return invalid(format!(
                "threshold = {threshold}: must be above 0 and at most 1"
            ));
        }
        if let Some(neg) = self.neg_threshold
            && !(neg > 0.0 && neg <= threshold)
        {
            return invalid(format!(
                "neg_threshold = {neg}: must be above 0 and at most threshold ({threshold})"
            ));
        }
        let least = (2 * self.pad() + 2 * STEP) as f64 / f64::from(SAMPLE_RATE);
        let max_s = self.max_s;
        if max_s.is_nan() || max_s < least {
            return invalid(format!(
                "max_s = {max_s}: must be at least {least}, two pads and two windows"
            ));
        }
        if self.partial_ms == Some(0) {
            return invalid("partial_ms = 0: must be at least 1, or absent".into());
        }
        Ok(())
    }

    /// Whether a segment may be cut where the audio is quietest.
    pub fn asks_for_quiet(&self) -> bool {
        self.split == Split::Quietest && self.max_s.is_finite()
    }

    pub(super) fn pad(&self) -> u64 {
        u64::from(self.pad_ms) * MS
    }

    /// In f64, as thresholds of Python's floats compare.
    pub(super) fn neg_threshold(&self) -> f64 {
        match self.neg_threshold {
            Some(neg) => decimal(neg),
            None => (decimal(self.threshold) - 0.15).max(0.01),
        }
    }
}

/// The f64 that is written like `x`: 0.35f32 as 0.35, not 0.3499999940395355.
pub(super) fn decimal(x: f32) -> f64 {
    x.to_string().parse().expect("a float's own digits")
}
