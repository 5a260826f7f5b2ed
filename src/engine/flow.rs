//! Whether audio comes, told from the outside: blocks are counted, and time passes.

/// Without a block for so long, audio has stopped: more than any quantum, and long enough
/// for a graph that is set up anew.
const STOPPED_NS: i64 = 1_000_000_000;
/// A thread that looks ten times a second and didn't for so long stood still itself.
const FROZEN_NS: i64 = 1_000_000_000;

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// As before.
    Nothing,
    /// No audio for a second.
    Stopped,
    /// Audio again, after so many nanoseconds without.
    Resumed(i64),
    /// Whoever looks stood still for so many nanoseconds.
    Frozen(i64),
}

/// Watches the flow of audio, by looks ten times a second.
#[derive(Debug)]
pub(crate) struct Flow {
    looked_ns: i64,
    /// Blocks at the last look, and when the newest of them was first seen.
    blocks: u64,
    heard_ns: i64,
    stopped: bool,
}

impl Flow {
    pub(crate) fn new(now_ns: i64) -> Self {
        Self {
            looked_ns: now_ns,
            blocks: 0,
            heard_ns: now_ns,
            stopped: false,
        }
    }

    /// Looks at `now_ns`: so many blocks came so far, and if audio is `due` more have to come.
    pub(crate) fn look(&mut self, now_ns: i64, blocks: u64, due: bool) -> Found {
        let absent = now_ns - self.looked_ns;
        self.looked_ns = now_ns;
        let since = now_ns - self.heard_ns;
        let came = std::mem::replace(&mut self.blocks, blocks) != blocks;
        if came || !due {
            self.heard_ns = now_ns;
            if std::mem::take(&mut self.stopped) && came {
                return Found::Resumed(since);
            }
        }
        if absent >= FROZEN_NS {
            // Nobody could have told meanwhile whether audio came.
            self.heard_ns = now_ns;
            return Found::Frozen(absent);
        }
        if due && !self.stopped && now_ns - self.heard_ns >= STOPPED_NS {
            self.stopped = true;
            return Found::Stopped;
        }
        Found::Nothing
    }

    /// Audio is due and doesn't come.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Since when, in nanoseconds before `now_ns`.
    pub(crate) fn silent_ns(&self, now_ns: i64) -> i64 {
        now_ns - self.heard_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: i64 = 100_000_000;

    /// Looks ten times a second; what was found, and when.
    fn watch(ticks: i64, at: impl Fn(i64) -> (u64, bool)) -> Vec<(i64, Found)> {
        let mut flow = Flow::new(0);
        (1..=ticks)
            .map(|tick| {
                let (blocks, due) = at(tick);
                (tick, flow.look(tick * TICK, blocks, due))
            })
            .filter(|(_, found)| *found != Found::Nothing)
            .collect()
    }

    #[test]
    fn audio_that_stops_is_told_once_and_so_is_its_return() {
        let found = watch(100, |tick| match tick {
            0..20 => (tick as u64, true),
            20..70 => (19, true),
            _ => (tick as u64, true),
        });
        let length = 51 * TICK;
        assert_eq!(found, [(29, Found::Stopped), (70, Found::Resumed(length))]);
    }

    #[test]
    fn nothing_is_missed_where_nothing_is_due() {
        assert_eq!(watch(100, |_| (0, false)), []);
        let found = watch(60, |tick| (0, tick < 20));
        assert_eq!(found, [(10, Found::Stopped)]);
    }

    #[test]
    fn who_stood_still_blames_nobody() {
        let mut flow = Flow::new(0);
        assert_eq!(flow.look(TICK, 1, true), Found::Nothing);
        let frozen = 20_000_000_000;
        assert_eq!(flow.look(TICK + frozen, 1, true), Found::Frozen(frozen));
        assert_eq!(flow.look(2 * TICK + frozen, 2, true), Found::Nothing);
        assert!(!flow.is_stopped());
    }
}
