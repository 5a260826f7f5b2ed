//! Whether somebody speaks beside an echo. Each band of hearing knows how much the filter leaves of
//! an echo alone; a voice leaves more, in several bands at once.

use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// The bands' edges, 100 Hz to 8 kHz, in bins of 50 Hz: 20 ms are looked at, at each rate.
const EDGES: [usize; 19] = [
    2, 4, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 48, 58, 70, 85, 105, 130, 160,
];
const BANDS: usize = EDGES.len() - 1;
/// What is softer than this in a band is nobody's voice: mean square of -70 dBFS.
const AUDIBLE: f32 = 1e-7;
/// Added to powers before they are compared: -80 dBFS.
const FLOOR: f32 = 1e-8;
/// How much of a band's power stays from frame to frame.
const SMOOTH: f32 = 0.5;
/// An echo fades in a room by no more than this from frame to frame.
const FADES: f32 = 0.92;
/// What is left of an echo in a band at first, and the least and the most, in dB; it follows by so
/// much per frame up and down, so that 9 frames of 10 leave less.
const LEFT_DB: f32 = -6.0;
const LEAST_DB: f32 = -30.0;
const MOST_DB: f32 = 0.0;
const UP_DB: f32 = 0.5;
const DOWN_DB: f32 = 0.05;
/// By how much more has to be left in a band to count, and by how much it counts at most, in dB.
const MARGIN_DB: f32 = 3.0;
const CAP_DB: f32 = 12.0;
/// An echo that can't be expected may be louder than those before by so much, in dB.
const UNEXPECTED_DB: f32 = 10.0;
/// The bands' mean of what counts where a voice begins, and where it goes on, in dB.
const BEGINS_DB: f32 = 2.7;
const GOES_ON_DB: f32 = 1.5;
/// What is left in the bands on the average, in dB, below which they can be trusted alone.
const TRUSTED_DB: f32 = -8.5;
/// For so many frames after a voice it is still spoken: 0.6 s, as sentences have pauses, and soft
/// sounds in them that can't be told from what is left of an echo.
const HOLD: u32 = 60;

/// Hears a voice frame by frame of 10 ms.
#[derive(Debug)]
pub(crate) struct Voice {
    heard: Spectrum,
    left: Spectrum,
    /// Makes a mean square of a sum over half of the bins; the window leaves 3/8 of a power.
    scale: f32,
    /// Of the echo that the filter expects, and its fading.
    expected: [f32; BANDS],
    /// Of what the filter leaves, smoothed.
    smooth: [f32; BANDS],
    /// Of an echo alone, in dB of it.
    left_db: [f32; BANDS],
    /// Frames for which a voice is still spoken.
    hold: u32,
}

impl Voice {
    /// For frames of so many samples.
    pub(crate) fn new(frame: usize) -> Self {
        Self {
            heard: Spectrum::new(frame),
            left: Spectrum::new(frame),
            scale: 2.0 / (0.375 * (2.0 * frame as f32).powi(2)),
            expected: [0.0; BANDS],
            smooth: [0.0; BANDS],
            left_db: [LEFT_DB; BANDS],
            hold: 0,
        }
    }

    /// Whether somebody speaks in a frame, or has within the hold: of what the microphone heard
    /// and what the filter left of it. `is_loud` enough to learn from; `is_kept`: the suppressor
    /// takes it for a voice, too, which counts where the filter leaves much. `unexpected`: the share
    /// of an echo that the filter has to leave.
    pub(crate) fn is_heard(
        &mut self,
        (heard, filtered): (&[f32], &[f32]),
        is_loud: bool,
        is_kept: bool,
        unexpected: f32,
    ) -> bool {
        let (heard, left) = (self.heard.bins(heard), self.left.bins(filtered));
        let scale = self.scale;
        // Of none of it, nothing. One that can't be expected may be as loud as those before for long.
        let unexpected_db = 10.0 * unexpected.log10() + UNEXPECTED_DB;
        let fades = if unexpected_db > LEAST_DB { 1.0 } else { FADES };
        let mut found_db = [0.0; BANDS];
        let mut score_db = 0.0;
        for band in 0..BANDS {
            let bins = EDGES[band]..EDGES[band + 1];
            let (heard, left) = (&heard[bins.clone()], &left[bins]);
            let echo = heard.iter().zip(left).map(|(heard, left)| heard - left);
            let echo = scale * energy(echo);
            // What the microphone didn't hear is the filter's own: an echo that hasn't come yet.
            let left = scale * energy(heard.iter().copied()).min(energy(left.iter().copied()));
            self.expected[band] = echo.max(fades * self.expected[band]);
            self.smooth[band] = left + SMOOTH * (self.smooth[band] - left);
            let ratio = (self.smooth[band] + FLOOR) / (self.expected[band] + FLOOR);
            found_db[band] = 10.0 * ratio.log10();
            if self.smooth[band] > AUDIBLE {
                let left_db = self.left_db[band].max(unexpected_db);
                let more = found_db[band] - left_db - MARGIN_DB;
                score_db += more.clamp(0.0, CAP_DB) / BANDS as f32;
            }
        }
        let is_voice = if self.hold > 0 {
            score_db > GOES_ON_DB
        } else {
            score_db > BEGINS_DB && (is_kept || self.is_trusted())
        };
        self.hold = if is_voice {
            HOLD
        } else {
            self.hold.saturating_sub(1)
        };
        if self.hold == 0 && is_loud {
            for (left, found) in self.left_db.iter_mut().zip(found_db) {
                let step = if found > *left { UP_DB } else { -DOWN_DB };
                *left = (*left + step).clamp(LEAST_DB, MOST_DB);
            }
        }
        self.hold > 0
    }

    /// What is known of the room doesn't hold any more.
    pub(crate) fn forget(&mut self) {
        (self.left_db, self.hold) = ([LEFT_DB; BANDS], 0);
    }

    fn is_trusted(&self) -> bool {
        self.left_db.iter().sum::<f32>() < TRUSTED_DB * BANDS as f32
    }
}

fn energy(bins: impl Iterator<Item = Complex<f32>>) -> f32 {
    bins.map(|bin| bin.norm_sqr()).sum()
}

/// The newest 20 ms, by a Hann window.
struct Spectrum {
    window: Vec<f32>,
    newest: Vec<f32>,
    forward: Arc<dyn RealToComplex<f32>>,
    time: Vec<f32>,
    bins: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl fmt::Debug for Spectrum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spectrum").finish_non_exhaustive()
    }
}

impl Spectrum {
    fn new(frame: usize) -> Self {
        let length = 2 * frame;
        let forward = RealFftPlanner::new().plan_fft_forward(length);
        let turn = std::f32::consts::TAU / length as f32;
        Self {
            window: (0..length)
                .map(|index| 0.5 - 0.5 * (turn * index as f32).cos())
                .collect(),
            newest: vec![0.0; length],
            time: vec![0.0; length],
            bins: forward.make_output_vec(),
            scratch: forward.make_scratch_vec(),
            forward,
        }
    }

    /// With one frame more.
    fn bins(&mut self, frame: &[f32]) -> &[Complex<f32>] {
        self.newest.copy_within(frame.len().., 0);
        self.newest[frame.len()..].copy_from_slice(frame);
        let windowed = self.newest.iter().zip(&self.window);
        for (to, (sample, window)) in self.time.iter_mut().zip(windowed) {
            *to = sample * window;
        }
        // Fails for other lengths only.
        let _ =
            self.forward
                .process_with_scratch(&mut self.time, &mut self.bins, &mut self.scratch);
        &self.bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 160;

    /// Whether a voice is found in 1 s, of which the microphone hears so much.
    fn is_found(heard: f32) -> bool {
        let mut voice = Voice::new(FRAME);
        let mut state = 1_u32;
        (0..100).any(|_| {
            let left: Vec<_> = (0..FRAME)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    0.1 * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
                })
                .collect();
            let microphone: Vec<_> = left.iter().map(|sample| heard * sample).collect();
            voice.is_heard((&microphone, &left), true, true, 0.0)
        })
    }

    #[test]
    fn what_the_microphone_does_not_hear_is_no_voice() {
        assert!(is_found(1.0));
        // A filter that expects an echo which hasn't come yet leaves it, turned over.
        assert!(!is_found(0.0));
        assert!(!is_found(0.001));
    }
}
