//! Moments by the wall clock, in local time, as files name them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::ring::{Rate, Reader};

/// A moment in the local time zone.
#[derive(Clone)]
pub(super) struct Moment(ZonedDateTime);

impl Moment {
    /// The moment at which CLOCK_MONOTONIC was `time_ns`, by what the wall clock showed then,
    /// as far as `ring` knows.
    pub(super) fn of(ring: &Reader, time_ns: i64) -> Self {
        Self::of_wall(ring.wall_ns(time_ns))
    }

    /// What the wall clock shows.
    pub(super) fn now() -> Self {
        Self(Timestamp::now().to_zoned_datetime(TimeZone::system()))
    }

    /// So many nanoseconds after 1970 began.
    pub(super) fn of_wall(wall_ns: i64) -> Self {
        // What a broken engine claims is a moment all the same.
        let moment = Timestamp::from_nanosecond(wall_ns.into());
        Self(
            moment
                .unwrap_or(Timestamp::UNIX_EPOCH)
                .to_zoned_datetime(TimeZone::system()),
        )
    }

    /// `2026-11-25`.
    pub(super) fn date(&self) -> String {
        self.0.strftime("%Y-%m-%d").to_string()
    }

    /// `18:03:12`.
    pub(super) fn time(&self) -> String {
        self.0.strftime("%H:%M:%S").to_string()
    }

    /// ISO 8601: `2026-11-25T18:03:12.480+01:00`.
    pub(super) fn iso(&self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
    }

    /// For a file's name: `20261125T180312.480`.
    pub(super) fn file_name(&self) -> String {
        self.0.strftime("%Y%m%dT%H%M%S%.3f").to_string()
    }

    /// Samples since midnight, as Broadcast Wave counts (EBU Tech 3285).
    pub(super) fn samples_since_midnight(&self, rate: Rate) -> u64 {
        let time = self.0.time();
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        let rate = i64::from(rate.hz());
        (seconds * rate + i64::from(time.subsec_nanosecond()) * rate / 1_000_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In this zone, named as POSIX does (the other way round).
    fn moment(zone: &str) -> Moment {
        let zone = TimeZone::posix(zone).unwrap();
        let moment = Timestamp::from_nanosecond(1_764_093_792_480_999_999).unwrap();
        Moment(moment.to_zoned_datetime(zone))
    }

    #[test]
    fn says_when() {
        let here = moment("<+0530>-5:30");
        assert_eq!(here.date(), "2025-11-25");
        assert_eq!(here.time(), "23:33:12");
        assert_eq!(here.iso(), "2025-11-25T23:33:12.480+05:30");
        assert_eq!(here.file_name(), "20251125T233312.480");
        let seconds = u64::from(23 * 3600 + 33 * 60 + 12_u32);
        let samples = here.samples_since_midnight(Rate::SPEECH);
        assert_eq!(samples, seconds * 16_000 + 7_695);
        for rate in Rate::ALL {
            let since = rate.convert(samples, Rate::SPEECH);
            assert!(here.samples_since_midnight(rate) - since <= rate.per_tick());
        }
        assert_eq!(moment("UTC0").iso(), "2025-11-25T18:03:12.480+00:00");
        assert_eq!(moment("NST3:30").iso(), "2025-11-25T14:33:12.480-03:30");
    }

    #[test]
    fn whatever_an_engine_claims_is_a_moment() {
        for claimed in [i64::MIN, -1, 0, i64::MAX] {
            assert!(!Moment::of_wall(claimed).iso().is_empty());
        }
    }
}
