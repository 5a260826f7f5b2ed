//! Whether the loudspeaker and the microphone have one clock. If they don't, the room's response, as
//! the filter knows it, moves as a whole: by how much is read from its phases.

use std::f64::consts::TAU;

use crate::transform::Spectra;

/// The bins that are looked at, each of 50 Hz: 100 Hz to 2.5 kHz, where a voice is loud and a
/// filter that moves keeps up.
const FIRST: usize = 2;
const BINS: usize = 48;
const BIN_HZ: f64 = 50.0;
/// Frames with sound from one look to the next: 0.25 s.
const APART: u32 = 25;
const FRAME_S: f64 = 0.01;
/// Seconds per second that clocks are apart at most.
const MOST: f64 = 400e-6;
/// Places at which the response is looked for, on either side of where it was.
const PLACES: i32 = 32;
/// How like the one before, by correlation, it has to be then.
const LIKE: f64 = 0.5;
/// How much of what is found counts: much at first, as the filter moves less than the response.
const AT_FIRST: f64 = 0.7;
const FEWER: f64 = 1.5;
const LATER: f64 = 0.25;
/// After a step of the slope by so much what the filter knows is blurred.
const BLURRED: f64 = 10e-6;

/// Clocks that are less apart than this are one: a room that is being learnt seems to move by 20 ppm.
/// If they are two, what is estimated grows until it is more. Less than `SAME` shows that they are one.
const TWO: f64 = 30e-6;
const SAME: f64 = 2e-6;

/// Follows the slope of the echo's delay.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    slope: f64,
    /// It is that of two clocks.
    two: bool,
    /// The response when it was looked at last, partition by partition.
    then: Vec<(f32, f32)>,
    /// Frames since then, and those of them with sound.
    since: u32,
    loud: u32,
    looks: u32,
}

impl Drift {
    /// By how much the far end has to be delayed in addition, in seconds per second.
    pub(crate) fn slope(&self) -> f64 {
        if self.two { self.slope } else { 0.0 }
    }

    /// Nothing is learnt in this frame, so there is nothing to compare.
    pub(crate) fn pause(&mut self) {
        self.then.clear();
        (self.since, self.loud) = (0, 0);
    }

    /// Looks at the response after a frame, by partitions of so many bins. Whether the filter has
    /// to learn fast now, as the slope has changed much.
    pub(crate) fn watch(&mut self, response: &Spectra, bins: usize, is_loud: bool) -> bool {
        self.since += 1;
        self.loud += u32::from(is_loud);
        if self.loud < APART {
            return false;
        }
        let now: Vec<_> = (0..response.re.len() / bins)
            .flat_map(|partition| partition * bins + FIRST..partition * bins + FIRST + BINS)
            .map(|at| (response.re[at], response.im[at]))
            .collect();
        let seconds = f64::from(self.since) * FRAME_S;
        let then = std::mem::replace(&mut self.then, now);
        (self.since, self.loud) = (0, 0);
        let Some(later) = later_by(&then, &self.then, MOST * seconds) else {
            return false;
        };
        self.looks += 1;
        let step = (FEWER / f64::from(self.looks)).clamp(LATER, AT_FIRST) * later / seconds;
        self.slope = (self.slope + step).clamp(-MOST, MOST);
        self.two = self.slope.abs() > if self.two { SAME } else { TWO };
        self.two && step.abs() > BLURRED
    }
}

/// By how many seconds, `most` on either side, a response has become later: where it correlates
/// best with the one before. Nothing if it is another one.
fn later_by(then: &[(f32, f32)], now: &[(f32, f32)], most: f64) -> Option<f64> {
    let mut products = [(0.0, 0.0); BINS];
    let mut energies = (0.0, 0.0);
    for (index, (then, now)) in then.iter().zip(now).enumerate() {
        let product = &mut products[index % BINS];
        product.0 += f64::from(now.0 * then.0 + now.1 * then.1);
        product.1 += f64::from(now.1 * then.0 - now.0 * then.1);
        energies.0 += f64::from(then.0 * then.0 + then.1 * then.1);
        energies.1 += f64::from(now.0 * now.0 + now.1 * now.1);
    }
    let step = most / f64::from(PLACES);
    let correlation = |place: i32| {
        let turn = TAU * BIN_HZ * step * f64::from(place);
        let terms = products.iter().enumerate().map(|(bin, (re, im))| {
            let (sin, cos) = (turn * (FIRST + bin) as f64).sin_cos();
            re * cos - im * sin
        });
        terms.sum::<f64>()
    };
    let places = (-PLACES..=PLACES).map(|place| (place, correlation(place)));
    let (best, at) = places.max_by(|a, b| a.1.total_cmp(&b.1))?;
    if at <= LIKE * (energies.0 * energies.1).sqrt() {
        return None;
    }
    // The top of a parabola through three places.
    let (before, after) = (correlation(best - 1), correlation(best + 1));
    let aside = 0.5 * (after - before) / (2.0 * at - before - after).max(f64::MIN_POSITIVE);
    Some(step * (f64::from(best) + aside.clamp(-0.5, 0.5)))
}
