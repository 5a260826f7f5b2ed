//! What recursive filters are made of.

use std::f64::consts::TAU;

/// Below this a filter's state is silence (-400 dB), long before it could be subnormal.
const SMALLEST_STATE: f64 = 1e-20;

/// A filter of second order, in the transposed direct form II.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    b: [f64; 3],
    a: [f64; 2],
    state: [f64; 2],
}

impl Section {
    /// A high-pass with its `corner` in Hz, below half of `rate`.
    pub(crate) fn highpass(corner: f64, quality: f64, rate: u32) -> Self {
        let (sin, cos) = (TAU * corner / f64::from(rate)).sin_cos();
        let alpha = sin / (2.0 * quality);
        let b = (1.0 + cos) / 2.0;
        Self {
            b: [b, -2.0 * b, b].map(|b| b / (1.0 + alpha)),
            a: [-2.0 * cos, 1.0 - alpha].map(|a| a / (1.0 + alpha)),
            state: [0.0; 2],
        }
    }

    #[inline(always)]
    pub(crate) fn filter(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.state[0];
        self.state = [
            self.b[1] * x - self.a[0] * y + self.state[1],
            self.b[2] * x - self.a[1] * y,
        ];
        y
    }

    /// As after `x` for ever, of which a high-pass lets nothing through.
    pub(crate) fn settle(&mut self, x: f64) {
        self.state = [-self.b[0] * x, self.b[2] * x];
    }

    /// Lets what nobody hears end: the smallest numbers cost the processor most.
    pub(crate) fn flush(&mut self) {
        for state in &mut self.state {
            if state.abs() < SMALLEST_STATE {
                *state = 0.0;
            }
        }
    }
}
