//! What comes out while something plays. A linear filter leaves a voice whole and some of the
//! echo with it; a suppressor leaves nothing of the echo and damages the voice. So where somebody
//! speaks it is the filter's output, elsewhere the suppressor's, softer still.

use crate::voice::Voice;

/// What is softer than this teaches nothing: mean square of -57 dBFS.
const LOUD: f32 = 2e-6;
/// The suppressor takes more than 20 dB off an echo that the filter has left.
const KEPT: f32 = 0.01;
/// By so much per frame the suppressor takes over from the filter after a voice: within 0.1 s.
const FALL: f32 = 0.1;
/// What becomes of the suppressor's output while nobody speaks: 30 dB less.
const ALONE: f32 = 0.03;
/// The filter knows the room once it has taken off 11 dB on the average over some 0.3 s.
const KNOWN: f32 = 0.08;
const AVERAGE: f32 = 0.03;
/// It no longer does where it leaves more than -6 dB, and the suppressor less than -20 dB, of an
/// echo for 0.5 s: for 1 s where it is taken for a voice.
const WRONG: f32 = 0.25;
const SURE: f32 = 0.01;
const PATIENCE: u32 = 50;
const PATIENCE_VOICE: u32 = 100;

/// How much of each goes into a frame, at its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shares {
    pub(crate) filtered: f32,
    pub(crate) suppressed: f32,
}

impl Shares {
    /// The filter's output.
    pub(crate) const FILTERED: Self = Self {
        filtered: 1.0,
        suppressed: 0.0,
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
}

/// Decides frame by frame of 10 ms.
#[derive(Debug)]
pub(crate) struct Choice {
    voice: Voice,
    /// The newest frames.
    recent: [Powers; 3],
    /// Averages, before the filter and after it.
    before: f32,
    after: f32,
    /// The filter knows the room.
    known: bool,
    /// Frames for which it has been wrong.
    wrong: u32,
    /// And for how many it may be.
    patience: u32,
    /// 1 where somebody speaks, 0 where nobody does.
    speaks: f32,
}

impl Choice {
    /// For frames of so many samples.
    pub(crate) fn new(frame: usize) -> Self {
        Self {
            voice: Voice::new(frame),
            recent: [Powers::default(); 3],
            before: 0.0,
            after: 0.0,
            known: false,
            wrong: 0,
            patience: PATIENCE,
            speaks: 1.0,
        }
    }

    /// Looks at a frame of the same time of the microphone, the filter and the suppressor.
    /// `unexpected`: the share of an echo that the filter can't know of.
    pub(crate) fn choose(
        &mut self,
        (heard, filtered, suppressed): (&[f32], &[f32], &[f32]),
        unexpected: f32,
    ) -> Shares {
        self.recent.rotate_right(1);
        self.recent[0] = Powers {
            heard: power(heard),
            filtered: power(filtered),
            suppressed: power(suppressed),
        };
        let mean = |of: fn(&Powers) -> f32| self.recent.iter().map(of).sum::<f32>() / 3.0;
        let now = Powers {
            heard: mean(|p| p.heard),
            filtered: mean(|p| p.filtered),
            suppressed: mean(|p| p.suppressed),
        };
        let is_kept = now.suppressed > LOUD && now.suppressed > KEPT * now.filtered;
        let sides = (heard, filtered);
        let is_loud = now.heard > LOUD && unexpected == 0.0;
        let is_voice = self.voice.is_heard(sides, is_loud, is_kept, unexpected);
        if unexpected == 0.0 {
            self.judge_filter(&now, is_voice);
        }
        self.speaks = if is_voice {
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

    fn judge_filter(&mut self, now: &Powers, is_voice: bool) {
        self.before += AVERAGE * (now.heard - self.before);
        self.after += AVERAGE * (now.filtered - self.after);
        self.known |= self.before > LOUD && self.after < KNOWN * self.before;
        if now.heard > LOUD {
            let wrong = now.filtered > WRONG * now.heard && now.suppressed < SURE * now.heard;
            self.wrong = if wrong { self.wrong + 1 } else { 0 };
        }
        self.patience = if is_voice { PATIENCE_VOICE } else { PATIENCE };
    }

    /// Whether the filter has to learn anew; once each time.
    pub(crate) fn is_filter_wrong(&mut self) -> bool {
        let wrong = self.wrong >= self.patience;
        if wrong {
            (self.known, self.wrong) = (false, 0);
            self.voice.forget();
        }
        wrong
    }
}

fn power(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32
}
