//! How long this reader's wake-ups took, over the last minute.

use std::collections::VecDeque;

use v2m_dsp::percentile;

/// How long a wake-up counts.
const MINUTE_NS: i64 = 60_000_000_000;

/// The upper ends of the histogram's bars, in microseconds; one more bar holds
/// what took longer.
pub(crate) const BARS_US: [u32; 12] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wake {
    /// When, by CLOCK_MONOTONIC.
    pub(crate) at_ns: i64,
    /// Nanoseconds since the samples that caused it were written.
    pub(crate) after_commit_ns: i64,
    /// Nanoseconds since the newest of them was captured, if known.
    pub(crate) after_capture_ns: Option<i64>,
}

/// From when a wake-up is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// From the writing: what the wake-up itself takes.
    Commit,
    /// From the capture: with the graph, the resampler's delay and the writing.
    Capture,
}

/// The last minute in numbers. Times in microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    pub p50: f64,
    /// One in a hundred took longer.
    pub p99: f64,
    pub(crate) max: f64,
    /// How many fell into each bar of [`BARS_US`], and beyond.
    pub(crate) bars: [u32; BARS_US.len() + 1],
}

/// Wake-ups of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Wakes(VecDeque<Wake>);

impl Wakes {
    /// Adds one and forgets what is older than a minute.
    pub(crate) fn add(&mut self, wake: Wake) {
        self.0.push_back(wake);
        let old = |first: &Wake| wake.at_ns.saturating_sub(first.at_ns) > MINUTE_NS;
        while self.0.front().is_some_and(old) {
            self.0.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn summary(&self, since: Since) -> Summary {
        let times = self.0.iter().filter_map(|wake| match since {
            Since::Commit => Some(wake.after_commit_ns),
            Since::Capture => wake.after_capture_ns,
        });
        // Another clock than ours may place a capture a little in the future.
        let mut times: Vec<i64> = times.map(|time| time.max(0)).collect();
        times.sort_unstable();
        let mut summary = Summary {
            count: times.len(),
            ..Default::default()
        };
        let us = |share: f64| percentile(&times, share).map_or(0.0, |ns| ns as f64 / 1000.0);
        (summary.p50, summary.p99, summary.max) = (us(0.5), us(0.99), us(1.0));
        for time in times {
            let bar = BARS_US.partition_point(|&end| i64::from(end) * 1000 < time);
            summary.bars[bar] += 1;
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wake(at_s: i64, after_commit_us: i64) -> Wake {
        Wake {
            at_ns: at_s * 1_000_000_000,
            after_commit_ns: after_commit_us * 1000,
            after_capture_ns: None,
        }
    }

    #[test]
    fn percentiles_and_bars() {
        let mut wakes = Wakes::default();
        assert_eq!(wakes.summary(Since::Commit), Summary::default());
        for us in 1..=100 {
            wakes.add(wake(0, us));
        }
        wakes.add(wake(0, 60_000));
        let summary = wakes.summary(Since::Commit);
        assert_eq!((summary.count, summary.p50), (101, 51.0));
        assert_eq!((summary.p99, summary.max), (100.0, 60_000.0));
        assert_eq!(summary.bars, [10, 10, 30, 50, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(wakes.summary(Since::Capture).count, 0);
    }

    #[test]
    fn a_minute_is_kept_and_no_time_is_negative() {
        let mut wakes = Wakes::default();
        for second in 0..100 {
            wakes.add(wake(second, -5));
        }
        let summary = wakes.summary(Since::Commit);
        assert_eq!((summary.count, summary.max), (61, 0.0));
    }
}
