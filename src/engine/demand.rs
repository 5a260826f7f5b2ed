//! Whether to capture, by the configured policy and by who listens.

use std::time::{Duration, Instant};

pub use crate::config::Capture;

/// The policy, and what it depends on.
#[derive(Debug)]
pub(crate) struct Demand {
    policy: Capture,
    linger: Duration,
    listeners: usize,
    /// When the last listener went; `None` before the first.
    left: Option<Instant>,
}

impl Demand {
    pub(crate) fn new(policy: Capture, linger: Duration) -> Self {
        Self {
            policy,
            linger,
            listeners: 0,
            left: None,
        }
    }

    /// So many listen from `now` on.
    pub(crate) fn listen(&mut self, listeners: usize, now: Instant) {
        if listeners == 0 && self.listeners > 0 {
            self.left = Some(now);
        }
        self.listeners = listeners;
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners
    }

    /// Whether to capture at `now`.
    pub(crate) fn wanted(&self, now: Instant) -> bool {
        self.policy == Capture::Always
            || self.listeners > 0
            || self.left.is_some_and(|left| now < left + self.linger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(5);

    #[test]
    fn captures_while_used_and_a_little_longer() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut demand = Demand::new(Capture::WhileUsed, LINGER);
        assert!(!demand.wanted(at(0)));
        demand.listen(2, at(1));
        assert!(demand.wanted(at(1)) && demand.wanted(at(100)));
        demand.listen(1, at(101));
        assert!(demand.wanted(at(200)));
        demand.listen(0, at(200));
        // Said again, it is no news.
        demand.listen(0, at(203));
        assert!(demand.wanted(at(204)) && !demand.wanted(at(205)));
        demand.listen(1, at(300));
        assert!(demand.wanted(at(300)));
    }

    #[test]
    fn without_lingering_it_ends_with_the_last_listener() {
        let now = Instant::now();
        let mut demand = Demand::new(Capture::WhileUsed, Duration::ZERO);
        demand.listen(1, now);
        demand.listen(0, now);
        assert!(!demand.wanted(now));
    }

    #[test]
    fn always_is_always() {
        assert!(Demand::new(Capture::Always, LINGER).wanted(Instant::now()));
    }
}
