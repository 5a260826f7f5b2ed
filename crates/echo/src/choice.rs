//! What comes out while something plays. A linear filter leaves a voice whole and some of the
//! echo with it; a suppressor leaves nothing of the echo and damages the voice. So where somebody
//! speaks it is the filter's output, elsewhere the suppressor's, softer still.
//!
//! Somebody speaks where the filter leaves more of what it expects than it does of an echo alone,
//! and the suppressor doesn't take it for one.

/// What is softer than this is nobody's voice: mean square of -57 dBFS.
const VOICE: f32 = 2e-6;
/// The suppressor takes more than this off an echo that the filter has left, in dB.
const KEPT_DB: f32 = -15.0;
/// An echo fades in a room by no more than this from frame to frame.
const FADES: f32 = 0.9;
/// By how much more than of an echo is left where a voice begins, and where it goes on, in dB.
const BEGINS_DB: f32 = 6.0;
const GOES_ON_DB: f32 = 3.0;
/// The least and the most that have to be left for a beginning, in dB of the echo; for going on
/// it is 3 dB less.
const LEAST_DB: f32 = -10.0;
const MOST_DB: f32 = -2.0;
const LESS_DB: f32 = 3.0;
/// What is left of an echo at first, in dB; it follows by so much per frame up and down, so that
/// 9 frames of 10 leave less.
const LEFT_DB: f32 = -6.0;
const UP_DB: f32 = 0.5;
const DOWN_DB: f32 = 0.05;
/// Where a voice can't be told from what is left of an echo any more.
const LOST_DB: f32 = -4.0;
/// For so many frames after a voice it is still spoken: 0.3 s.
const HOLD: u32 = 30;
/// By so much per frame the suppressor takes over from the filter after that: within 0.1 s.
const FALL: f32 = 0.1;
/// What becomes of the suppressor's output while nobody speaks: 30 dB less.
const ALONE: f32 = 0.03;
/// The filter knows the room once it has taken off 11 dB on the average over some 0.3 s.
const KNOWN: f32 = 0.08;
const AVERAGE: f32 = 0.03;
/// It no longer does where it leaves more than -6 dB, and the suppressor less than -20 dB, of an
/// echo for 0.5 s.
const WRONG: f32 = 0.25;
const SURE: f32 = 0.01;
const PATIENCE: u32 = 50;

/// How much of each goes into a frame, at its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shares {
    pub(crate) filtered: f32,
    pub(crate) suppressed: f32,
}

impl Shares {
    /// The suppressor's output as it is.
    pub(crate) const SUPPRESSED: Self = Self {
        filtered: 0.0,
        suppressed: 1.0,
    };

    /// On a straight way to others: 0 is here, 1 there.
    pub(crate) fn towards(self, other: Self, along: f32) -> Self {
        let between = |from: f32, to: f32| from + along * (to - from);
        Self {
            filtered: between(self.filtered, other.filtered),
            suppressed: between(self.suppressed, other.suppressed),
        }
    }
}

/// Mean squares.
#[derive(Clone, Copy, Debug, Default)]
struct Powers {
    /// Of the microphone.
    heard: f32,
    filtered: f32,
    suppressed: f32,
    /// Of the echo that the filter expects, and its fading.
    echo: f32,
}

/// Decides frame by frame of 10 ms.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The newest frames.
    recent: [Powers; 3],
    /// Of an echo alone, in dB.
    left_db: f32,
    /// Averages, before the filter and after it.
    before: f32,
    after: f32,
    /// The filter knows the room.
    known: bool,
    /// Frames for which it has been wrong.
    wrong: u32,
    /// The newest frame may have been a voice's first.
    maybe: bool,
    /// Frames for which a voice is still spoken.
    hold: u32,
    /// 1 where somebody speaks, 0 where nobody does.
    speaks: f32,
}

impl Choice {
    pub(crate) fn new() -> Self {
        Self {
            recent: [Powers::default(); 3],
            left_db: LEFT_DB,
            before: 0.0,
            after: 0.0,
            known: false,
            wrong: 0,
            maybe: false,
            hold: 0,
            speaks: 1.0,
        }
    }

    /// Looks at a frame of each, of the same time.
    pub(crate) fn choose(&mut self, heard: &[f32], filtered: &[f32], suppressed: &[f32]) -> Shares {
        let fading = FADES * self.recent[0].echo;
        self.recent.rotate_right(1);
        self.recent[0] = Powers {
            heard: power(heard.iter().copied()),
            filtered: power(filtered.iter().copied()),
            suppressed: power(suppressed.iter().copied()),
            echo: power(heard.iter().zip(filtered).map(|(a, b)| a - b)).max(fading),
        };
        let mean = |of: fn(&Powers) -> f32| self.recent.iter().map(of).sum::<f32>() / 3.0;
        let now = Powers {
            heard: mean(|p| p.heard),
            filtered: mean(|p| p.filtered),
            suppressed: mean(|p| p.suppressed),
            echo: mean(|p| p.echo),
        };
        self.listen(&now);
        self.judge_filter(&now);
        self.speaks = if self.hold > 0 {
            1.0
        } else {
            (self.speaks - FALL).max(0.0)
        };
        let filtered = if self.known { self.speaks } else { 0.0 };
        Shares {
            filtered,
            suppressed: self.speaks - filtered + (1.0 - self.speaks) * ALONE,
        }
    }

    /// Whether somebody speaks.
    fn listen(&mut self, now: &Powers) {
        let left_db = decibels(now.filtered, now.echo);
        let begins = (self.left_db + BEGINS_DB).clamp(LEAST_DB, MOST_DB);
        let goes_on = (self.left_db + GOES_ON_DB).clamp(LEAST_DB - LESS_DB, MOST_DB - LESS_DB);
        let begun = left_db > begins
            && now.suppressed > VOICE
            && decibels(now.suppressed, now.filtered) > KEPT_DB;
        let before = std::mem::replace(&mut self.maybe, begun);
        let is_voice = if self.hold > 0 {
            begun || (left_db > goes_on && now.filtered > VOICE)
        } else {
            begun && before
        };
        self.hold = if is_voice {
            HOLD
        } else {
            self.hold.saturating_sub(1)
        };
        if self.hold == 0 && now.heard > VOICE {
            let step = if left_db > self.left_db {
                UP_DB
            } else {
                -DOWN_DB
            };
            self.left_db = (self.left_db + step).clamp(-30.0, LOST_DB);
        }
    }

    fn judge_filter(&mut self, now: &Powers) {
        self.before += AVERAGE * (now.heard - self.before);
        self.after += AVERAGE * (now.filtered - self.after);
        self.known |= self.before > VOICE && self.after < KNOWN * self.before;
        if self.hold == 0 && now.heard > VOICE {
            let wrong = now.filtered > WRONG * now.heard && now.suppressed < SURE * now.heard;
            self.wrong = if wrong { self.wrong + 1 } else { 0 };
        }
    }

    /// Whether the filter has to learn anew; once each time.
    pub(crate) fn is_filter_wrong(&mut self) -> bool {
        let wrong = self.wrong >= PATIENCE;
        if wrong {
            (self.known, self.wrong) = (false, 0);
        }
        wrong
    }
}

fn power(samples: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = samples.len() as f32;
    samples.map(|sample| sample * sample).sum::<f32>() / count
}

/// Of one power against another; silence is -120 dB at least.
fn decibels(of: f32, against: f32) -> f32 {
    10.0 * ((of + 1e-12) / (against + 1e-12)).log10()
}
