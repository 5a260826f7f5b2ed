//! The rates at which a ring can run, and what a number of samples at one of them means.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// All rates are multiples of this: a tick of it is a whole number of samples in each, so
/// that streams of one source can begin and go on at the same moment.
pub const TICKS: u32 = 8_000;

/// Samples per second of a ring: 8, 16, 24, 32 or 48 kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate(u32);

impl Rate {
    /// 16 kHz: what speech is judged at, and what clients get that ask for no rate.
    pub const SPEECH: Self = Self(16_000);

    /// All that there are, in ascending order.
    pub const ALL: [Self; 5] = [
        Self(8_000),
        Self::SPEECH,
        Self(24_000),
        Self(32_000),
        Self(48_000),
    ];

    /// That of so many samples per second.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is none of [`ALL`](Self::ALL).
    pub fn new(hz: u32) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|rate| rate.0 == hz);
        known.ok_or_else(|| {
            let message =
                format!("no stream has {hz} Hz: ask for 8000, 16000, 24000, 32000 or 48000");
            Error::new(ErrorKind::Invalid, message)
        })
    }

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        match self.0 {
            8_000 => 0,
            16_000 => 1,
            24_000 => 2,
            32_000 => 3,
            _ => 4,
        }
    }

    /// Samples per second.
    pub const fn hz(self) -> u32 {
        self.0
    }

    /// Samples of a window, which is 32 ms at every rate.
    pub const fn window(self) -> u64 {
        self.0 as u64 * 4 / 125
    }

    /// Samples of a tick, see [`TICKS`].
    pub const fn per_tick(self) -> u64 {
        (self.0 / TICKS) as u64
    }

    /// Nanoseconds that so many samples last, rounded down.
    pub fn ns(self, samples: i64) -> i64 {
        let rate = i64::from(self.0);
        let (seconds, rest) = (samples.div_euclid(rate), samples.rem_euclid(rate));
        seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(rest * 1_000_000_000 / rate)
    }

    /// Samples that so many nanoseconds hold, rounded down.
    pub fn samples(self, ns: i64) -> i64 {
        let samples = i128::from(ns) * i128::from(self.0);
        samples.div_euclid(1_000_000_000) as i64
    }

    /// Seconds that so many samples last.
    pub fn seconds(self, samples: u64) -> f64 {
        samples as f64 / f64::from(self.0)
    }

    /// Samples at this rate in the time of `count` samples at `other`, rounded down.
    pub fn convert(self, count: u64, other: Self) -> u64 {
        let samples = u128::from(count) * u128::from(self.0) / u128::from(other.0);
        u64::try_from(samples).unwrap_or(u64::MAX)
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self::SPEECH
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hz = text.parse().map_err(|_| {
            let message = format!("{text:?} is no rate: write samples per second, as 48000");
            Error::new(ErrorKind::Invalid, message)
        });
        Self::new(hz?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_32_ms_at_every_rate_and_a_tick_a_whole_number_of_samples() {
        for rate in Rate::ALL {
            assert_eq!(rate.ns(rate.window() as i64), 32_000_000);
            assert_eq!(rate.samples(32_000_000), rate.window() as i64);
            assert_eq!(rate.per_tick() * u64::from(TICKS), u64::from(rate.hz()));
            assert_eq!(Rate::ALL[rate.index()], rate);
            assert_eq!(Rate::new(rate.hz()).unwrap(), rate);
        }
        assert_eq!(Rate::ALL.map(Rate::window), [256, 512, 768, 1024, 1536]);
        for hz in [0, 1, 7_999, 11_025, 44_100, 96_000, u32::MAX] {
            assert!(Rate::new(hz).is_err(), "{hz}");
        }
    }

    #[test]
    fn times_do_not_drift() {
        for rate in Rate::ALL {
            let year = 31_557_600 * i64::from(rate.hz());
            assert_eq!(rate.ns(year), 31_557_600_000_000_000);
            assert_eq!(
                rate.ns(-1),
                -(1_000_000_000 / i64::from(rate.hz())) - i64::from(1_000_000_000 % rate.hz() > 0)
            );
        }
    }
}
