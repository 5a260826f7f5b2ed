//! What the canceller did, 10 ms by 10 ms.

/// What is softer than this after cancelling is nobody's voice: mean square of -60 dBFS.
const VOICE: f64 = 1e-6;
/// An echo loses more than this once the room is known, a voice beside it less: 6 dB.
const BOTH: f64 = 4.0;
/// What has become louder than this by cancelling is the canceller's own error: an echo that it
/// expected and that didn't come. A voice comes through at its own level.
const LOUDER: f64 = 0.5;
/// Once an echo has lost so much, the room is known: 20 dB.
const CONVERGED: f64 = 100.0;
/// Frames with far end after which it is taken as known in any case: 2 s.
const PATIENCE: u32 = 200;
/// Frames that are looked at together: shorter than a syllable, longer than a glottal period.
const TOGETHER: usize = 3;

/// The 30 ms of the microphone that end with a frame of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// The loudspeaker plays, or its echo may still be heard.
    pub far: bool,
    /// By how many dB the microphone became softer; 0 where nothing plays.
    pub cancelled_db: f32,
    /// Both sides speak.
    pub both: bool,
    /// The room isn't known yet, the beginning, or after a jump; or what was played isn't.
    pub converging: bool,
}

/// Makes windows of samples.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Samples of a frame.
    length: usize,
    samples: usize,
    /// The frame at hand, and the ones before it.
    frames: [Frame; TOGETHER],
    /// Frames with far end left until the room is known.
    patience: u32,
    /// Frames whose window began before a jump, and prove nothing.
    before: u32,
}

/// Energies before and after, and whether something played.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    raw: f64,
    clean: f64,
    far: bool,
    unexpected: bool,
}

impl Meter {
    pub(crate) fn new(length: usize) -> Self {
        Self {
            length,
            samples: 0,
            frames: [Frame::default(); TOGETHER],
            patience: PATIENCE,
            before: 0,
        }
    }

    /// What was known of the room no longer holds.
    pub(crate) fn jump(&mut self) {
        self.patience = PATIENCE;
        // Those at hand, and what is still in the canceller.
        self.before = TOGETHER as u32 + 2;
    }

    /// Takes one sample before and after, and whether something played, whose echo may not be
    /// expected; gives the window of the frame that it completes.
    pub(crate) fn add(
        &mut self,
        raw: f32,
        clean: f32,
        far: bool,
        unexpected: bool,
    ) -> Option<Window> {
        let frame = &mut self.frames[0];
        frame.raw += f64::from(raw).powi(2);
        frame.clean += f64::from(clean).powi(2);
        frame.far |= far;
        frame.unexpected |= unexpected;
        self.samples += 1;
        if self.samples < self.length {
            return None;
        }
        let window = self.judge();
        self.before = self.before.saturating_sub(1);
        self.frames.rotate_right(1);
        (self.samples, self.frames[0]) = (0, Frame::default());
        Some(window)
    }

    fn judge(&mut self) -> Window {
        let sum = |of: fn(&Frame) -> f64| self.frames.iter().map(of).sum::<f64>();
        let (raw, clean) = (sum(|f| f.raw), sum(|f| f.clean));
        let length = (TOGETHER * self.length) as f64;
        if !self.frames[0].far {
            return Window {
                converging: self.patience > 0,
                ..Window::default()
            };
        }
        // A floor of -80 dBFS keeps the ratio of two silences at nothing.
        let floor = 1e-8 * length;
        let ratio = (raw + floor) / (clean + floor);
        self.patience = if ratio >= CONVERGED && self.before == 0 {
            0
        } else {
            self.patience.saturating_sub(1)
        };
        let unexpected = self.frames.iter().any(|frame| frame.unexpected);
        let known = self.patience == 0 && !unexpected;
        Window {
            far: true,
            cancelled_db: 10.0 * ratio.log10() as f32,
            both: known && clean > VOICE * length && (LOUDER..BOTH).contains(&ratio),
            converging: !known,
        }
    }
}
