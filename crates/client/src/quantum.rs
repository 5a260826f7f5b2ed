//! A quantum as PipeWire writes it: so many samples at such a rate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// A quantum, for instance 128/48000: 128 samples at 48 kHz, 2.7 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantum {
    /// Length in samples.
    pub samples: u32,
    /// Samples per second.
    pub rate: u32,
}

impl Quantum {
    /// The engine's own request: 128/48000.
    pub const DEFAULT: Self = Self {
        samples: 128,
        rate: 48_000,
    };
    /// What readers of utterances and recordings ask for, to which 20 ms don't matter, so that
    /// they cost the others in the graph little: 1024/48000.
    pub const RELAXED: Self = Self {
        samples: 1024,
        rate: 48_000,
    };
    /// The lowest that clients may ask for, unless configured: 32/48000.
    pub const LOWEST: Self = Self {
        samples: 32,
        rate: 48_000,
    };
    /// The highest that clients may ask for, unless configured: 8192/48000.
    pub const HIGHEST: Self = Self {
        samples: 8192,
        rate: 48_000,
    };

    pub fn ns(self) -> u64 {
        u64::from(self.samples) * 1_000_000_000 / u64::from(self.rate)
    }
}

impl fmt::Display for Quantum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.samples, self.rate)
    }
}

impl FromStr for Quantum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let message =
                format!("\"{text}\" is not a quantum: write samples/rate, for instance 128/48000");
            Error::new(ErrorKind::Invalid, message)
        };
        let (samples, rate) = text.split_once('/').ok_or_else(wrong)?;
        let samples = samples.parse().ok().filter(|n| (1..=65_536).contains(n));
        let rate = rate.parse().ok().filter(|n| (8_000..=384_000).contains(n));
        Ok(Self {
            samples: samples.ok_or_else(wrong)?,
            rate: rate.ok_or_else(wrong)?,
        })
    }
}

impl TryFrom<String> for Quantum {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Quantum> for String {
    fn from(latency: Quantum) -> Self {
        latency.to_string()
    }
}
