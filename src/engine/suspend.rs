//! Whether the machine slept, told by the clocks alone.

use v2m_ring::time::asleep_ns;

/// Shorter is no suspend.
const SHORTEST_NS: i64 = 10_000_000;

/// Looks for suspends, several times a second.
#[derive(Debug)]
pub(super) struct Suspends {
    asleep_ns: i64,
}

impl Suspends {
    pub(super) fn new() -> Self {
        Self {
            asleep_ns: asleep_ns(),
        }
    }

    /// For how many nanoseconds the machine has slept since the last look, if it has.
    pub(super) fn look(&mut self) -> Option<i64> {
        self.grown_to(asleep_ns())
    }

    fn grown_to(&mut self, asleep_ns: i64) -> Option<i64> {
        let slept_ns = asleep_ns - self.asleep_ns;
        (slept_ns >= SHORTEST_NS).then(|| {
            self.asleep_ns = asleep_ns;
            slept_ns
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suspend_is_found_once_and_nothing_else_is_one() {
        let mut suspends = Suspends { asleep_ns: 5_000 };
        let hour = 3_600_000_000_000;
        // Two clocks are never read at once.
        for noise in [4_000, 6_000, 900_000, 5_000] {
            assert_eq!(suspends.grown_to(noise), None);
        }
        assert_eq!(suspends.grown_to(hour), Some(hour - 5_000));
        assert_eq!(suspends.grown_to(hour + 1_000), None);
        assert_eq!(suspends.grown_to(3 * hour), Some(2 * hour));
    }
}
