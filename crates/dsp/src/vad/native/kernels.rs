//! The arithmetic: packed products, activations, and which instructions they are compiled for.
//!
//! Every function is plain Rust over arrays of fixed length, inlined into one
//! function per instruction set, where the compiler turns the arrays into
//! registers. What differs between the sets is chosen by a [`Set`].

use super::matrix::{LANES, Lanes, Matrix};
use crate::cpu::Set;

/// `a * b + c`.
#[inline(always)]
fn mul_add<S: Set>(a: f32, b: f32, c: f32) -> f32 {
    if S::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `y += W x` for `rows` pairs of vectors: the `r`-th starts at `x[from(r)]` and at `y[to(r)]`.
#[inline(always)]
pub(super) fn product<S: Set>(
    matrix: &Matrix,
    rows: usize,
    x: &[f32],
    from: impl Fn(usize) -> usize,
    y: &mut [f32],
    to: impl Fn(usize) -> usize,
) {
    for (p, panel) in matrix.panels.chunks_exact(matrix.inputs).enumerate() {
        let to = |r| to(r) + p * LANES;
        let mut r = 0;
        while r < rows {
            r += match rows - r {
                1 => block::<S, 1>(panel, x, |i| from(r + i), y, |i| to(r + i)),
                2 => block::<S, 2>(panel, x, |i| from(r + i), y, |i| to(r + i)),
                3 => block::<S, 3>(panel, x, |i| from(r + i), y, |i| to(r + i)),
                _ => block::<S, 4>(panel, x, |i| from(r + i), y, |i| to(r + i)),
            };
        }
    }
}

/// `M` rows of one panel, as many lanes at a time as there are sums for; returns `M`.
#[inline(always)]
fn block<S: Set, const M: usize>(
    panel: &[Lanes],
    x: &[f32],
    from: impl Fn(usize) -> usize,
    y: &mut [f32],
    to: impl Fn(usize) -> usize,
) -> usize {
    let x: [&[f32]; M] = std::array::from_fn(|m| &x[from(m)..][..panel.len()]);
    match S::SUMS / M {
        128.. => strips::<S, M, 64, 2>(panel, x, y, to),
        64.. => strips::<S, M, 64, 1>(panel, x, y, to),
        32.. => strips::<S, M, 32, 1>(panel, x, y, to),
        16.. => strips::<S, M, 16, 1>(panel, x, y, to),
        _ => strips::<S, M, 8, 1>(panel, x, y, to),
    }
    M
}

/// `M` rows of one panel, `W` lanes after `W` lanes, each sum in `K` parts.
#[inline(always)]
fn strips<S: Set, const M: usize, const W: usize, const K: usize>(
    panel: &[Lanes],
    x: [&[f32]; M],
    y: &mut [f32],
    to: impl Fn(usize) -> usize,
) {
    for lane in (0..LANES).step_by(W) {
        let mut sums = [[[0.0f32; W]; M]; K];
        for (m, sum) in sums[0].iter_mut().enumerate() {
            sum.copy_from_slice(&y[to(m) + lane..][..W]);
        }
        let whole = panel.len() / K * K;
        for k in (0..whole).step_by(K) {
            for (part, sums) in sums.iter_mut().enumerate() {
                step::<S, M, W>(panel, lane, x, k + part, sums);
            }
        }
        for k in whole..panel.len() {
            step::<S, M, W>(panel, lane, x, k, &mut sums[0]);
        }
        for m in 0..M {
            let out = &mut y[to(m) + lane..][..W];
            for l in 0..W {
                out[l] = sums[0][m][l];
                for part in &sums[1..] {
                    out[l] += part[m][l];
                }
            }
        }
    }
}

/// Adds the `k`-th input's part to the sums.
#[inline(always)]
fn step<S: Set, const M: usize, const W: usize>(
    panel: &[Lanes],
    lane: usize,
    x: [&[f32]; M],
    k: usize,
    sums: &mut [[f32; W]; M],
) {
    let weights: &[f32; W] = panel[k].0[lane..].first_chunk().expect("lane + W <= LANES");
    for m in 0..M {
        let factor = x[m][k];
        for l in 0..W {
            sums[m][l] = mul_add::<S>(factor, weights[l], sums[m][l]);
        }
    }
}

/// `max(x, 0)` of every value.
#[inline(always)]
pub(super) fn relu(values: &mut [f32]) {
    for v in values {
        *v = v.max(0.0);
    }
}

/// `e^x` within 2 units in the last place for -87 <= x <= 87; x is clamped to that.
///
/// `x = n ln 2 + r`: 2^n by its exponent bits, e^r by its Taylor series, as |r| <= 0.35.
#[inline(always)]
fn exp<S: Set>(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with few bits, so that n times it is exact.
    const LN2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let x = x.clamp(-87.0, 87.0);
    let shifted = mul_add::<S>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<S>(n, -LN2.1, mul_add::<S>(n, -LN2.0, x));
    let mut sum = 1.0 / 5040.0;
    for term in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = mul_add::<S>(sum, r, term);
    }
    // The low bits of `shifted` are n (its own bits above cancel modulo 2^32).
    let scale = shifted
        .to_bits()
        .wrapping_shl(23)
        .wrapping_add(1.0f32.to_bits());
    sum * f32::from_bits(scale)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<S: Set>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<S>(-x))
}

/// The hyperbolic tangent, within 2e-7.
#[inline(always)]
pub(super) fn tanh<S: Set>(x: f32) -> f32 {
    2.0 * sigmoid::<S>(2.0 * x) - 1.0
}

/// `a . b`, both of `N` values, `N` a multiple of 16.
#[inline(always)]
pub(super) fn dot<S: Set, const N: usize>(a: &[f32; N], b: &[f32; N]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for l in 0..16 {
            sums[l] = mul_add::<S>(a[l], b[l], sums[l]);
        }
    }
    sums.iter().sum()
}

/// A value whose products could become subnormal, which are slow on many CPUs, as zero.
#[inline(always)]
pub(super) fn flush(x: f32, floor: f32) -> f32 {
    if x.abs() < floor { 0.0 } else { x }
}
