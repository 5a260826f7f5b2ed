//! The linear part: an echo is what was played through the room's impulse response, which a
//! Kalman filter estimates block by block in the frequency domain.
//!
//! After Kuech, Mabande and Enzner, "State-space architecture of the partitioned-block-based
//! acoustic echo controller" (ICASSP 2014). How far the estimate errs and how loud the near end
//! is weigh each step in each bin: while somebody speaks beside the loudspeaker it learns little,
//! and no detector of double talk is needed.

use std::fmt;

use crate::transform::{Spectra, Transform};

/// A partition is a part of the impulse response as long as a block: 0.4 s in blocks of 10 ms.
pub(crate) const PARTITIONS: usize = 40;
/// Of the room, how much stays from block to block: it is another one after two minutes. More takes
/// longer to learn a room that changes at once, less leaves more of the echo in a room that stays.
const STAYS: f32 = 0.9999;
/// Mean square of the response in each bin of the first partition before anything is known, and
/// by how much it is less in each one after that: 10 dB below the loudspeaker; 0.2 dB.
const UNKNOWN: f32 = 0.1;
const FADES: f32 = 0.05;
/// How much of the near end's estimated power stays from block to block.
const SMOOTH: f32 = 0.8;
/// The near end's power isn't taken as less than this share of what is left.
const LEAST: f32 = 0.1;
/// Keeps the expected error, a power, above what processors are slow with.
const FLOOR: f32 = 1e-12;
/// Power of a sample below which nothing is learnt: -140 dBFS.
const SILENCE: f32 = 1e-14;
/// What is softer than this is no sound to learn a new room from: -60 dBFS.
const AUDIBLE: f32 = 1e-3;
/// A new room is learnt from each block twice, for 4 s of sound: what is wrong in one bin and
/// partition isn't independent of the others, as a step takes it to be, and the second pass
/// mends what the first has left. A known room doesn't get better by it, and a voice disturbs it.
const NEW: u32 = 400;
/// Partitions whose circular part is cleared after each block; each has its turn within 50 ms.
const CLEARED: usize = 8;

/// Learns one room. Allocates when it is made only.
pub(crate) struct Filter {
    /// Samples.
    block: usize,
    bins: usize,
    /// The newest two blocks that were played.
    played: Vec<f32>,
    /// Their spectrum, and those before it: a ring, in partitions' order from `newest` on.
    far: Spectra,
    newest: usize,
    /// The room's response by partition and bin.
    response: Spectra,
    /// Expected square of its error.
    error: Vec<f32>,
    /// Power of what is no echo, by bin.
    near: Vec<f32>,
    /// Blocks for which the room is new.
    new: u32,
    /// A block that was heard.
    heard: Vec<f32>,
    /// The partition that was cleared last.
    cleared: usize,
    /// Sums over the partitions, and weights, by bin.
    sum: Spectra,
    power: Vec<f32>,
    transform: Transform,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}

impl Filter {
    /// For blocks of so many samples.
    pub(crate) fn new(block: usize) -> Self {
        let bins = block + 1;
        let mut filter = Self {
            block,
            bins,
            played: vec![0.0; 2 * block],
            far: Spectra::new(bins * PARTITIONS),
            newest: 0,
            response: Spectra::new(bins * PARTITIONS),
            error: vec![0.0; bins * PARTITIONS],
            near: vec![0.0; bins],
            new: NEW,
            heard: vec![0.0; block],
            cleared: 0,
            sum: Spectra::new(bins),
            power: vec![0.0; bins],
            transform: Transform::new(block),
        };
        filter.doubt();
        filter
    }

    /// What is known may be wrong, as after a change of the room: learns as fast as at first.
    pub(crate) fn doubt(&mut self) {
        for (partition, error) in self.error.chunks_exact_mut(self.bins).enumerate() {
            let unknown = UNKNOWN * (-FADES * partition as f32).exp();
            error.iter_mut().for_each(|error| *error = unknown);
        }
    }

    /// The room's response, partition by partition, each of so many bins.
    pub(crate) fn response(&self) -> (&Spectra, usize) {
        (&self.response, self.bins)
    }

    /// How much each partition has in the room's response: the energy, to a scale.
    pub(crate) fn energies(&self) -> impl Iterator<Item = f32> {
        let squares = |part: &[f32]| part.iter().map(|value| value * value).sum::<f32>();
        let (re, im) = (&self.response.re, &self.response.im);
        let parts = re.chunks_exact(self.bins).zip(im.chunks_exact(self.bins));
        parts.map(move |(re, im)| squares(re) + squares(im))
    }

    /// The spectrum of what was left of the newest block, and the power by bin of what is no echo.
    pub(crate) fn left(&self) -> (&Spectra, &[f32]) {
        (&self.sum, &self.near)
    }

    /// Takes the block that is played next; after a change of its delay by a block none or two.
    pub(crate) fn push(&mut self, played: &[f32]) {
        let last = self.response.re.len() - self.bins;
        match played.len() / self.block {
            0 => self.move_response(self.bins, last),
            1 => {}
            _ => self.move_response(last, 0),
        }
        for block in played.chunks_exact(self.block) {
            self.push_block(block);
        }
    }

    /// Takes the echo of what was played in the same time, and before, off a block that was heard.
    pub(crate) fn process(&mut self, heard: &mut [f32]) {
        self.heard.copy_from_slice(heard);
        self.subtract(heard);
        self.expect_near();
        self.weigh();
    }

    /// Learns from what is left of that block.
    pub(crate) fn learn(&mut self) {
        self.step::<false>();
        self.clear_some();
        let is_sound = self.heard.iter().any(|sample| sample.abs() > AUDIBLE);
        if self.new > 0 && is_sound {
            self.new -= 1;
            let mut heard = std::mem::take(&mut self.heard);
            self.subtract(&mut heard);
            self.heard = heard;
            self.weigh();
            self.step::<true>();
            self.clear_some();
        }
    }

    fn clear_some(&mut self) {
        for _ in 0..CLEARED {
            self.cleared = (self.cleared + 1) % PARTITIONS;
            self.clear_circular(self.cleared);
        }
    }

    /// By a partition: what is at `first` comes first. Nothing is known of the one at `unknown`.
    fn move_response(&mut self, first: usize, unknown: usize) {
        let new = unknown..unknown + self.bins;
        for values in [&mut self.response.re, &mut self.response.im] {
            values.rotate_left(first);
            values[new.clone()].fill(0.0);
        }
        self.error.rotate_left(first);
        let partition = (unknown / self.bins) as f32;
        self.error[new].fill(UNKNOWN * (-FADES * partition).exp());
    }

    fn push_block(&mut self, played: &[f32]) {
        self.played.copy_within(self.block.., 0);
        self.played[self.block..].copy_from_slice(played);
        self.transform.time.copy_from_slice(&self.played);
        self.transform.forward();
        self.newest = (self.newest + PARTITIONS - 1) % PARTITIONS;
        let at = self.newest * self.bins;
        for (k, value) in self.transform.spectrum.iter().enumerate() {
            (self.far.re[at + k], self.far.im[at + k]) = (value.re, value.im);
        }
    }

    /// Leaves the spectrum of what is left, and in `power` what is expected of the echo in it.
    fn subtract(&mut self, heard: &mut [f32]) {
        let bins = self.bins;
        self.sum.re.fill(0.0);
        self.sum.im.fill(0.0);
        self.power.fill(0.0);
        for partition in 0..PARTITIONS {
            let x = (partition + self.newest) % PARTITIONS * bins;
            let w = partition * bins;
            let (xr, xi) = (&self.far.re[x..x + bins], &self.far.im[x..x + bins]);
            let (wr, wi) = (
                &self.response.re[w..w + bins],
                &self.response.im[w..w + bins],
            );
            let error = &self.error[w..w + bins];
            let (sr, si) = (&mut self.sum.re[..bins], &mut self.sum.im[..bins]);
            let power = &mut self.power[..bins];
            for k in 0..bins {
                sr[k] += xr[k] * wr[k] - xi[k] * wi[k];
                si[k] += xr[k] * wi[k] + xi[k] * wr[k];
                power[k] += (xr[k] * xr[k] + xi[k] * xi[k]) * error[k];
            }
        }
        self.transform.set(&self.sum.re, &self.sum.im);
        self.transform.back();
        for (heard, echo) in heard.iter_mut().zip(&mut self.transform.time[self.block..]) {
            *heard -= *echo;
            *echo = *heard;
        }
        self.transform.forward_late();
    }

    /// What is left, without the echo expected in it (half of it: the other block's half is zero),
    /// is the near end.
    fn expect_near(&mut self) {
        for (k, left) in self.transform.spectrum.iter().enumerate() {
            let energy = left.norm_sqr();
            let near = (energy - 0.25 * self.power[k]).max(LEAST * energy);
            self.near[k] = SMOOTH * self.near[k] + (1.0 - SMOOTH) * near;
        }
    }

    /// Makes what a step is divided by of the echo that is expected and the near end.
    fn weigh(&mut self) {
        let silence = SILENCE * 2.0 * self.block as f32;
        for (k, left) in self.transform.spectrum.iter().enumerate() {
            (self.sum.re[k], self.sum.im[k]) = (left.re, left.im);
            self.power[k] = 1.0 / (self.power[k] + 2.0 * self.near[k] + silence);
        }
    }

    /// `AGAIN`: from the same block, so that no time has passed, and what is expected of errors stays.
    fn step<const AGAIN: bool>(&mut self) {
        let bins = self.bins;
        let stays = if AGAIN { 1.0 } else { STAYS };
        let (kept, renewed) = (STAYS * STAYS, 1.0 - STAYS * STAYS);
        for partition in 0..PARTITIONS {
            let x = (partition + self.newest) % PARTITIONS * bins;
            let w = partition * bins;
            let (xr, xi) = (&self.far.re[x..x + bins], &self.far.im[x..x + bins]);
            let wr = &mut self.response.re[w..w + bins];
            let wi = &mut self.response.im[w..w + bins];
            let error = &mut self.error[w..w + bins];
            let (er, ei) = (&self.sum.re[..bins], &self.sum.im[..bins]);
            let weight = &self.power[..bins];
            for k in 0..bins {
                let step = error[k] * weight[k];
                wr[k] = stays * (wr[k] + step * (xr[k] * er[k] + xi[k] * ei[k]));
                wi[k] = stays * (wi[k] + step * (xr[k] * ei[k] - xi[k] * er[k]));
                if AGAIN {
                    continue;
                }
                let left = 1.0 - 0.5 * step * (xr[k] * xr[k] + xi[k] * xi[k]);
                let moved = renewed * (wr[k] * wr[k] + wi[k] * wi[k]);
                error[k] = kept * left * error[k] + moved + FLOOR;
            }
        }
    }

    /// A product of spectra is a circular convolution: a response of one block fills the first
    /// half of two.
    fn clear_circular(&mut self, partition: usize) {
        let at = partition * self.bins;
        let part = at..at + self.bins;
        self.transform
            .set(&self.response.re[part.clone()], &self.response.im[part]);
        self.transform.back();
        self.transform.time[self.block..].fill(0.0);
        self.transform.forward();
        for (k, value) in self.transform.spectrum.iter().enumerate() {
            (self.response.re[at + k], self.response.im[at + k]) = (value.re, value.im);
        }
    }
}
