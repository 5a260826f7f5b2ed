//! Where there is speech in audio of a ring: as the engine judged it, or by a model here
//! where it says nothing.

use std::time::{Duration, Instant};

use v2m_dsp::vad::Model;
use v2m_dsp::vad::hearing::Hearing;
use v2m_dsp::vad::native::Native;

use crate::error::Result;
use crate::ring::{Reader, WINDOW};

/// How long the newest windows may take to be judged by the engine.
const PATIENCE: Duration = Duration::from_millis(20);
/// With more complete windows than this unjudged the engine isn't waited for: its
/// detection is off, or far behind.
const LATE: u64 = 31;
/// Windows before the audio that the model hears first, so that it knows the scene.
const WARM_UP: u64 = 31;

/// Whether the windows below `end` are judged, or are so in a moment. Blocks.
pub fn await_speech(ring: &Reader, end: u64) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ticket = ring.ticket();
        let judged = ring.speech_committed();
        if judged >= end {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || ring.committed() / WINDOW > judged.saturating_add(LATE) {
            return false;
        }
        ring.wait(ticket, left);
    }
}

/// The probabilities of the windows that end in `[start, end)`, or of the last one before
/// if none does, and the number of the first of them. Blocks.
///
/// # Errors
/// [`ErrorKind::Overrun`](crate::ErrorKind::Overrun): they were overwritten.
pub fn stretch(ring: &Reader, start: u64, end: u64, hearing: Hearing) -> Result<(u64, Vec<f32>)> {
    let last = (end / WINDOW).max(1);
    let first = (start / WINDOW).min(last - 1);
    let mut probabilities = vec![f32::NAN; (last - first) as usize];
    if await_speech(ring, last) {
        ring.read_speech(first, &mut probabilities)?;
    }
    if probabilities.iter().any(|p| p.is_nan()) {
        let model = hearing.apply(Box::new(Native::new()));
        judge(model, ring, first, end, &mut probabilities)?;
    }
    Ok((first, probabilities))
}

/// By a model of our own, which hears a second of what came before as far as the ring
/// still has it. What isn't committed of the first window of all is silence.
fn judge(
    mut model: Box<dyn Model>,
    ring: &Reader,
    first: u64,
    end: u64,
    out: &mut [f32],
) -> Result<()> {
    let kept = ring.oldest().div_ceil(WINDOW);
    for window in first.saturating_sub(WARM_UP).max(kept.min(first))..first + out.len() as u64 {
        let position = window * WINDOW;
        let mut samples = [0.0; WINDOW as usize];
        let there = (end - position).min(WINDOW) as usize;
        let read = ring.read_samples(position, &mut samples[..there]);
        if window < first {
            // Overwritten meanwhile: it begins later.
            if read.is_ok() {
                model.probability(&samples)?;
            }
            continue;
        }
        read?;
        out[(window - first) as usize] = model.probability(&samples)?;
    }
    Ok(())
}
