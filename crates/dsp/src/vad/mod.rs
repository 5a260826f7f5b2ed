//! Voice activity: which 32 ms windows hold speech, and where utterances begin and end.
//!
//! A [`Model`] turns a window of samples into a probability; [`native::Native`] is Silero
//! without a runtime, and [`hearing`] makes either hear more. [`segment`] turns probabilities
//! into segments; [`recording`] and [`corpus`] are for audio that is all there, and [`pieces`]
//! for audio that comes in pieces.

pub mod corpus;
pub mod hearing;
pub mod native;
pub mod pieces;
pub mod recording;
pub mod segment;

use crate::Result;

/// Samples per second of everything here.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples per window: 32 ms.
pub const WINDOW: usize = 512;
/// Samples of the window before that the model sees again.
pub const CONTEXT: usize = 64;
/// Beyond this a sample is no audio, and sums over many could overflow: it counts as silence.
pub const LARGEST_SAMPLE: f32 = 1e12;

/// A window in, a probability out; context and recurrent state live inside.
pub trait Model: Send {
    /// The probability that `window`, the 512 samples after those of the last
    /// call, holds speech: 0 to 1. Samples that are no usable number count as silence.
    fn probability(&mut self, window: &[f32; WINDOW]) -> Result<f32>;

    /// Forgets what came before, as after a gap.
    fn reset(&mut self);

    /// After each window the LSTM's cells keep this share of what they hold, besides what the
    /// network itself has them forget; 1, which is Silero's own, until it is set.
    fn set_retention(&mut self, retention: f32);

    /// What runs, for `status`: implementation and model.
    fn name(&self) -> &str;

    /// Samples so far that were NaN, infinite or beyond 1e12, and counted as silence.
    fn unusable_samples(&self) -> u64;
}
