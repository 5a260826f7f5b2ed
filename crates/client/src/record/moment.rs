//! Moments by the wall clock, in local time, as files name them.

use nix::time::{ClockId, clock_gettime};

use crate::ring::Rate;
use v2m_ring::time::monotonic_ns;

/// A moment, taken apart in the local time zone.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    year: i32,
    month: i32,
    day: i32,
    hour: i32,
    minute: i32,
    second: i32,
    /// Since the last full second.
    nanoseconds: i64,
    /// East of Greenwich.
    zone_minutes: i64,
}

impl Moment {
    /// The moment at which CLOCK_MONOTONIC was `time_ns`, as the wall clock counts now.
    pub(super) fn of_monotonic(time_ns: i64) -> Self {
        let wall = clock_gettime(ClockId::CLOCK_REALTIME).expect("every Linux has CLOCK_REALTIME");
        let now = wall.tv_sec() * 1_000_000_000 + wall.tv_nsec();
        Self::of_unix(now.wrapping_add(time_ns.wrapping_sub(monotonic_ns())))
    }

    fn of_unix(ns: i64) -> Self {
        let seconds: libc::time_t = ns.div_euclid(1_000_000_000);
        // SAFETY: a `tm` of zeros is a valid one; both pointers are to live values
        // of this stack, and localtime_r keeps neither.
        let local = unsafe {
            let mut local: libc::tm = std::mem::zeroed();
            libc::localtime_r(&raw const seconds, &raw mut local);
            local
        };
        Self {
            year: local.tm_year + 1900,
            month: local.tm_mon + 1,
            day: local.tm_mday,
            hour: local.tm_hour,
            minute: local.tm_min,
            second: local.tm_sec,
            nanoseconds: ns.rem_euclid(1_000_000_000),
            zone_minutes: local.tm_gmtoff / 60,
        }
    }

    /// `2026-11-25`.
    pub(super) fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `18:03:12`.
    pub(super) fn time(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }

    /// ISO 8601: `2026-11-25T18:03:12.480+01:00`.
    pub(super) fn iso(&self) -> String {
        let minutes = self.zone_minutes;
        format!(
            "{}T{}.{:03}{}{:02}:{:02}",
            self.date(),
            self.time(),
            self.nanoseconds / 1_000_000,
            if minutes < 0 { '-' } else { '+' },
            minutes.abs() / 60,
            minutes.abs() % 60
        )
    }

    /// For a file's name: `20261125T180312.480`.
    pub(super) fn file_name(&self) -> String {
        let (date, time) = (self.date().replace('-', ""), self.time().replace(':', ""));
        format!("{date}T{time}.{:03}", self.nanoseconds / 1_000_000)
    }

    /// Samples since midnight, as Broadcast Wave counts (EBU Tech 3285).
    pub(super) fn samples_since_midnight(&self, rate: Rate) -> u64 {
        let seconds = i64::from((self.hour * 60 + self.minute) * 60 + self.second);
        let rate = i64::from(rate.hz());
        (seconds * rate + self.nanoseconds * rate / 1_000_000_000).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_when() {
        let moment = Moment::of_unix(1_764_093_792_480_000_000);
        let iso = moment.iso();
        // Any zone's: date and time stand where they belong, to the millisecond.
        assert_eq!(
            (&iso[10..11], &iso[16..17], &iso[19..23]),
            ("T", ":", ".480"),
            "{iso}"
        );
        assert_eq!(moment.file_name().len(), "20261125T180312.480".len());
        for rate in Rate::ALL {
            let samples = moment.samples_since_midnight(rate);
            assert!(samples < 24 * 3600 * u64::from(rate.hz()));
            assert_eq!(
                samples % u64::from(rate.hz()),
                u64::from(rate.hz()) * 48 / 100
            );
        }
    }
}
