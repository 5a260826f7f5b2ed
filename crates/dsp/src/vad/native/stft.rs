//! Magnitudes of the short-time Fourier transform, two real frames per complex FFT.

use super::dispatch::Path;
use super::weights::hann;
use super::{BINS, FRAME, FRAMES};
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner, FftPlannerScalar};
use std::sync::Arc;

/// The transform of one frame length, and its workspace.
pub(super) struct Stft {
    fft: Arc<dyn Fft<f32>>,
    window: [f32; FRAME],
    buffer: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Stft {
    pub(super) fn new(path: Path) -> Self {
        let fft = match path {
            Path::Portable => FftPlannerScalar::new().plan_fft_forward(FRAME),
            // Finds the best instructions by itself.
            _ => FftPlanner::new().plan_fft_forward(FRAME),
        };
        let scratch = vec![Complex32::ZERO; fft.get_inplace_scratch_len()];
        let buffer = vec![Complex32::ZERO; FRAME * FRAMES / 2];
        Self {
            fft,
            window: hann().map(|w| w as f32),
            buffer,
            scratch,
        }
    }

    /// The squared magnitudes of the four frames of `samples`, frame after frame, `BINS` each.
    ///
    /// Frames f and f + 1 are the real and imaginary part of one input z. For
    /// real a and b, `Z = A + iB` with `A` and `B` conjugate-symmetric, hence
    /// `2A[k] = Z[k] + conj Z[N-k]` and `2iB[k] = Z[k] - conj Z[N-k]`.
    #[inline(always)]
    pub(super) fn power(&mut self, samples: &[f32; 640], out: &mut [f32; FRAMES * BINS]) {
        for (pair, z) in self.buffer.chunks_exact_mut(FRAME).enumerate() {
            let a: &[f32; FRAME] = samples[pair * 256..].first_chunk().expect("four frames");
            let b: &[f32; FRAME] = samples[pair * 256 + 128..]
                .first_chunk()
                .expect("four frames");
            for (n, z) in z.iter_mut().enumerate() {
                *z = Complex32::new(self.window[n] * a[n], self.window[n] * b[n]);
            }
        }
        self.fft
            .process_with_scratch(&mut self.buffer, &mut self.scratch);
        for (z, out) in self
            .buffer
            .chunks_exact(FRAME)
            .zip(out.chunks_exact_mut(2 * BINS))
        {
            let z: &[Complex32; FRAME] = z.first_chunk().expect("one frame");
            let (a, b) = out.split_at_mut(BINS);
            (a[0], b[0]) = (z[0].re * z[0].re, z[0].im * z[0].im);
            for k in 1..BINS {
                let (z, m) = (z[k], z[FRAME - k]);
                let (ar, ai) = (z.re + m.re, z.im - m.im);
                let (br, bi) = (z.im + m.im, m.re - z.re);
                a[k] = 0.25 * (ar * ar + ai * ai);
                b[k] = 0.25 * (br * br + bi * bi);
            }
        }
    }
}
