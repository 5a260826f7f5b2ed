//! Sums of products of a signal and a row of coefficients, with the widest vectors that the CPU
//! has. A sum is taken in one order everywhere and no multiply-add is fused, so that all CPUs
//! give equal results, to the bit.

use crate::cpu::{Path, Runnable};

/// Partial sums of each sum: enough to keep the vector units busy where there is one sum only.
pub(super) const LANES: usize = 16;
/// Sums on one row that are computed together, so that a coefficient is loaded once for all of
/// them; what they have to load is what takes the time.
pub(super) const TOGETHER: usize = 6;
/// Lanes that so many sums at a time have registers for: a vector of each.
const BASELINE: usize = if cfg!(target_arch = "aarch64") { 16 } else { 4 };
#[cfg(target_arch = "x86_64")]
const AVX2: usize = 8;

/// Σ aᵢ·bᵢ of two slices whose length is a multiple of [`LANES`].
#[inline]
pub(super) fn dot(path: Runnable, a: &[f32], b: &[f32]) -> f32 {
    let [sum] = match path.path() {
        // SAFETY: both paths are of CPUs that have AVX2, and a Runnable was found to run here.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 | Path::Avx512 => unsafe { by_lane_avx2::<1, LANES>(a, 0, b) },
        _ => by_lane_baseline::<1, LANES>(a, 0, b),
    }
    .map(sum);
    sum
}

/// Σ aᵢ·bᵢ with windows of a signal that lie `step` apart, and one row of coefficients.
#[inline]
pub(super) fn together(
    path: Runnable,
    signal: &[f32],
    step: usize,
    row: &[f32],
) -> [f32; TOGETHER] {
    match path.path() {
        // SAFETY: as in `dot`.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 | Path::Avx512 => unsafe { by_lane_avx2::<TOGETHER, AVX2>(signal, step, row) },
        _ => by_lane_baseline::<TOGETHER, BASELINE>(signal, step, row),
    }
    .map(sum)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline(never)]
fn by_lane_avx2<const N: usize, const W: usize>(
    signal: &[f32],
    step: usize,
    row: &[f32],
) -> [[f32; LANES]; N] {
    by_lane::<N, W>(signal, step, row)
}

#[inline(never)]
fn by_lane_baseline<const N: usize, const W: usize>(
    signal: &[f32],
    step: usize,
    row: &[f32],
) -> [[f32; LANES]; N] {
    by_lane::<N, W>(signal, step, row)
}

/// Σ aᵢ·bᵢ of each lane, `W` lanes at a time. Never inlined where the lanes are summed up:
/// beside that the compiler uses half of each vector, and takes half as long again.
#[inline(always)]
fn by_lane<const N: usize, const W: usize>(
    signal: &[f32],
    step: usize,
    row: &[f32],
) -> [[f32; LANES]; N] {
    let mut all = [[0.0; LANES]; N];
    let row = row.as_chunks::<LANES>().0;
    let windows: [&[[f32; LANES]]; N] =
        std::array::from_fn(|n| &signal[n * step..].as_chunks().0[..row.len()]);
    for first in (0..LANES).step_by(W) {
        let mut sums = [[0.0; W]; N];
        for (k, b) in row.iter().enumerate() {
            for (sums, window) in sums.iter_mut().zip(windows) {
                let lanes = window[k][first..].iter().zip(&b[first..]);
                for (sum, (a, b)) in sums.iter_mut().zip(lanes) {
                    *sum += a * b;
                }
            }
        }
        for (all, sums) in all.iter_mut().zip(sums) {
            all[first..first + W].copy_from_slice(&sums);
        }
    }
    all
}

/// The sum of the lanes, pairwise.
#[inline]
fn sum(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_cpus_sum_up_to_the_same_bits(
            rows in 1usize..24,
            step in 1usize..30,
            signal in prop::collection::vec(-1.0f32..1.0, 24 * LANES + TOGETHER * 30),
            row in prop::collection::vec(-1.0f32..1.0, 24 * LANES),
        ) {
            let row = &row[..rows * LANES];
            let portable = Runnable::new(Path::Portable).expect("everywhere");
            let expected = together(portable, &signal, step, row).map(f32::to_bits);
            for path in Path::available() {
                let path = Runnable::new(path).expect("available");
                prop_assert_eq!(together(path, &signal, step, row).map(f32::to_bits), expected);
                // Alone or beside others, too.
                let alone = std::array::from_fn(|n| {
                    dot(path, &signal[n * step..][..row.len()], row).to_bits()
                });
                prop_assert_eq!(alone, expected);
            }
        }
    }
}
