//! Voice activity: which 32 ms windows hold speech, and where utterances begin and end.
//!
//! A [`Model`] turns a window of samples into a probability; [`native::Native`] is Silero
//! without a runtime. [`segment`] turns probabilities into segments, and [`recording`] does
//! both for audio that is all there.

pub mod native;
pub mod recording;
pub mod segment;

use crate::Result;

/// Samples per second of everything here.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples per window: 32 ms.
pub const WINDOW: usize = 512;
/// Samples of the window before that the model sees again.
pub const CONTEXT: usize = 64;

/// A window in, a probability out; context and recurrent state live inside.
pub trait Model: Send {
    /// The probability that `window`, the 512 samples after those of the last
    /// call, holds speech: 0 to 1. Samples that are no usable number count as silence.
    fn probability(&mut self, window: &[f32; WINDOW]) -> Result<f32>;

    /// Forgets what came before, as after a gap.
    fn reset(&mut self);

    /// What runs, for `status`: implementation and model.
    fn name(&self) -> &str;

    /// Samples so far that were NaN, infinite or beyond 1e12, and counted as silence.
    fn unusable_samples(&self) -> u64;
}
