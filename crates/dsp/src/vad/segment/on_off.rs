//! Speech's beginnings and ends as they are known at once, for everyone who listens.

use super::params::{Params, decimal};
use super::{MS, STEP};
use crate::Result;

/// Speech began or ended, as an event for everyone: with the default parameters
/// and without delaying the start or padding anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Speech from this position on.
    Start(u64),
    /// It ended at this position, [`Params::min_silence_ms`] ago.
    End(u64),
}

/// The engine's own hysteresis: rules 1 to 3 of the module with no least length.
pub struct OnOff {
    threshold: f64,
    neg_threshold: f64,
    min_silence: u64,
    on: bool,
    pause: Option<u64>,
}

impl OnOff {
    /// Uses the thresholds and `min_silence_ms` of `params`.
    ///
    /// Errors: those of [`Params::validate`].
    pub fn new(params: &Params) -> Result<Self> {
        params.validate()?;
        Ok(Self {
            threshold: decimal(params.threshold),
            neg_threshold: params.neg_threshold(),
            min_silence: u64::from(params.min_silence_ms) * MS,
            on: false,
            pause: None,
        })
    }

    /// Takes the probability of window `index`.
    pub fn push(&mut self, index: u64, probability: f32) -> Option<Edge> {
        let (now, p) = (index * STEP, f64::from(probability));
        if p >= self.threshold {
            self.pause = None;
            return (!std::mem::replace(&mut self.on, true)).then_some(Edge::Start(now));
        }
        if !self.on || (p >= self.neg_threshold && self.pause.is_none()) {
            return None;
        }
        let pause = *self.pause.get_or_insert(now);
        // Only a window below the lower threshold ends speech, as in rule 3.
        if p < self.neg_threshold && now - pause >= self.min_silence {
            self.on = false;
            self.pause = None;
            return Some(Edge::End(pause));
        }
        None
    }

    /// Ends what is open, as where audio is missing.
    pub fn reset(&mut self, position: u64) -> Option<Edge> {
        self.pause = None;
        std::mem::replace(&mut self.on, false).then_some(Edge::End(position))
    }
}
