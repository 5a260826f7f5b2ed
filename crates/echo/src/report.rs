//! What the canceller did, window by window.

/// What is softer than this after cancelling is nobody's voice: mean square of -60 dBFS.
const VOICE: f64 = 1e-6;
/// An echo loses more than this once the room is known, a voice beside it less: 6 dB.
const BOTH: f64 = 4.0;
/// Once an echo has lost so much, the room is known: 20 dB.
const CONVERGED: f64 = 100.0;
/// Windows with far end after which it is taken as known in any case: 2 s.
const PATIENCE: u32 = 63;

/// 32 ms of the microphone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// The loudspeaker plays, or its echo may still be heard.
    pub far: bool,
    /// By how many dB the microphone became softer; 0 where nothing plays.
    pub cancelled_db: f32,
    /// Both sides speak.
    pub both: bool,
    /// The room isn't known yet: the beginning, or after a jump.
    pub converging: bool,
}

/// Makes windows of samples.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Samples of a window.
    length: usize,
    samples: usize,
    raw: f64,
    clean: f64,
    far: bool,
    /// Windows with far end left until the room is known.
    patience: u32,
    /// Windows that began before a jump, and prove nothing.
    before: u32,
}

impl Meter {
    pub(crate) fn new(length: usize) -> Self {
        Self {
            length,
            samples: 0,
            raw: 0.0,
            clean: 0.0,
            far: false,
            patience: PATIENCE,
            before: 0,
        }
    }

    /// What was known of the room no longer holds.
    pub(crate) fn jump(&mut self) {
        self.patience = PATIENCE;
        // The one at hand, and what is still in the canceller.
        self.before = 2;
    }

    /// Takes one sample before and after; gives the window that it completes.
    pub(crate) fn add(&mut self, raw: f32, clean: f32, far: bool) -> Option<Window> {
        self.raw += f64::from(raw).powi(2);
        self.clean += f64::from(clean).powi(2);
        self.far |= far;
        self.samples += 1;
        if self.samples < self.length {
            return None;
        }
        let window = self.window();
        (self.samples, self.raw, self.clean, self.far) = (0, 0.0, 0.0, false);
        Some(window)
    }

    fn window(&mut self) -> Window {
        let window = self.judge();
        self.before = self.before.saturating_sub(1);
        window
    }

    fn judge(&mut self) -> Window {
        if !self.far {
            return Window {
                converging: self.patience > 0,
                ..Window::default()
            };
        }
        // A floor of -80 dBFS keeps the ratio of two silences at nothing.
        let floor = 1e-8 * self.length as f64;
        let ratio = (self.raw + floor) / (self.clean + floor);
        self.patience = if ratio >= CONVERGED && self.before == 0 {
            0
        } else {
            self.patience.saturating_sub(1)
        };
        Window {
            far: true,
            cancelled_db: 10.0 * ratio.log10() as f32,
            both: self.patience == 0 && self.clean > VOICE * self.length as f64 && ratio < BOTH,
            converging: self.patience > 0,
        }
    }
}
