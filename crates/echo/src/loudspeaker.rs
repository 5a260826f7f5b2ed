//! What a loudspeaker makes of what it plays. One that is overdriven bends it, and no linear
//! filter takes the harmonics off; but how it bends is a curve with few parameters, the same at
//! each moment. With the room's response known, what the filter leaves tells them: least squares
//! over the last seconds, weighted by the near end's power in each bin, as the filter itself is.

use std::fmt;

use crate::filter::{Filter, PARTITIONS};
use crate::transform::{Spectra, Transform};

/// The curve is straight between these levels, of full scale, the same on both sides of zero ...
const BENDS_AT: [f32; 4] = [0.05, 0.1, 0.2, 0.4];
/// ... and has one more parameter for what is not the same.
const CURVES: usize = BENDS_AT.len() + 1;
/// The curve is believed while it takes off so much of what would be left: with a loudspeaker that
/// bends nothing, it could only add noise. Speech through such ones stays below a fiftieth.
const WORTH: f64 = 0.03;
/// As if nothing had been taken off in so many blocks before the first: chance explains much of a few.
const UNHEARD: usize = 100;
/// If it isn't believed after so many blocks, it is learnt from one in so many: most loudspeakers
/// bend nothing, and learning costs as much as the filter. One that begins to bend is found later.
const UNBENT: u32 = 500;
const SPARSE: u32 = 4;
/// Beside them the whole echo's level is estimated: an error of it is the filter's to mend.
const UNKNOWNS: usize = CURVES + 1;
/// Of what is known, how much stays from block to block: half of it is from the last 3 s.
const STAYS: f64 = 0.998;
/// The slope changes by no more than this at a bend.
const MOST: f64 = 1.0;
/// A block that is softer than this teaches nothing: mean square of -57 dBFS.
const LOUD: f32 = 2e-6;
/// Added to the near end's power in a bin: -90 dBFS per sample.
const FLOOR: f32 = 1e-9;
/// Keeps the curve straight while the room's response is only beginning to be known.
const CAUTION: f64 = 500.0;
/// Keeps the equations solvable where a part of the curve is never reached.
const RIDGE: f64 = 1e-9;

type Row = [f64; UNKNOWNS];

/// Learns one loudspeaker. Allocates when it is made only.
pub(crate) struct Loudspeaker {
    block: usize,
    bins: usize,
    /// How much of each curve there is in what is played.
    parts: [f64; CURVES],
    /// Whether that is what is played then.
    believed: bool,
    /// Blocks that were loud enough to learn from while it wasn't.
    unbent: u32,
    curves: [Curve; CURVES],
    /// The newest block's place in each curve's past; the next older one comes after it.
    newest: usize,
    /// Spectra of what the microphone hears of each unknown.
    heard: [Spectra; UNKNOWNS],
    /// Of the equations: products of these, summed up.
    products: [Row; UNKNOWNS],
    /// What is left with the curve, in the same units, summed up likewise.
    rest: f64,
    transform: Transform,
}

/// What was played, through one curve: the newest two blocks, and spectra of them.
struct Curve {
    blocks: Vec<f32>,
    past: Spectra,
}

impl fmt::Debug for Loudspeaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loudspeaker")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl Loudspeaker {
    /// For blocks of so many samples.
    pub(crate) fn new(block: usize) -> Self {
        let bins = block + 1;
        Self {
            block,
            bins,
            parts: [0.0; CURVES],
            believed: false,
            unbent: 0,
            rest: (UNHEARD * bins) as f64,
            curves: std::array::from_fn(|_| Curve {
                blocks: vec![0.0; 2 * block],
                past: Spectra::new(bins * PARTITIONS),
            }),
            newest: 0,
            heard: std::array::from_fn(|_| Spectra::new(bins)),
            products: std::array::from_fn(|a| {
                std::array::from_fn(|b| if a == b { CAUTION } else { 0.0 })
            }),
            transform: Transform::new(block),
        }
    }

    /// Bends blocks that are played.
    pub(crate) fn bend(&mut self, played: &mut [f32]) {
        for block in played.chunks_exact_mut(self.block) {
            self.newest = (self.newest + PARTITIONS - 1) % PARTITIONS;
            let at = self.newest * self.bins..(self.newest + 1) * self.bins;
            for (index, curve) in self.curves.iter_mut().enumerate() {
                curve.blocks.copy_within(self.block.., 0);
                for (to, &sample) in curve.blocks[self.block..].iter_mut().zip(&*block) {
                    *to = bent(index, sample);
                }
                self.transform.time.copy_from_slice(&curve.blocks);
                self.transform.forward();
                let (re, im) = (
                    &mut curve.past.re[at.clone()],
                    &mut curve.past.im[at.clone()],
                );
                for (value, (re, im)) in self.transform.spectrum.iter().zip(re.iter_mut().zip(im)) {
                    (*re, *im) = (value.re, value.im);
                }
            }
            let parts = self.parts.iter().filter(|_| self.believed);
            for (curve, &part) in self.curves.iter().zip(parts) {
                for (sample, bent) in block.iter_mut().zip(&curve.blocks[self.block..]) {
                    *sample += part as f32 * bent;
                }
            }
        }
    }

    /// Learns from a block of what was heard and what the filter left of it: before the filter
    /// does, as what it has learnt from this block is like what is left of it.
    pub(crate) fn learn(&mut self, filter: &Filter, heard: &[f32], left: &[f32]) {
        let energy: f32 = heard.iter().map(|sample| sample * sample).sum();
        if energy < LOUD * self.block as f32 {
            return;
        }
        self.unbent = if self.believed { 0 } else { self.unbent + 1 };
        if self.unbent > UNBENT {
            if self.unbent < UNBENT + SPARSE {
                return;
            }
            self.unbent = UNBENT;
        }
        for ((to, heard), left) in self.transform.time[self.block..]
            .iter_mut()
            .zip(heard)
            .zip(left)
        {
            *to = heard - left;
        }
        self.keep(0);
        for curve in 0..CURVES {
            self.through_room(curve, filter);
            self.keep(curve + 1);
        }
        let sums = self.sum_up(filter);
        if let Some(steps) = solve(self.products, sums) {
            for (part, step) in self.parts.iter_mut().zip(&steps[1..]) {
                *part = (*part + step).clamp(-MOST, MOST);
            }
        }
        let worth = self.taken_off() / (self.taken_off() + self.rest);
        self.believed = worth > WORTH;
    }

    /// How much the curve takes off, by the equations.
    fn taken_off(&self) -> f64 {
        let parts = self.parts.iter().enumerate();
        let products = |a: usize| self.products[a + 1][1..].iter().zip(&self.parts);
        parts
            .map(|(a, part)| {
                part * products(a)
                    .map(|(product, part)| product * part)
                    .sum::<f64>()
            })
            .sum()
    }

    /// Leaves in the transform's later block what the microphone hears of a curve.
    fn through_room(&mut self, curve: usize, filter: &Filter) {
        let (response, bins) = filter.response();
        let sum = &mut self.heard[curve + 1];
        sum.re.fill(0.0);
        sum.im.fill(0.0);
        let past = &self.curves[curve].past;
        for partition in 0..PARTITIONS {
            let x = (partition + self.newest) % PARTITIONS * bins;
            let w = partition * bins;
            let (xr, xi) = (&past.re[x..x + bins], &past.im[x..x + bins]);
            let (wr, wi) = (&response.re[w..w + bins], &response.im[w..w + bins]);
            let (sr, si) = (&mut sum.re[..bins], &mut sum.im[..bins]);
            for k in 0..bins {
                sr[k] += xr[k] * wr[k] - xi[k] * wi[k];
                si[k] += xr[k] * wi[k] + xi[k] * wr[k];
            }
        }
        self.transform.set(&sum.re, &sum.im);
        self.transform.back();
    }

    /// Takes the spectrum of the transform's later block as what is heard of an unknown.
    fn keep(&mut self, unknown: usize) {
        self.transform.forward_late();
        let heard = &mut self.heard[unknown];
        for (k, value) in self.transform.spectrum.iter().enumerate() {
            (heard.re[k], heard.im[k]) = (value.re, value.im);
        }
    }

    /// Adds this block to the equations' left sides; gives the right ones, as if the curve were
    /// believed.
    fn sum_up(&mut self, filter: &Filter) -> Row {
        let (left, near) = filter.left();
        let floor = FLOOR * self.block as f32;
        let dot = |a: &Spectra, b: &Spectra| {
            let terms = (0..near.len())
                .map(|k| (a.re[k] * b.re[k] + a.im[k] * b.im[k]) / (near[k] + floor));
            f64::from(terms.sum::<f32>())
        };
        // Symmetric: half of them will do.
        let half: [Row; UNKNOWNS] = std::array::from_fn(|a| {
            std::array::from_fn(|b| match b <= a {
                true => dot(&self.heard[a], &self.heard[b]),
                false => 0.0,
            })
        });
        let products: [Row; UNKNOWNS] =
            std::array::from_fn(|a| std::array::from_fn(|b| half[a.max(b)][a.min(b)]));
        let mut sums: Row = std::array::from_fn(|a| dot(&self.heard[a], left));
        let mut rest = dot(left, left);
        if !self.believed {
            for (curve, part) in self.parts.iter().enumerate() {
                rest -= part * sums[curve + 1];
                for (sum, row) in sums.iter_mut().zip(products) {
                    *sum -= part * row[curve + 1];
                }
                rest -= part * sums[curve + 1];
            }
        }
        self.rest = STAYS * self.rest + rest;
        for (sums, products) in self.products.iter_mut().zip(products) {
            for (sum, product) in sums.iter_mut().zip(products) {
                *sum = STAYS * *sum + product;
            }
        }
        sums
    }
}

/// A sample through a curve.
fn bent(curve: usize, sample: f32) -> f32 {
    BENDS_AT.get(curve).map_or(sample.abs(), |at| {
        (sample.abs() - at).max(0.0).copysign(sample)
    })
}

/// Solves symmetric equations by elimination; nothing where they have no solution.
fn solve(mut products: [Row; UNKNOWNS], mut sums: Row) -> Option<Row> {
    let ridge = RIDGE * (0..UNKNOWNS).map(|a| products[a][a]).sum::<f64>();
    for (a, row) in products.iter_mut().enumerate() {
        row[a] += ridge;
    }
    for a in 0..UNKNOWNS {
        let (row, sum) = (products[a], sums[a]);
        if !(row[a] > 0.0 && row[a].is_finite()) {
            return None;
        }
        for b in a + 1..UNKNOWNS {
            let share = products[b][a] / row[a];
            for (value, above) in products[b].iter_mut().zip(row) {
                *value -= share * above;
            }
            sums[b] -= share * sum;
        }
    }
    for a in (0..UNKNOWNS).rev() {
        let known: f64 = (a + 1..UNKNOWNS).map(|b| products[a][b] * sums[b]).sum();
        sums[a] = (sums[a] - known) / products[a][a];
    }
    sums.iter().all(|value| value.is_finite()).then_some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 160;

    type Bend = fn(f32) -> f32;

    /// By how many dB the sixth and seventh second of an echo become softer, with the curve learnt
    /// and without.
    fn reduction_db(curve: Bend) -> [f64; 2] {
        [true, false].map(|learns| {
            let (mut filter, mut loudspeaker) = (Filter::new(BLOCK), Loudspeaker::new(BLOCK));
            let mut state = 1_u32;
            let mut noise = move || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            let (mut before, mut after) = (0.0, 0.0);
            let mut room = vec![0.0_f32; 3 * BLOCK];
            for block in 0..700 {
                // Syllables.
                let level = 0.5 * (0.5 + 0.5 * (block as f32 * 0.2).sin());
                let mut played: Vec<_> = (0..BLOCK).map(|_| level * noise()).collect();
                room.drain(..BLOCK);
                room.extend(played.iter().map(|&sample| curve(sample)));
                // A direct sound and two walls, and a microphone's noise.
                let heard: Vec<_> = (2 * BLOCK..3 * BLOCK)
                    .map(|at| {
                        0.6 * room[at - 30] - 0.3 * room[at - 75]
                            + 0.2 * room[at - 290]
                            + 1e-4 * noise()
                    })
                    .collect();
                loudspeaker.bend(&mut played);
                filter.push(&played);
                let mut left = heard.clone();
                filter.process(&mut left);
                if learns {
                    loudspeaker.learn(&filter, &heard, &left);
                }
                filter.learn();
                if block >= 500 {
                    let energy = |of: &[f32]| of.iter().map(|s| f64::from(s * s)).sum::<f64>();
                    before += energy(&heard);
                    after += energy(&left);
                }
            }
            10.0 * (before / after).log10()
        })
    }

    #[test]
    fn curves_of_every_kind_are_learnt() {
        let curves: [(&str, Bend); 3] = [
            ("soft", |x| (6.0 * x).tanh() / 6.0),
            ("unsymmetrical", |x| (5.0 * x + 4.0 * x * x).tanh() / 5.0),
            ("clipped", |x| x.clamp(-0.16, 0.2)),
        ];
        for (name, curve) in curves {
            let [learnt, linear] = reduction_db(curve);
            assert!(
                learnt >= linear + 6.0,
                "{name}: {learnt:.1} dB, by a linear filter {linear:.1}"
            );
        }
    }

    #[test]
    fn a_loudspeaker_that_bends_nothing_is_left_straight() {
        let [learnt, linear] = reduction_db(|x| x);
        // Until the room is known, a part of it is taken for a bend.
        assert!(learnt > linear - 5.0, "{learnt:.1} {linear:.1}");
    }
}
