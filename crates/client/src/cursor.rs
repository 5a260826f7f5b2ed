//! Where a stream's next window lies. Pure arithmetic on positions.

use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// How far a stream moves from one chunk to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    Samples(u64),
    /// As far as audio has arrived.
    Quantum,
}

impl Hop {
    /// Fails if it leaves out some of the audio between two windows of `size` samples.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: no samples, or more than `size`.
    pub fn within(self, size: u64) -> Result<Self> {
        match self {
            Self::Samples(samples) if !(1..=size).contains(&samples) => {
                let message =
                    format!("must be 1 to {size} samples (the buffer size), or \"quantum\"");
                Err(Error::new(ErrorKind::Invalid, message))
            }
            hop => Ok(hop),
        }
    }
}

/// A number of samples, or `quantum`.
impl FromStr for Hop {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "quantum" {
            return Ok(Self::Quantum);
        }
        let wrong = |_| Error::new(ErrorKind::Invalid, "must be samples, or \"quantum\"");
        text.parse().map(Self::Samples).map_err(wrong)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// The window that begins at this position.
    Window(u64),
    /// Nothing before [`due`](Cursor::due).
    Wait,
    /// So many samples were overwritten before they were read; what follows
    /// is fresh.
    Overrun(u64),
}

/// A place in a ring: windows of `size` samples, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    size: u64,
    hop: Hop,
    /// End of what was handed out, or passed over.
    done: u64,
    /// The next window ends here or, hopping by the quantum, not before.
    due: u64,
    /// Nor later than here: between the two nothing is left out.
    limit: u64,
}

impl Cursor {
    /// Begins with the newest full window, or with the ring's first.
    pub(crate) fn new(size: u64, hop: Hop, committed: u64) -> Self {
        let end = committed.max(size);
        Self {
            size,
            hop,
            done: end - size,
            due: end,
            limit: end,
        }
    }

    /// End of what was handed out, or passed over.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Begins with the first window of what comes after `committed`.
    pub(crate) fn after(size: u64, hop: Hop, committed: u64) -> Self {
        Self {
            done: committed,
            ..Self::new(size, hop, committed.saturating_add(size))
        }
    }

    /// The committed count from which on there is a next window.
    pub(crate) fn due(&self) -> u64 {
        self.due
    }

    /// Takes the next step, given how much of the ring is committed and what
    /// its oldest sample is.
    pub(crate) fn step(&mut self, committed: u64, oldest: u64) -> Advance {
        if committed < self.due {
            return Advance::Wait;
        }
        let end = committed.min(self.limit);
        if end - self.size < oldest {
            let fresh = committed - self.size;
            let lost = fresh.saturating_sub(self.done);
            self.done = fresh;
            self.due = committed;
            self.limit = committed;
            return Advance::Overrun(lost);
        }
        self.done = end;
        (self.due, self.limit) = match self.hop {
            Hop::Samples(hop) => (end.saturating_add(hop), end.saturating_add(hop)),
            Hop::Quantum => (end.saturating_add(1), end.saturating_add(self.size)),
        };
        Advance::Window(end - self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_leaves_nothing_out() {
        assert_eq!("quantum".parse(), Ok(Hop::Quantum));
        assert_eq!("160".parse(), Ok(Hop::Samples(160)));
        for text in ["", "-1", "1.5", "cycle", "18446744073709551616"] {
            assert!(text.parse::<Hop>().is_err(), "{text}");
        }
        for (hop, fits) in [(0, false), (1, true), (320, true), (321, false)] {
            assert_eq!(Hop::Samples(hop).within(320).is_ok(), fits, "{hop}");
        }
        assert_eq!(Hop::Quantum.within(320), Ok(Hop::Quantum));
    }

    #[test]
    fn windows_follow_each_other_by_the_hop() {
        let mut cursor = Cursor::new(100, Hop::Samples(40), 30);
        assert_eq!(cursor.step(99, 0), Advance::Wait);
        assert_eq!(cursor.step(180, 0), Advance::Window(0));
        assert_eq!(cursor.step(180, 0), Advance::Window(40));
        assert_eq!(cursor.step(180, 0), Advance::Window(80));
        assert_eq!(cursor.step(180, 0), Advance::Wait);
    }

    #[test]
    fn begins_with_the_newest_window() {
        let mut cursor = Cursor::new(100, Hop::Samples(100), 1000);
        assert_eq!(cursor.step(1050, 0), Advance::Window(900));
    }

    #[test]
    fn or_with_what_comes() {
        let mut cursor = Cursor::after(100, Hop::Samples(100), 1000);
        assert_eq!(cursor.step(1099, 0), Advance::Wait);
        assert_eq!(cursor.step(1100, 0), Advance::Window(1000));
    }

    #[test]
    fn a_quantum_at_a_time_leaves_nothing_out() {
        let mut cursor = Cursor::new(100, Hop::Quantum, 0);
        assert_eq!(cursor.step(110, 0), Advance::Window(0));
        assert_eq!(cursor.step(110, 0), Advance::Window(10));
        assert_eq!(cursor.step(110, 0), Advance::Wait);
        // 350 more at once: at most a window further each time.
        assert_eq!(cursor.step(460, 0), Advance::Window(110));
        assert_eq!(cursor.step(460, 0), Advance::Window(210));
        assert_eq!(cursor.step(460, 0), Advance::Window(310));
        assert_eq!(cursor.step(460, 0), Advance::Window(360));
        assert_eq!(cursor.step(460, 0), Advance::Wait);
    }

    #[test]
    fn an_overrun_counts_what_nobody_will_read() {
        let mut cursor = Cursor::new(100, Hop::Samples(100), 0);
        assert_eq!(cursor.step(100, 0), Advance::Window(0));
        assert_eq!(cursor.step(5000, 4000), Advance::Overrun(4800));
        assert_eq!(cursor.step(5010, 4010), Advance::Window(4900));
        assert_eq!(cursor.step(5010, 4010), Advance::Wait);
    }

    #[test]
    fn overlapping_windows_lose_only_what_none_of_them_held() {
        let mut cursor = Cursor::new(100, Hop::Samples(50), 0);
        assert_eq!(cursor.step(150, 0), Advance::Window(0));
        assert_eq!(cursor.step(150, 0), Advance::Window(50));
        assert_eq!(cursor.step(1150, 900), Advance::Overrun(900));
        assert_eq!(cursor.step(1150, 900), Advance::Window(1050));
    }
}
