//! The network, layer by layer, over a tile of windows; shapes are those of `docs/vad.md`.

use super::kernels::{Set, dot, flush, product, relu, sigmoid, tanh};
use super::stft::Stft;
use super::weights::Weights;
use super::{AT_8K, AT_16K, FRAMES, HIDDEN, Shape};
use crate::cpu::Path;
use crate::vad::{CONTEXT, LARGEST_SAMPLE};

/// Below this (-300 dB) a sample is silence.
const SMALLEST_SAMPLE: f32 = 1e-15;
/// Below this a magnitude or a state is zero; the smallest weight is about 1e-7.
const SMALLEST_VALUE: f32 = 1e-20;

const GATES: usize = 4 * HIDDEN;

/// What one stream remembers from window to window, and how it was wronged.
#[derive(Clone)]
pub(super) struct State {
    /// Of 8 kHz, the first half.
    pub(super) context: [f32; CONTEXT],
    pub(super) hidden: [f32; HIDDEN],
    pub(super) cell: [f32; HIDDEN],
    /// See [`crate::vad::Model::set_retention`].
    pub(super) retention: f32,
    pub(super) unusable: u64,
}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            context: [0.0; CONTEXT],
            hidden: [0.0; HIDDEN],
            cell: [0.0; HIDDEN],
            retention: 1.0,
            unusable: 0,
        }
    }

    /// Forgets what was heard, not how to hear.
    pub(super) fn reset(&mut self) {
        *self = Self {
            retention: self.retention,
            unusable: self.unusable,
            ..Self::new()
        };
    }
}

/// Workspace for up to `rows` windows that go through each layer together.
///
/// The network reads each weight once per tile. All memory is allocated here.
pub(super) struct Tile {
    shape: Shape,
    stft: Stft,
    /// Samples that were counted as silence in the window last transformed.
    pub(super) unusable: u64,
    /// Context, window, and the window's last samples mirrored: five halves of a frame.
    samples: Vec<f32>,
    spectrum: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    third: Vec<f32>,
    fourth: Vec<f32>,
    gates: Vec<f32>,
    pub(super) hidden: Vec<[f32; HIDDEN]>,
    pub(super) cell: Vec<[f32; HIDDEN]>,
    pub(super) probabilities: Vec<f32>,
}

impl Tile {
    pub(super) fn new(path: Path, shape: Shape, rows: usize) -> Self {
        Self {
            shape,
            stft: Stft::new(path, shape),
            unusable: 0,
            samples: vec![0.0; shape.frame / 2 * 5],
            spectrum: vec![0.0; rows * FRAMES * shape.bins()],
            first: vec![0.0; rows * FRAMES * HIDDEN],
            second: vec![0.0; rows * 2 * 64],
            third: vec![0.0; rows * 64],
            fourth: vec![0.0; rows * HIDDEN],
            gates: vec![0.0; rows * GATES],
            hidden: vec![[0.0; HIDDEN]; rows],
            cell: vec![[0.0; HIDDEN]; rows],
            probabilities: vec![0.0; rows],
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Puts a window behind its context.
    pub(super) fn load(&mut self, context: &[f32], window: &[f32]) {
        let (before, after) = self.samples.split_at_mut(self.shape.context());
        before.copy_from_slice(context);
        after[..self.shape.window()].copy_from_slice(window);
    }

    /// The sanitised end of the window last transformed.
    pub(super) fn context(&self) -> &[f32] {
        &self.samples[self.shape.window()..][..self.shape.context()]
    }
}

/// From the loaded samples to magnitudes [row][frame][bin]; counts what was no usable number.
#[inline(always)]
pub(super) fn spectrum<S: Set>(tile: &mut Tile, row: usize) {
    let mut unusable = 0u32;
    let (context, window) = (tile.shape.context(), tile.shape.window());
    let seen = context + window;
    for x in &mut tile.samples[context..seen] {
        // Also false for NaN.
        let usable = x.abs() <= LARGEST_SAMPLE;
        unusable += u32::from(!usable);
        *x = flush(if usable { *x } else { 0.0 }, SMALLEST_SAMPLE);
    }
    tile.unusable = u64::from(unusable);
    // Mirrored without repeating the last sample.
    for i in 0..context {
        tile.samples[seen + i] = tile.samples[seen - 2 - i];
    }
    let values = FRAMES * tile.shape.bins();
    let out = &mut tile.spectrum[row * values..][..values];
    match tile.shape {
        AT_16K => tile.stft.power::<{ AT_16K.frame }>(&tile.samples, out),
        _ => tile.stft.power::<{ AT_8K.frame }>(&tile.samples, out),
    }
    for power in out {
        *power = flush(power.sqrt(), SMALLEST_VALUE);
    }
}

/// The four convolutions, each followed by ReLU, and the LSTM's input product.
///
/// A convolution is one product per tap, over the frames that this tap meets.
#[inline(always)]
pub(super) fn encode<S: Set>(w: &Weights, tile: &mut Tile, rows: usize) {
    let Tile {
        spectrum,
        first,
        second,
        third,
        fourth,
        gates,
        ..
    } = tile;

    // 4 frames -> 4: output t sees inputs t-1, t, t+1.
    let first = &mut first[..rows * FRAMES * HIDDEN];
    fill(first, &w.bias1);
    let bins = w.shape.bins();
    let x = |r: usize| r * bins;
    let y = |r: usize| r * HIDDEN;
    product::<S>(&w.conv1[1], 4 * rows, spectrum, x, first, y);
    let (lower, upper) = (
        |r: usize| r / 3 * 4 + r % 3,
        |r: usize| r / 3 * 4 + r % 3 + 1,
    );
    product::<S>(
        &w.conv1[0],
        3 * rows,
        spectrum,
        |r| x(lower(r)),
        first,
        |r| y(upper(r)),
    );
    product::<S>(
        &w.conv1[2],
        3 * rows,
        spectrum,
        |r| x(upper(r)),
        first,
        |r| y(lower(r)),
    );
    relu(first);

    // 4 frames -> 2: output t sees inputs 2t-1, 2t, 2t+1.
    let second = &mut second[..rows * 2 * 64];
    fill(second, &w.bias2);
    let (x, y) = (|r: usize| r * HIDDEN, |r: usize| r * 64);
    product::<S>(
        &w.conv2[0],
        rows,
        first,
        |r| x(4 * r + 1),
        second,
        |r| y(2 * r + 1),
    );
    product::<S>(&w.conv2[1], 2 * rows, first, |r| x(2 * r), second, y);
    product::<S>(&w.conv2[2], 2 * rows, first, |r| x(2 * r + 1), second, y);
    relu(second);

    // 2 frames -> 1.
    let third = &mut third[..rows * 64];
    fill(third, &w.bias3);
    product::<S>(&w.conv3[0], rows, second, |r| 2 * r * 64, third, y);
    product::<S>(&w.conv3[1], rows, second, |r| (2 * r + 1) * 64, third, y);
    relu(third);

    let fourth = &mut fourth[..rows * HIDDEN];
    fill(fourth, &w.bias4);
    product::<S>(&w.conv4, rows, third, y, fourth, x);
    relu(fourth);

    let gates = &mut gates[..rows * GATES];
    fill(gates, &w.gates);
    product::<S>(&w.input, rows, fourth, x, gates, |r| r * GATES);
}

/// One step of the LSTM and the output neuron, for `rows` streams.
#[inline(always)]
pub(super) fn recur<S: Set>(
    w: &Weights,
    tile: &mut Tile,
    gates: usize,
    states: usize,
    rows: usize,
) {
    let Tile {
        gates: all,
        hidden,
        cell,
        probabilities,
        ..
    } = tile;
    let all = &mut all[gates * GATES..][..rows * GATES];
    let hidden = &mut hidden[states..][..rows];
    let from = |r| r * HIDDEN;
    product::<S>(&w.hidden, rows, hidden.as_flattened(), from, all, |r| {
        r * GATES
    });

    let output: &[f32; HIDDEN] = w.output.first_chunk().expect("one row of weights");
    let cells = &mut cell[states..][..rows];
    let streams = all.as_chunks::<GATES>().0.iter().zip(hidden).zip(cells);
    for (((gates, hidden), cell), p) in streams.zip(&mut probabilities[gates..]) {
        let mut positive = [0.0; HIDDEN];
        for k in 0..HIDDEN {
            let [i, f, g, o] = [0, 1, 2, 3].map(|gate| gates[gate * HIDDEN + k]);
            let c = sigmoid::<S>(f) * cell[k] + sigmoid::<S>(i) * tanh::<S>(g);
            let h = sigmoid::<S>(o) * tanh::<S>(c);
            cell[k] = flush(c, SMALLEST_VALUE);
            hidden[k] = flush(h, SMALLEST_VALUE);
            positive[k] = h.max(0.0);
        }
        *p = sigmoid::<S>(dot::<S, HIDDEN>(&positive, output) + w.output_bias);
    }
}

/// Every row of `out` as the bias.
#[inline(always)]
fn fill(out: &mut [f32], bias: &[f32]) {
    for row in out.chunks_exact_mut(bias.len()) {
        row.copy_from_slice(bias);
    }
}
