//! A line through times that are noisy: how far one clock is ahead of another, and by how
//! many samples at a given position.

use crate::ring::Rate;

/// From so many looks on, a drift can be told from noise.
const FEW: usize = 8;
/// No two clocks differ by more than this part of the time.
const STEEPEST: f64 = 0.001;
/// Clocks that come apart by so many samples a second drift; what is less may be noise.
const DRIFTS: f64 = 0.25;
/// In the direction of the drift the next whole number takes over where it becomes the nearer.
const NEARER: f64 = 0.5;
/// Without a drift an offset stays until it is off by more than what noise does to it, ...
const HYSTERESIS: f64 = 0.6;
/// ... and against the drift until there is no doubt.
const BACKWARDS: f64 = 0.8;

/// How far the other clock is ahead: `height` samples at position `at`, and `slope` more with
/// each second after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    at: u64,
    height: f64,
    slope: f64,
}

impl Line {
    /// The line of the median slope and height (after Theil and Sen) through `looks`, so that
    /// single ones that are wrong don't matter. Too few of them tell no slope: then it is
    /// `slope`. `None`: there are none.
    pub(super) fn through<'a>(
        looks: impl ExactSizeIterator<Item = &'a (u64, f64)>,
        rate: Rate,
        slope: f64,
    ) -> Option<Self> {
        let looks: Vec<_> = looks.collect();
        let at = looks.last()?.0;
        let looks: Vec<_> = looks
            .into_iter()
            .map(|(position, ahead)| (seconds(rate, at, *position), *ahead))
            .collect();
        let slope = match looks.len() {
            0..FEW => slope,
            count => {
                let pairs = looks.iter().zip(&looks[count / 2..]);
                let slopes = pairs.map(|((x, y), (later, there))| (there - y) / (later - x));
                let steepest = STEEPEST * f64::from(rate.hz());
                median(slopes.collect())?.clamp(-steepest, steepest)
            }
        };
        let height = median(looks.iter().map(|(x, y)| y - slope * x).collect())?;
        Some(Self { at, height, slope })
    }

    pub(super) fn slope(&self) -> f64 {
        self.slope
    }

    pub(super) fn ahead(&self, position: u64, rate: Rate) -> f64 {
        self.height + self.slope * seconds(rate, self.at, position)
    }

    /// The whole number to take at `position`, where it was `samples` before.
    pub(super) fn follow(&self, samples: Option<i64>, position: u64, rate: Rate) -> i64 {
        let ahead = self.ahead(position, rate);
        let (down, up) = self.bounds();
        match samples {
            Some(samples) if (-down..=up).contains(&(ahead - samples as f64)) => samples,
            _ => ahead.round() as i64,
        }
    }

    /// For how many samples from `position` on, at least one, it can stay `samples`.
    pub(super) fn holds(&self, samples: i64, position: u64, rate: Rate) -> u64 {
        let off = self.ahead(position, rate) - samples as f64;
        let (down, up) = self.bounds();
        let left = if self.slope > 0.0 {
            up - off
        } else {
            down + off
        };
        let seconds = left / self.slope.abs();
        if self.slope == 0.0 {
            return u64::MAX;
        }
        ((seconds * f64::from(rate.hz())) as u64).max(1)
    }

    /// How far the line may be below and above the whole number in use.
    fn bounds(&self) -> (f64, f64) {
        if self.slope.abs() < DRIFTS {
            (HYSTERESIS, HYSTERESIS)
        } else if self.slope > 0.0 {
            (BACKWARDS, NEARER)
        } else {
            (NEARER, BACKWARDS)
        }
    }
}

/// From one position to another, which may lie before it.
fn seconds(rate: Rate, from: u64, to: u64) -> f64 {
    to.wrapping_sub(from) as i64 as f64 / f64::from(rate.hz())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}
