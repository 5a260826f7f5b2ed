//! What it costs to hear whether a source is well: one window of 32 ms, beside the speech
//! detector's on the same core in turn.
//!
//!     cargo bench -p v2m-dsp --bench health

use std::hint::black_box;
use std::time::Instant;

use v2m_dsp::health::{Facts, Judge, Moment, PATIENCE, WINDOW};
use v2m_dsp::vad::Model;
use v2m_dsp::vad::native::Native;

const TURNS: usize = 40;
/// The time that a window lasts, in µs.
const WINDOW_US: f64 = 32_000.0;

fn main() {
    let samples = include_bytes!("../../../tests/data/vad_golden.i16")
        .as_chunks()
        .0
        .iter();
    let samples: Vec<f32> = samples
        .map(|two| f32::from(i16::from_le_bytes(*two)) / 32_768.0)
        .collect();
    let windows: &[[f32; WINDOW]] = samples.as_chunks().0;
    let (mut judge, mut model) = (Judge::new(PATIENCE), Native::new());
    let mut best = [f64::INFINITY; 2];
    for _ in 0..TURNS {
        let begin = Instant::now();
        for (n, window) in windows.iter().enumerate() {
            judge.window(black_box(window), Some(0.2), Moment::default());
            if n % 3 == 0 {
                black_box(judge.findings(&Facts::default(), Moment::default()));
            }
        }
        let middle = Instant::now();
        for window in windows {
            let _ = black_box(model.probability(black_box(window)));
        }
        let took = [middle - begin, middle.elapsed()];
        for (best, took) in best.iter_mut().zip(took) {
            *best = best.min(took.as_secs_f64() * 1e6 / windows.len() as f64);
        }
    }
    let [health, detector] = best;
    println!(
        "health: {health:.2} us a window, {:.3} % of a core; {:.2} of the speech detector's {detector:.2} us",
        100.0 * health / WINDOW_US,
        health / detector
    );
}
