//! Which frame was captured when: the driver's times, smoothed, and what they
//! say about frames that the driver itself lost.

/// Measured times move the line by a part of their distance, and its slope by another: by those
/// of the straight line through all of them at first, until they are as small as this and a
/// quarter of its square (a loop of second order that doesn't swing). So a clock that drifts is
/// followed without a lag, soon and smoothly.
const SMOOTHING: f64 = 1.0 / 32.0;

/// So many times tell of no slope yet.
const FEW: f64 = 8.0;

/// A thread only ever wakes late: of so many times the earliest counts.
const LATE: usize = 16;

/// A time so far off the line is no jitter: the line starts anew there.
const JITTER_NS: i64 = 20_000_000;

/// No clock is off by more than this part; what claims to be is jitter.
const DRIFT: f64 = 0.002;

/// Times of frames at a nominal rate.
#[derive(Clone, Debug)]
pub(super) struct ClockEstimator {
    rate: u32,
    /// Frames of the hardware's buffer, and of one period.
    buffer: usize,
    period: usize,
    origin: Option<(u64, i64)>,
    restarted: bool,
    /// By which part its frames last longer than at the nominal rate.
    drift: f64,
    /// How late the last times were, in nanoseconds after the line.
    late: [i64; LATE],
    /// Times since the line began.
    times: u32,
}

impl ClockEstimator {
    pub(super) fn new(rate: u32, buffer: usize, period: usize) -> Self {
        Self {
            rate,
            buffer,
            period,
            origin: None,
            restarted: false,
            drift: 0.0,
            late: [i64::MAX; LATE],
            times: 1,
        }
    }

    /// By the nominal rate.
    fn ns(&self, frames: u64) -> i64 {
        (i128::from(frames) * 1_000_000_000 / i128::from(self.rate)) as i64
    }

    /// As long as so many frames really last.
    fn lasting_ns(&self, frames: u64) -> i64 {
        let ns = self.ns(frames);
        ns + (ns as f64 * self.drift) as i64
    }

    fn frames(&self, ns: i64) -> u64 {
        ((i128::from(ns.max(0)) * i128::from(self.rate) + 500_000_000) / 1_000_000_000) as u64
    }

    /// The stream was stopped in between: only the next time tells for how long.
    pub(super) fn restart(&mut self) {
        self.restarted = self.origin.is_some();
    }

    /// The frame at `position` was captured at `measured_ns`, says the driver.
    /// Returns how many frames before it are missing that nobody counted:
    ///
    /// - after a restart, those of the time that has passed;
    /// - else whole buffers, when the driver was held up for longer than one
    ///   (it counts modulo the buffer), or a stretch without audio of more than half a buffer.
    pub(super) fn measure(&mut self, position: u64, measured_ns: i64) -> u64 {
        let Some((from, origin_ns)) = self.origin else {
            self.origin = Some((position, measured_ns));
            return 0;
        };
        let passed_ns = self.lasting_ns(position.saturating_sub(from));
        let expected = origin_ns + passed_ns;
        let late = measured_ns - expected;
        let lost = if self.restarted {
            self.frames(late)
        } else if late > self.ns(self.buffer as u64) / 2 {
            let missing = self.frames(late);
            let buffer = self.buffer as u64;
            let buffers = (missing + buffer / 2) / buffer;
            let jitter = self.frames(JITTER_NS).min(buffer / 4);
            if missing.abs_diff(buffers * buffer) <= jitter.max(self.period as u64) {
                buffers * buffer
            } else {
                missing
            }
        } else {
            0
        };
        self.restarted = false;
        let expected = expected + self.ns(lost);
        let late = measured_ns - expected;
        let now = if late.abs() > JITTER_NS {
            (self.late, self.times) = ([i64::MAX; LATE], 1);
            measured_ns
        } else {
            self.late.rotate_left(1);
            self.late[LATE - 1] = late;
            expected + self.follow(passed_ns)
        };
        self.origin = Some((position + lost, now));
        lost
    }

    /// How far the line moves, `passed_ns` after it did last.
    fn follow(&mut self, passed_ns: i64) -> i64 {
        self.times = self.times.saturating_add(1);
        let off = self.late.iter().min().copied().unwrap_or_default();
        let count = f64::from(self.times);
        let all = count * (count + 1.0);
        let part = (2.0 * (2.0 * count - 1.0) / all).max(SMOOTHING);
        let moved = (off as f64 * part) as i64;
        for late in self.late.iter_mut().filter(|late| **late != i64::MAX) {
            *late -= moved;
        }
        if passed_ns > 0 && count > FEW {
            let part = (6.0 / all).max(SMOOTHING * SMOOTHING / 4.0);
            let slope = off as f64 * part / passed_ns as f64;
            self.drift = (self.drift + slope).clamp(-DRIFT, DRIFT);
        }
        moved
    }

    /// When the frame at `position` was captured.
    pub(super) fn time_ns(&self, position: u64) -> i64 {
        let (from, origin_ns) = self.origin.unwrap_or((position, 0));
        origin_ns + self.lasting_ns(position.saturating_sub(from))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: u32 = 48_000;

    fn ns(frames: u64) -> i64 {
        (frames * 1_000_000_000 / u64::from(RATE)) as i64
    }

    proptest! {
        /// Clocks off by up to 500 ppm, a thread that is late by up to 5 ms: within a fifth of a
        /// sample once the line is found, and never far off.
        #[test]
        fn jitter_is_smoothed_and_drift_followed(
            ppm in -500_i64..500,
            period in 64_u64..2048,
            late in prop::collection::vec((0..3_u32, 0..5_000_000_i64), 2000),
        ) {
            let mut line = ClockEstimator::new(RATE, 8192, period as usize);
            for (i, (often, late)) in (0..).zip(late) {
                let position = i * period;
                let true_ns = ns(position) + ns(position) * ppm / 1_000_000;
                let late = if often == 0 { late } else { 0 };
                prop_assert_eq!(line.measure(position, true_ns + late), 0);
                let off = line.time_ns(position) - true_ns;
                let most = match i {
                    0..100 => i64::MAX,
                    100..1000 => 200_000,
                    _ => 4_000,
                };
                prop_assert!(off.abs() < most, "{} ns at {}", off, i);
            }
        }
    }

    #[test]
    fn a_restart_loses_exactly_the_time_that_passed() {
        let mut line = ClockEstimator::new(RATE, 8192, 128);
        line.measure(0, 1_000);
        line.measure(128, 1_000 + ns(128));
        line.restart();
        assert_eq!(line.measure(256, 1_000 + ns(256 + 333)), 333);
        assert_eq!(
            line.measure(256 + 333 + 128, 1_000 + ns(256 + 333 + 128)),
            0
        );
        line.restart();
        assert_eq!(line.measure(800, ns(10)), 0, "never backwards");
    }

    #[test]
    fn a_driver_that_slept_loses_whole_buffers() {
        let mut line = ClockEstimator::new(RATE, 8192, 128);
        line.measure(0, 0);
        assert_eq!(line.measure(128, ns(128 + 2 * 8192)), 2 * 8192);
        let position = 128 + 2 * 8192;
        assert_eq!(
            line.measure(position + 128, ns(position + 128 + 6000)),
            6000
        );
        assert_eq!(
            line.measure(position + 6256, ns(position + 6256 + 2000)),
            0,
            "late, but no loss"
        );
    }
}
