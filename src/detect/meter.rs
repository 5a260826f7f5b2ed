//! How long windows take: counted by the worker without a lock, read by others.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use v2m_dsp::percentile::rank;

use v2m_client::status::Percentiles;

/// Buckets per doubling: a value is known to 1 part in 16.
const PER_OCTAVE: usize = 16;
/// From 16 ns to half a minute; what is longer counts as that.
const BUCKETS: usize = PER_OCTAVE * 32;

/// A histogram of durations.
#[derive(Debug)]
pub(super) struct Meter {
    buckets: Box<[AtomicU64]>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts one of `ns` nanoseconds.
    pub(super) fn record(&self, ns: i64) {
        self.buckets[bucket(u64::try_from(ns).unwrap_or(0))].fetch_add(1, Relaxed);
    }

    /// Over all that was counted; `None` of nothing.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|count| count.load(Relaxed))
            .collect();
        let total: u64 = counts.iter().sum();
        let at = |share: f64| {
            let mut left = rank(share, total);
            let bucket = counts.iter().position(|&count| {
                let found = left <= count;
                left = left.saturating_sub(count);
                found
            });
            upper_ns(bucket.unwrap_or(BUCKETS - 1)) as f64 / 1000.0
        };
        (total > 0).then(|| Percentiles {
            p50: at(0.5),
            p99: at(0.99),
        })
    }
}

fn bucket(ns: u64) -> usize {
    if ns < PER_OCTAVE as u64 {
        return ns as usize;
    }
    let octave = ns.ilog2() as usize - 4;
    let within = (ns >> octave) as usize - PER_OCTAVE;
    ((octave + 1) * PER_OCTAVE + within).min(BUCKETS - 1)
}

/// The highest value that a bucket counts.
fn upper_ns(bucket: usize) -> u64 {
    if bucket < PER_OCTAVE {
        return bucket as u64;
    }
    let octave = bucket / PER_OCTAVE - 1;
    (((PER_OCTAVE + bucket % PER_OCTAVE + 1) as u64) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_to_one_part_in_sixteen() {
        for shift in 0..34 {
            for ns in [
                1_u64 << shift,
                (1 << shift) + (1 << shift) / 3,
                (2 << shift) - 1,
            ] {
                let upper = upper_ns(bucket(ns));
                assert!(upper >= ns && upper - ns <= ns / 16, "{ns}: {upper}");
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        let mut last = 0;
        for bucket in 1..BUCKETS {
            assert!(upper_ns(bucket) > last);
            last = upper_ns(bucket);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let meter = Meter::new();
        assert_eq!(meter.percentiles(), None);
        for n in 1..=1000 {
            meter.record(n * 1000);
        }
        meter.record(-5);
        let found = meter.percentiles().unwrap();
        assert!((500.0..=540.0).contains(&found.p50), "{found:?}");
        assert!((990.0..=1060.0).contains(&found.p99), "{found:?}");
    }
}
