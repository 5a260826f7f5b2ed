//! Sums of products of a signal and a row of coefficients, with the widest vectors that the CPU
//! has. A sum is taken in one order everywhere and no multiply-add is fused, so that all CPUs
//! give equal results, to the bit.

use crate::cpu::{Kernel, Runnable, Set};

/// Partial sums of each sum: enough to keep the vector units busy where there is one sum only.
pub(super) const LANES: usize = 16;
/// Sums on one row that are computed together, so that a coefficient is loaded once for all of
/// them; what they have to load is what takes the time.
pub(super) const TOGETHER: usize = 6;

/// Σ aᵢ·bᵢ of two slices whose length is a multiple of [`LANES`].
#[inline]
pub(super) fn dot(path: Runnable, signal: &[f32], row: &[f32]) -> f32 {
    let [lanes] = path.run(ByLane::<1> {
        signal,
        step: 0,
        row,
    });
    sum(lanes)
}

/// Σ aᵢ·bᵢ with windows of a signal that lie `step` apart, and one row of coefficients.
#[inline]
pub(super) fn together(
    path: Runnable,
    signal: &[f32],
    step: usize,
    row: &[f32],
) -> [f32; TOGETHER] {
    path.run(ByLane { signal, step, row }).map(sum)
}

/// The sums of each lane, without those over the lanes: beside them the compiler uses half of each
/// vector, and takes half as long again.
struct ByLane<'a, const N: usize> {
    signal: &'a [f32],
    step: usize,
    row: &'a [f32],
}

impl<const N: usize> Kernel for ByLane<'_, N> {
    type Output = [[f32; LANES]; N];

    #[inline(always)]
    fn run<S: Set>(self) -> Self::Output {
        let Self { signal, step, row } = self;
        // As many lanes at a time as there are registers for: a vector of each sum.
        if N == 1 || cfg!(target_arch = "aarch64") {
            by_lane::<N, LANES>(signal, step, row)
        } else if S::FMA {
            by_lane::<N, 8>(signal, step, row)
        } else {
            by_lane::<N, 4>(signal, step, row)
        }
    }
}

/// Σ aᵢ·bᵢ of each lane, `W` lanes at a time.
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
    use crate::cpu::Path;
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
