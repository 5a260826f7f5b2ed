//! The network's weights: read from safetensors, checked, packed for [`super::kernels`].

use super::matrix::Matrix;
use super::{HIDDEN, Shape};
use crate::{Error, ErrorKind, Result};
use safetensors::{Dtype, SafeTensors};
use std::f64::consts::TAU;

/// How far the file's STFT basis may be from a Hann-windowed DFT: f32 rounding.
const BASIS_TOLERANCE: f64 = 1e-6;

/// Everything the network multiplies with, packed; some 0.9 MB.
///
/// Taps that only ever meet zero padding are left out: the third layer's
/// first tap, and the outer two of the fourth, which sees a single frame.
pub(super) struct Weights {
    pub(super) shape: Shape,
    /// 129 (8 kHz: 65) -> 128, one matrix per tap.
    pub(super) conv1: [Matrix; 3],
    pub(super) bias1: Vec<f32>,
    /// 128 -> 64, stride 2.
    pub(super) conv2: [Matrix; 3],
    pub(super) bias2: Vec<f32>,
    /// 64 -> 64, stride 2: the middle and the last tap.
    pub(super) conv3: [Matrix; 2],
    pub(super) bias3: Vec<f32>,
    /// 64 -> 128: the middle tap.
    pub(super) conv4: Matrix,
    pub(super) bias4: Vec<f32>,
    /// 128 -> 512: gates i, f, g, o of the LSTM, from its input ...
    pub(super) input: Matrix,
    /// ... and from its last output.
    pub(super) hidden: Matrix,
    /// Both biases of the gates added up.
    pub(super) gates: Vec<f32>,
    pub(super) output: Vec<f32>,
    pub(super) output_bias: f32,
}

impl Weights {
    /// Reads and packs `bytes`, a safetensors file with the tensors that `docs/vad.md` lists.
    ///
    /// Errors: [`ErrorKind::Invalid`], naming the tensor that is missing or not as expected.
    pub(super) fn parse(bytes: &[u8], shape: Shape) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| invalid(e.to_string()))?;
        let get = |name: &str, shape: &[usize]| tensor(&file, name, shape);

        let basis = get("stft_conv.weight", &[2 * shape.bins(), 1, shape.frame])?;
        check_basis(&basis, shape)?;
        let conv = |layer: usize, outputs: usize, inputs: usize| -> Result<_> {
            let weight = get(&format!("conv{layer}.weight"), &[outputs, inputs, 3])?;
            let bias = get(&format!("conv{layer}.bias"), &[outputs])?;
            let tap = move |tap: usize| {
                Matrix::pack(outputs, inputs, |o, i| weight[(o * inputs + i) * 3 + tap])
            };
            Ok((tap, bias))
        };
        let (tap1, bias1) = conv(1, HIDDEN, shape.bins())?;
        let (tap2, bias2) = conv(2, 64, HIDDEN)?;
        let (tap3, bias3) = conv(3, 64, 64)?;
        let (tap4, bias4) = conv(4, HIDDEN, 64)?;
        let lstm = |name: &str| -> Result<_> {
            let weight = get(name, &[4 * HIDDEN, HIDDEN])?;
            Ok(Matrix::pack(4 * HIDDEN, HIDDEN, |o, i| {
                weight[o * HIDDEN + i]
            }))
        };
        let bias_ih = get("lstm_cell.bias_ih", &[4 * HIDDEN])?;
        let bias_hh = get("lstm_cell.bias_hh", &[4 * HIDDEN])?;
        Ok(Self {
            shape,
            conv1: [tap1(0), tap1(1), tap1(2)],
            bias1,
            conv2: [tap2(0), tap2(1), tap2(2)],
            bias2,
            conv3: [tap3(1), tap3(2)],
            bias3,
            conv4: tap4(1),
            bias4,
            input: lstm("lstm_cell.weight_ih")?,
            hidden: lstm("lstm_cell.weight_hh")?,
            gates: bias_ih.iter().zip(&bias_hh).map(|(a, b)| a + b).collect(),
            output: get("final_conv.weight", &[1, HIDDEN, 1])?,
            output_bias: get("final_conv.bias", &[1])?[0],
        })
    }

    /// Bytes that one window reads.
    pub(super) fn bytes(&self) -> usize {
        let matrices = self.conv1.iter().chain(&self.conv2).chain(&self.conv3);
        let matrices = matrices.chain([&self.conv4, &self.input, &self.hidden]);
        matrices.map(|m| size_of_val(m.panels.as_slice())).sum()
    }
}

fn invalid(why: String) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("cannot use the VAD weights: {why}; use Silero's weights as safetensors"),
    )
}

fn tensor(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let view = file
        .tensor(name)
        .map_err(|e| invalid(format!("{name}: {e}")))?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        let (dtype, found) = (view.dtype(), view.shape());
        return Err(invalid(format!(
            "{name} is {dtype:?} {found:?}, not F32 {shape:?}"
        )));
    }
    let values = view
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    let values: Vec<f32> = values.collect();
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(values),
        false => Err(invalid(format!("{name} holds a value that is not finite"))),
    }
}

/// The STFT runs as an FFT, so its basis must be the windowed DFT it stands for:
/// rows 0..129 `w[n] cos(2 pi k n / 256)`, rows 129..258 `-w[n] sin(2 pi k n / 256)`,
/// and the like with half as many at 8 kHz.
fn check_basis(basis: &[f32], shape: Shape) -> Result<()> {
    let window = hann(shape.frame);
    for (row, values) in basis.chunks_exact(shape.frame).enumerate() {
        let bin = row % shape.bins();
        for (n, (&value, &w)) in values.iter().zip(&window).enumerate() {
            let angle = TAU * ((bin * n) % shape.frame) as f64 / shape.frame as f64;
            let part = if row < shape.bins() {
                angle.cos()
            } else {
                -angle.sin()
            };
            if (f64::from(value) - w * part).abs() > BASIS_TOLERANCE {
                let place = format!("stft_conv.weight[{row}][{n}]");
                return Err(invalid(format!(
                    "{place} is not that of a Hann-windowed DFT"
                )));
            }
        }
    }
    Ok(())
}

/// The periodic Hann window of one frame.
pub(super) fn hann(frame: usize) -> Vec<f64> {
    let at = |n| 0.5 - 0.5 * (TAU * n as f64 / frame as f64).cos();
    (0..frame).map(at).collect()
}
