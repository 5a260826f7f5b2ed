//! A microphone that is silent until somebody speaks: lets speech through from before its first
//! sound until after its last, by the probabilities of windows that lie ahead, and gives exact
//! silence between. It fades; it never cuts.
//!
//! ```
//! use v2m_dsp::gate::{Gate, Params};
//!
//! let mut gate = Gate::new(16_000, Params::default())?;
//! // What is found in windows 20 and 21 is heard 120 ms earlier, and 400 ms longer.
//! for window in 0..40 {
//!     gate.hear(window, if (20..22).contains(&window) { 0.9 } else { 0.1 });
//! }
//! let mut samples = [0.5; 40 * 512];
//! gate.apply(0, &mut samples);
//! assert_eq!(samples[20 * 512 - 1920 - 160 - 1], 0.0);
//! assert_eq!(samples[20 * 512 - 1920], 0.5);
//! assert_eq!(samples[22 * 512 + 6399], 0.5);
//! assert_eq!(samples[22 * 512 + 6400 + 800], 0.0);
//! # Ok::<(), v2m_dsp::Error>(())
//! ```

use std::collections::VecDeque;

use crate::{Error, ErrorKind, Result};

/// The window of a speech track.
const WINDOW_MS: u64 = 32;
/// How long it takes to open and to close.
const FADE_IN_MS: u64 = 10;
const FADE_OUT_MS: u64 = 50;
/// The longest look-ahead and hold.
const MOST_MS: u32 = 2000;
/// The most openings ahead of a sample: more than there are windows in the longest look-ahead.
const AHEAD: usize = 80;

/// When the gate opens and closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// A window of this probability opens it.
    pub threshold: f32,
    /// One below this lets it close.
    pub neg_threshold: f32,
    /// How long before that window it is open, in ms.
    pub look_ahead_ms: u32,
    /// How long it stays open after the last one, in ms.
    pub hold_ms: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            neg_threshold: 0.35,
            look_ahead_ms: 120,
            hold_ms: 400,
        }
    }
}

impl Params {
    /// By how many ms a sample must be older than the newest window's end that is known when
    /// it goes through the gate: look-ahead, fade and the window itself.
    pub fn ahead_ms(&self) -> u64 {
        u64::from(self.look_ahead_ms) + FADE_IN_MS + WINDOW_MS
    }
}

/// The gate of one stream. Its methods neither allocate nor wait.
#[derive(Clone, Debug)]
pub struct Gate {
    params: Params,
    /// Samples of each.
    window: u64,
    look_ahead: u64,
    hold: u64,
    fade_in: u64,
    fade_out: u64,
    speaks: bool,
    /// What is let through whole, first position and end, in order and apart from each other.
    open: VecDeque<(u64, u64)>,
}

impl Gate {
    /// A gate for a stream of `rate` samples per second, closed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the parameter and what it may be.
    pub fn new(rate: u32, params: Params) -> Result<Self> {
        let invalid = |message| Err(Error::new(ErrorKind::Invalid, message));
        let (threshold, neg_threshold) = (params.threshold, params.neg_threshold);
        if !(threshold > 0.0 && threshold <= 1.0) {
            return invalid(format!(
                "threshold = {threshold}: must be above 0 and at most 1"
            ));
        }
        if !(0.0..=threshold).contains(&neg_threshold) {
            return invalid(format!(
                "neg_threshold = {neg_threshold}: must be from 0 to threshold"
            ));
        }
        for (name, ms) in [
            ("look_ahead_ms", params.look_ahead_ms),
            ("hold_ms", params.hold_ms),
        ] {
            if ms > MOST_MS {
                return invalid(format!("{name} = {ms}: must be at most {MOST_MS}"));
            }
        }
        let samples = |ms: u64| ms * u64::from(rate) / 1000;
        // Written once: the audio thread finds its pages in memory.
        let mut open: VecDeque<_> = std::iter::repeat_n((1, 1), AHEAD + 1).collect();
        open.clear();
        Ok(Self {
            params,
            window: samples(WINDOW_MS),
            look_ahead: samples(params.look_ahead_ms.into()),
            hold: samples(params.hold_ms.into()),
            fade_in: samples(FADE_IN_MS),
            fade_out: samples(FADE_OUT_MS),
            speaks: false,
            open,
        })
    }

    /// Takes the probability of a window, by its number in the stream; in order. A window
    /// whose probability isn't known (NaN) is let through: rather noise than a word lost.
    pub fn hear(&mut self, window: u64, probability: f32) {
        let least = if self.speaks {
            self.params.neg_threshold
        } else {
            self.params.threshold
        };
        self.speaks = probability.is_nan() || probability >= least;
        if !self.speaks {
            return;
        }
        let start = (window * self.window).saturating_sub(self.look_ahead);
        let end = (window + 1) * self.window + self.hold;
        match self.open.back_mut() {
            Some(last) if start <= last.1 => last.1 = end,
            _ => {
                if self.open.len() == AHEAD {
                    self.open.pop_front();
                }
                self.open.push_back((start, end));
            }
        }
    }

    /// Forgets what was heard, and is closed: the stream goes on elsewhere.
    pub fn reset(&mut self) {
        self.speaks = false;
        self.open.clear();
    }

    /// Puts the samples from `position` on through the gate; each time further on. All
    /// windows up to [`Params::ahead_ms`] after them have been heard.
    pub fn apply(&mut self, position: u64, samples: &mut [f32]) {
        let mut rest = samples;
        let mut at = position;
        while !rest.is_empty() {
            let (gain, until) = self.gain(at);
            let count = until.saturating_sub(at).min(rest.len() as u64) as usize;
            let (piece, after) = rest.split_at_mut(count);
            match gain {
                GateGain::Closed => piece.fill(0.0),
                GateGain::Open => {}
                GateGain::Fades { closes, opens } => fade(piece, |index| {
                    let at = at + index;
                    let out = closes.map_or(0.0, |end| self.fading_out(end, at));
                    let back = opens.map_or(0.0, |start| self.fading_in(start, at));
                    out.max(back)
                }),
            }
            at += count as u64;
            rest = after;
        }
    }

    /// What holds at a position, and until which.
    fn gain(&mut self, at: u64) -> (GateGain, u64) {
        let starts = |opening: Option<&(u64, u64)>| opening.map(|&(start, _)| start);
        while let Some(&(_, end)) = self.open.front()
            && (end + self.fade_out <= at || starts(self.open.get(1)).is_some_and(|s| s <= at))
        {
            self.open.pop_front();
        }
        let Some(&(start, end)) = self.open.front() else {
            return (GateGain::Closed, u64::MAX);
        };
        if at + self.fade_in < start {
            (GateGain::Closed, start - self.fade_in)
        } else if at < start {
            let opens = Some(start);
            (
                GateGain::Fades {
                    closes: None,
                    opens,
                },
                start,
            )
        } else if at < end {
            (GateGain::Open, end)
        } else {
            let (closes, opens) = (Some(end), starts(self.open.get(1)));
            let closed = end + self.fade_out;
            let until = opens.map_or(closed, |start| start.min(closed));
            (GateGain::Fades { closes, opens }, until)
        }
    }

    /// From 0 to 1 until `start`.
    fn fading_in(&self, start: u64, at: u64) -> f32 {
        (at + self.fade_in).saturating_sub(start) as f32 / self.fade_in as f32
    }

    /// From 1 to 0 after `end`.
    fn fading_out(&self, end: u64, at: u64) -> f32 {
        1.0 - (at + 1 - end) as f32 / self.fade_out as f32
    }
}

enum GateGain {
    Closed,
    Open,
    /// It may close and open at a time: the louder of both counts.
    Fades {
        closes: Option<u64>,
        opens: Option<u64>,
    },
}

/// Multiplies by a smooth step of what goes from 0 to 1, or back.
fn fade(samples: &mut [f32], along: impl Fn(u64) -> f32) {
    for (index, sample) in samples.iter_mut().enumerate() {
        let x = along(index as u64);
        *sample *= x * x * (3.0 - 2.0 * x);
    }
}
