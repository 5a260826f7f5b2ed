//! Magnitudes of the short-time Fourier transform, two real frames per complex FFT.

use super::weights::hann;
use super::{FRAMES, Shape};
use crate::cpu::Path;
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner, FftPlannerScalar};
use std::sync::Arc;

/// The transform of one frame length, and its workspace.
pub(super) struct Stft {
    fft: Arc<dyn Fft<f32>>,
    window: Vec<f32>,
    buffer: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Stft {
    pub(super) fn new(path: Path, shape: Shape) -> Self {
        let frame = shape.frame;
        let fft = match path {
            Path::Portable => FftPlannerScalar::new().plan_fft_forward(frame),
            // Finds the best instructions by itself.
            _ => FftPlanner::new().plan_fft_forward(frame),
        };
        let scratch = vec![Complex32::ZERO; fft.get_inplace_scratch_len()];
        let buffer = vec![Complex32::ZERO; frame * FRAMES / 2];
        Self {
            fft,
            window: hann(frame).iter().map(|&w| w as f32).collect(),
            buffer,
            scratch,
        }
    }

    /// The squared magnitudes of the four frames of `samples`, frame after frame, `FRAME / 2 + 1` each.
    ///
    /// Frames f and f + 1 are the real and imaginary part of one input z. For
    /// real a and b, `Z = A + iB` with `A` and `B` conjugate-symmetric, hence
    /// `2A[k] = Z[k] + conj Z[N-k]` and `2iB[k] = Z[k] - conj Z[N-k]`.
    #[inline(always)]
    pub(super) fn power<const FRAME: usize>(&mut self, samples: &[f32], out: &mut [f32]) {
        let bins = FRAME / 2 + 1;
        let window: &[f32; FRAME] = self.window.first_chunk().expect("one frame");
        for (pair, z) in self.buffer.chunks_exact_mut(FRAME).enumerate() {
            let frame = |n: usize| -> &[f32; FRAME] {
                let samples = &samples[(2 * pair + n) * FRAME / 2..];
                samples.first_chunk().expect("four frames")
            };
            let (a, b) = (frame(0), frame(1));
            for (n, z) in z.iter_mut().enumerate() {
                *z = Complex32::new(window[n] * a[n], window[n] * b[n]);
            }
        }
        self.fft
            .process_with_scratch(&mut self.buffer, &mut self.scratch);
        for (z, out) in self
            .buffer
            .chunks_exact(FRAME)
            .zip(out.chunks_exact_mut(2 * bins))
        {
            let z: &[Complex32; FRAME] = z.first_chunk().expect("one frame");
            let (a, b) = out.split_at_mut(bins);
            (a[0], b[0]) = (z[0].re * z[0].re, z[0].im * z[0].im);
            for k in 1..bins {
                let (z, m) = (z[k], z[FRAME - k]);
                let (ar, ai) = (z.re + m.re, z.im - m.im);
                let (br, bi) = (z.im + m.im, m.re - z.re);
                a[k] = 0.25 * (ar * ar + ai * ai);
                b[k] = 0.25 * (br * br + bi * bi);
            }
        }
    }
}
