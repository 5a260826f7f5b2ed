//! What was taken off a window of a microphone because a loudspeaker played it. 8 bytes in a lane.

/// 32 ms of a source that is cancelled; all zeros where nothing plays, and of every other source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Echo {
    /// By how many dB the microphone became softer.
    pub cancelled_db: f32,
    /// Something plays, or may still be heard.
    pub plays: bool,
    /// Both sides speak: the user, and what plays.
    pub both: bool,
    /// The room isn't known yet, or what was played isn't: some of it may be left.
    pub converging: bool,
}

const PLAYS: u32 = 1;
const BOTH: u32 = 2;
const CONVERGING: u32 = 4;

impl Echo {
    pub(crate) fn to_words(self) -> [u32; 2] {
        let flag = |is: bool, bit| if is { bit } else { 0 };
        let flags =
            flag(self.plays, PLAYS) | flag(self.both, BOTH) | flag(self.converging, CONVERGING);
        [self.cancelled_db.to_bits(), flags]
    }

    pub(crate) fn from_words([decibels, flags]: [u32; 2]) -> Self {
        Self {
            cancelled_db: f32::from_bits(decibels),
            plays: flags & PLAYS != 0,
            both: flags & BOTH != 0,
            converging: flags & CONVERGING != 0,
        }
    }
}
