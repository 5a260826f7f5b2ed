//! Which frame was captured when: the driver's times, smoothed, and what they
//! say about frames that the driver itself lost.

/// Measured times move the line by this part of their distance: a time constant
/// of 32 periods, against jitter of the hardware's pointer.
const SMOOTHING: i64 = 32;

/// A time so far off the line is no jitter: the line starts anew there.
const JITTER_NS: i64 = 20_000_000;

/// Times of frames at a nominal rate.
#[derive(Clone, Debug)]
pub(super) struct ClockEstimator {
    rate: u32,
    /// Frames of the hardware's buffer, and of one period.
    buffer: usize,
    period: usize,
    origin: Option<(u64, i64)>,
    restarted: bool,
}

impl ClockEstimator {
    pub(super) fn new(rate: u32, buffer: usize, period: usize) -> Self {
        Self {
            rate,
            buffer,
            period,
            origin: None,
            restarted: false,
        }
    }

    fn ns(&self, frames: u64) -> i64 {
        (i128::from(frames) * 1_000_000_000 / i128::from(self.rate)) as i64
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
        let expected = origin_ns + self.ns(position - from);
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
            measured_ns
        } else {
            expected + late / SMOOTHING
        };
        self.origin = Some((position + lost, now));
        lost
    }

    /// When the frame at `position` was captured.
    pub(super) fn time_ns(&self, position: u64) -> i64 {
        let (from, origin_ns) = self.origin.unwrap_or((position, 0));
        origin_ns + self.ns(position.saturating_sub(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    fn ns(frames: u64) -> i64 {
        (frames * 1_000_000_000 / u64::from(RATE)) as i64
    }

    #[test]
    fn jitter_is_smoothed_and_drift_followed() {
        let mut line = ClockEstimator::new(RATE, 8192, 128);
        let mut worst = 0;
        // A clock 200 ppm slow, times up to 1 ms late now and then.
        for i in 0..20_000u64 {
            let position = i * 128;
            let true_ns = ns(position) + ns(position) / 5_000;
            let jitter = if i % 7 == 3 { 1_000_000 } else { 0 };
            assert_eq!(line.measure(position, true_ns + jitter), 0);
            if i > 500 {
                worst = worst.max((line.time_ns(position) - true_ns).abs());
            }
        }
        assert!(worst < 400_000, "{worst} ns");
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
