//! Spectra of two blocks, of which the filter and the loudspeaker are made.

use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// Real and imaginary parts apart, so that compilers find vectors.
pub(crate) struct Spectra {
    pub(crate) re: Vec<f32>,
    pub(crate) im: Vec<f32>,
}

impl Spectra {
    pub(crate) fn new(length: usize) -> Self {
        let (re, im) = (vec![0.0; length], vec![0.0; length]);
        Self { re, im }
    }
}

/// From time to spectrum and back, in place. Allocates when it is made only.
pub(crate) struct Transform {
    /// Samples of a block.
    block: usize,
    /// Two blocks.
    pub(crate) time: Vec<f32>,
    pub(crate) spectrum: Vec<Complex<f32>>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transform")
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}

impl Transform {
    /// For blocks of so many samples.
    pub(crate) fn new(block: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        let forward = planner.plan_fft_forward(2 * block);
        let inverse = planner.plan_fft_inverse(2 * block);
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        Self {
            block,
            time: vec![0.0; 2 * block],
            spectrum: vec![Complex::default(); block + 1],
            forward,
            inverse,
            scratch: vec![Complex::default(); scratch],
        }
    }

    /// Makes `spectrum` of `time`, which is spoilt.
    pub(crate) fn forward(&mut self) {
        // Fails for other lengths only.
        let _ = self.forward.process_with_scratch(
            &mut self.time,
            &mut self.spectrum,
            &mut self.scratch,
        );
    }

    /// The same of a block that comes after silence.
    pub(crate) fn forward_late(&mut self) {
        self.time[..self.block].fill(0.0);
        self.forward();
    }

    /// Makes `time` of `spectrum`, which is spoilt.
    pub(crate) fn back(&mut self) {
        // Fails for other lengths, and where these two are complex.
        self.spectrum[0].im = 0.0;
        self.spectrum[self.block].im = 0.0;
        let _ = self.inverse.process_with_scratch(
            &mut self.spectrum,
            &mut self.time,
            &mut self.scratch,
        );
        let scale = 0.5 / self.block as f32;
        self.time.iter_mut().for_each(|sample| *sample *= scale);
    }

    /// The spectrum from its parts.
    pub(crate) fn set(&mut self, re: &[f32], im: &[f32]) {
        for (value, (&re, &im)) in self.spectrum.iter_mut().zip(re.iter().zip(im)) {
            *value = Complex::new(re, im);
        }
    }
}
