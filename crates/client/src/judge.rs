//! Where there is speech in audio of a ring: as the engine judged it, or by a model here
//! where it says nothing.

use std::time::{Duration, Instant};

use v2m_dsp::vad::Model;
use v2m_dsp::vad::hearing::Hearing;
use v2m_dsp::vad::native::Native;

use crate::dsp::resample::Resampler;
use crate::error::Result;
use crate::ring::{Rate, Reader, WINDOW};

/// How long the newest windows may take to be judged by the engine.
const PATIENCE: Duration = Duration::from_millis(20);
/// With more complete windows than this unjudged the engine isn't waited for: its
/// detection is off, or far behind.
const LATE: u64 = 31;
/// Windows before the audio that the model hears first, so that it knows the scene.
const WARM_UP: u64 = 31;

/// Whether the windows below `end` are judged, or are so in a moment. Blocks.
fn await_speech(ring: &Reader, end: u64) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ticket = ring.ticket();
        let judged = ring.speech_committed();
        if judged >= end {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || ring.complete_windows() > judged.saturating_add(LATE) {
            return false;
        }
        ring.wait(ticket, left);
    }
}

/// The engine's own judgement of the windows that end in `[position, position + count)`, and of
/// the one that it begins in: the number of the first, and how many are there. Waits a moment
/// for the newest.
pub fn track(ring: &Reader, position: u64, count: u64) -> (u64, u64) {
    let window = ring.rate().window();
    let all = position.saturating_add(count) / window;
    await_speech(ring, all);
    let end = all.min(ring.speech_committed());
    let first = (position / window).min(end);
    (first, end - first)
}

/// The probabilities of the windows that end in `[start, end)`, or of the last one before
/// if none does, and the number of the first of them. Blocks.
///
/// # Errors
/// [`ErrorKind::Overrun`](crate::ErrorKind::Overrun): they were overwritten.
pub fn stretch(ring: &Reader, start: u64, end: u64, hearing: Hearing) -> Result<(u64, Vec<f32>)> {
    let window = ring.rate().window();
    let last = (end / window).max(1);
    let first = (start / window).min(last - 1);
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
    let size = ring.rate().window();
    let kept = ring.oldest().div_ceil(size);
    let last = first + out.len() as u64;
    let mut ears = Ears::new(ring.rate())?;
    let begin = first.saturating_sub(WARM_UP).max(kept.min(first));
    // The next window that is heard.
    let mut next = begin;
    let mut samples = vec![0.0; size as usize];
    for window in begin..last {
        let position = window * size;
        let there = (end - position).min(size) as usize;
        samples.fill(0.0);
        let read = ring.read_samples(position, &mut samples[..there]);
        if window < first && read.is_err() {
            // Overwritten meanwhile: it begins later.
            ears = Ears::new(ring.rate())?;
            next = window + 1;
            continue;
        }
        read?;
        ears.push(&samples);
        // What the resampler holds back of the last window comes out with silence.
        samples.fill(0.0);
        while let Some(heard) = ears.window(window + 1 == last && next < last, &samples) {
            let probability = model.probability(&heard)?;
            if next >= first {
                out[(next - first) as usize] = probability;
            }
            next += 1;
        }
    }
    Ok(())
}

/// Windows at a ring's rate in, windows at 16 kHz out.
struct Ears {
    resampler: Resampler,
    heard: Vec<f32>,
    scratch: Vec<f32>,
}

impl Ears {
    fn new(rate: Rate) -> Result<Self> {
        let resampler = Resampler::new(rate.hz(), Rate::SPEECH.hz())?;
        Ok(Self {
            scratch: vec![0.0; resampler.max_output(rate.window() as usize)],
            resampler,
            heard: Vec::new(),
        })
    }

    fn push(&mut self, samples: &[f32]) {
        let written = self.resampler.process(samples, &mut self.scratch);
        self.heard.extend_from_slice(&self.scratch[..written]);
    }

    /// The next window, if it is there; else after `silence`, if nothing follows.
    fn window(&mut self, is_last: bool, silence: &[f32]) -> Option<[f32; WINDOW as usize]> {
        if is_last && self.heard.len() < WINDOW as usize {
            self.push(silence);
        }
        let window = *self.heard.first_chunk()?;
        self.heard.drain(..window.len());
        Some(window)
    }
}
