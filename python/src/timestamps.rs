//! Where speech is, as Python gets it: dictionaries of samples or of seconds.

use pyo3::prelude::*;
use v2m_client::vad::segment::Segment;

/// With so many decimals any number of seconds is itself.
const MOST_DECIMALS: usize = 30;

/// One stretch of speech: a dictionary.
#[derive(IntoPyObject)]
pub(crate) struct Timestamp {
    start: Place,
    end: Place,
}

#[derive(IntoPyObject)]
enum Place {
    Sample(u64),
    Second(f64),
}

/// How timestamps are given.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Samples,
    /// With so many decimals; None: as they are.
    Seconds(Option<usize>),
}

impl Form {
    pub(crate) fn new(seconds: bool, decimals: Option<usize>) -> Self {
        if seconds {
            Self::Seconds(decimals)
        } else {
            Self::Samples
        }
    }

    /// Segments at 16 kHz of audio of so many `samples`, which `own` counts.
    pub(crate) fn list(
        self,
        segments: &[Segment],
        own: impl Fn(u64) -> u64,
        samples: u64,
        rate: u32,
    ) -> Vec<Timestamp> {
        let seconds = |samples: u64| samples as f64 / f64::from(rate);
        let place = |position| match (self, own(position)) {
            (Self::Samples, own) => Place::Sample(own),
            (Self::Seconds(None), own) => Place::Second(seconds(own)),
            // Never beyond the end.
            (Self::Seconds(Some(decimals)), own) => {
                Place::Second(rounded(seconds(own), decimals).min(seconds(samples)))
            }
        };
        let timestamp = |segment: &Segment| Timestamp {
            start: place(segment.start),
            end: place(segment.end),
        };
        segments.iter().map(timestamp).collect()
    }
}

/// As Python's `round`: the nearest number of so many decimals, an even last one of two.
fn rounded(seconds: f64, decimals: usize) -> f64 {
    let written = format!("{seconds:.*}", decimals.min(MOST_DECIMALS));
    written.parse().unwrap_or(seconds)
}
