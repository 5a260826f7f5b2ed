//! Which frame was captured when: the driver's times, smoothed, and what they
//! say about frames that the driver itself lost.

/// A thread only ever wakes late: of the times of so many nanoseconds the earliest counts.
const BLOCK_NS: i64 = 125_000_000;

/// The line goes through the earliest times of so many blocks, 32 seconds: far longer than a
/// busy machine, or another card that is due at the same moments, delays every single one, and
/// short enough for a crystal that warms up.
const BLOCKS: usize = 256;

/// So many blocks tell of no slope yet.
const FEW: usize = 4;

/// The part of the blocks' earliest times that lies below the line: most of those above it are
/// late, by more or less, and the very earliest are rare.
const BELOW: f64 = 0.1;

/// Steps from the line below all times to that one. Each brings it nearer; the fourth would move
/// it by less than the times are worth.
const STEPS: usize = 3;

/// What is nearer to the line than this counts as if it weren't.
const NEAR_NS: f64 = 1_000.0;

/// A time so far off the line is no jitter: the line starts anew there.
const JITTER_NS: i64 = 20_000_000;

/// One time may be late by anything: the machine may have stood still after the driver had read
/// its counter, and before it read the clock. So no single one begins a line or tells of a loss,
/// but the earliest of so many.
const LOOKS: u32 = 8;

/// No clock is off by more than this part; what claims to be is jitter.
const DRIFT: f64 = 0.002;

/// Times of frames at a nominal rate.
#[derive(Clone, Debug)]
pub(super) struct ClockEstimator {
    rate: u32,
    /// Frames of the hardware's buffer, and of one period.
    buffer: usize,
    period: usize,
    origin: Option<(u64, i64)>,
    restarted: bool,
    looks: Looks,
    /// By which part its frames last longer than at the nominal rate.
    drift: f64,
    earliest: Earliest,
}

/// Times of one frame, of which the earliest is to be believed.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    position: u64,
    count: u32,
    earliest_ns: i64,
}

impl Looks {
    /// Takes one more; the earliest, once there are enough.
    fn take(&mut self, position: u64, measured_ns: i64) -> Option<i64> {
        *self = match self.count {
            1.. if self.position == position => Self {
                count: self.count + 1,
                earliest_ns: self.earliest_ns.min(measured_ns),
                ..*self
            },
            _ => Self {
                position,
                count: 1,
                earliest_ns: measured_ns,
            },
        };
        (self.count >= LOOKS).then_some(self.earliest_ns)
    }
}

/// The earliest time of each block, oldest first: a frame, and when it was captured, as far as
/// its driver knows.
#[derive(Clone, Debug)]
struct Earliest {
    times: [(u64, i64); BLOCKS],
    count: usize,
    /// When the newest block began.
    since_ns: i64,
}

impl Earliest {
    fn none() -> Self {
        Self {
            times: [(0, 0); BLOCKS],
            count: 0,
            since_ns: 0,
        }
    }

    fn all(&self) -> &[(u64, i64)] {
        &self.times[..self.count]
    }

    fn newest(&self) -> Option<(u64, i64)> {
        self.all().last().copied()
    }

    /// Takes a time, which `is_earlier` than the newest of them, as seen from the line; whether
    /// it counts.
    fn take(&mut self, time: (u64, i64), is_earlier: bool) -> bool {
        let goes_on = |newest: (u64, i64)| time.0 > newest.0 && time.1 - self.since_ns >= BLOCK_NS;
        if self.newest().is_none_or(goes_on) {
            if self.count == BLOCKS {
                self.times.rotate_left(1);
                self.count -= 1;
            }
            self.since_ns = time.1;
            self.count += 1;
        } else if !is_earlier {
            return false;
        }
        self.times[self.count - 1] = time;
        true
    }
}

impl ClockEstimator {
    pub(super) fn new(rate: u32, buffer: usize, period: usize) -> Self {
        Self {
            rate,
            buffer,
            period,
            origin: None,
            restarted: false,
            looks: Looks::default(),
            drift: 0.0,
            earliest: Earliest::none(),
        }
    }

    /// By the nominal rate.
    fn ns(&self, frames: u64) -> i64 {
        (i128::from(frames) * 1_000_000_000 / i128::from(self.rate)) as i64
    }

    /// So long frames really last that nominally do for `ns`.
    fn lasting_ns(&self, ns: i64) -> i64 {
        ns + (ns as f64 * self.drift) as i64
    }

    /// How long after `from` the frame at `position` comes by the nominal rate.
    fn apart_ns(&self, from: u64, position: u64) -> i64 {
        match position.checked_sub(from) {
            Some(frames) => self.ns(frames),
            None => -self.ns(from - position),
        }
    }

    fn frames(&self, ns: i64) -> u64 {
        ((i128::from(ns.max(0)) * i128::from(self.rate) + 500_000_000) / 1_000_000_000) as u64
    }

    /// The stream was stopped in between: only the next time tells for how long.
    pub(super) fn restart(&mut self) {
        self.restarted = self.origin.is_some();
    }

    /// The frame at `position` was captured at `measured_ns`, says the driver.
    /// Returns how many frames before it are missing that nobody counted:
    ///
    /// - after a restart, those of the time that has passed;
    /// - else whole buffers, when the driver was held up for longer than one
    ///   (it counts modulo the buffer), or a stretch without audio of more than half a buffer.
    ///
    /// `None`: this time alone doesn't decide. Ask the driver again about the same frame, at once.
    pub(super) fn measure(&mut self, position: u64, measured_ns: i64) -> Option<u64> {
        let late = measured_ns - self.expected_ns(position).unwrap_or(measured_ns);
        let anew = self.restarted || self.origin.is_none();
        let measured_ns = if anew || late > JITTER_NS || self.lost(late) > 0 {
            self.looks.take(position, measured_ns)?
        } else {
            measured_ns
        };
        self.looks = Looks::default();
        let expected = self.expected_ns(position).unwrap_or(measured_ns);
        let lost = self.lost(measured_ns - expected);
        let expected = expected + self.ns(lost);
        let time = (position + lost, measured_ns);
        if anew || (measured_ns - expected).abs() > JITTER_NS {
            self.begin(time);
        } else {
            self.follow(time);
        }
        self.restarted = false;
        Some(lost)
    }

    /// When the frame at `position` should have been captured; `None` before there is a line.
    fn expected_ns(&self, position: u64) -> Option<i64> {
        self.origin.map(|_| self.time_ns(position))
    }

    /// How many frames are missing where one is `late` by so many nanoseconds.
    fn lost(&self, late: i64) -> u64 {
        let missing = self.frames(late);
        if self.restarted {
            return missing;
        }
        if late <= self.ns(self.buffer as u64) / 2 {
            return 0;
        }
        let buffer = self.buffer as u64;
        let buffers = (missing + buffer / 2) / buffer;
        let jitter = self.frames(JITTER_NS).min(buffer / 4);
        if missing.abs_diff(buffers * buffer) <= jitter.max(self.period as u64) {
            buffers * buffer
        } else {
            missing
        }
    }

    /// A line begins, of the slope that is known.
    fn begin(&mut self, time: (u64, i64)) {
        self.origin = Some(time);
        self.earliest = Earliest::none();
        self.earliest.take(time, true);
    }

    /// Lays the line through the earliest times, so that a tenth of them lie below it.
    fn follow(&mut self, time: (u64, i64)) {
        let late = |(position, ns): (u64, i64)| ns - self.time_ns(position);
        let newest = self.earliest.newest();
        let is_earlier = newest.is_none_or(|newest| late(time) < late(newest));
        if !self.earliest.take(time, is_earlier) {
            return;
        }
        let (from, from_ns) = time;
        let points = self.earliest.all().iter().map(|(position, ns)| {
            let x = self.apart_ns(from, *position);
            (x as f64, (ns - from_ns - x) as f64)
        });
        let mut all = [(0.0, 0.0); BLOCKS];
        all.iter_mut()
            .zip(points)
            .for_each(|(to, point)| *to = point);
        let points = &all[..self.earliest.count];
        let (slope, height) = match points.len() {
            0..=FEW => (self.drift, height_below(points, self.drift)),
            _ => line_among(points),
        };
        self.drift = slope;
        self.origin = Some((from, from_ns + height.round() as i64));
    }

    /// When the frame at `position` was captured.
    pub(super) fn time_ns(&self, position: u64) -> i64 {
        let (from, origin_ns) = self.origin.unwrap_or((position, 0));
        origin_ns + self.lasting_ns(self.apart_ns(from, position))
    }
}

/// Slope and height of the line that has [`BELOW`] of `points` below it, and is nearest to them so
/// (a quantile regression, by least squares with weights): from the line below all of them, as
/// however many may be late.
fn line_among(points: &[(f64, f64)]) -> (f64, f64) {
    let mut slope = slope_below(points).clamp(-DRIFT, DRIFT);
    let mut height = height_below(points, slope);
    for _ in 0..STEPS {
        let [mut sum, mut x_sum, mut y_sum, mut xx_sum, mut xy_sum] = [0.0; 5];
        for (x, y) in points {
            let off = y - slope * x - height;
            let side = if off > 0.0 { BELOW } else { 1.0 - BELOW };
            let weight = side / off.abs().max(NEAR_NS);
            sum += weight;
            x_sum += weight * x;
            y_sum += weight * y;
            xx_sum += weight * x * x;
            xy_sum += weight * x * y;
        }
        slope = (sum * xy_sum - x_sum * y_sum) / (sum * xx_sum - x_sum * x_sum);
        slope = slope.clamp(-DRIFT, DRIFT);
        height = (y_sum - slope * x_sum) / sum;
    }
    (slope, height)
}

/// The height of the line of `slope` below all `points`.
fn height_below(points: &[(f64, f64)], slope: f64) -> f64 {
    let heights = points.iter().map(|(x, y)| y - slope * x);
    heights.fold(f64::INFINITY, f64::min)
}

/// The slope of the line below all `points`, which come in order, that touches them on both
/// sides of their mean: the edge of their lower hull there. No line below all of them is nearer to
/// them in the mean. (After Moon, Skelly and Towsley.)
fn slope_below(points: &[(f64, f64)]) -> f64 {
    let slope = |from: (f64, f64), to: (f64, f64)| (to.1 - from.1) / (to.0 - from.0);
    let mean = points.iter().map(|point| point.0).sum::<f64>() / points.len() as f64;
    let mut hull = [(0.0, 0.0); BLOCKS];
    let mut corners = 0;
    for &point in points {
        while corners >= 2
            && slope(hull[corners - 2], hull[corners - 1]) >= slope(hull[corners - 2], point)
        {
            corners -= 1;
        }
        hull[corners] = point;
        corners += 1;
    }
    let hull = &hull[..corners];
    let edge = hull.windows(2).find(|edge| edge[1].0 >= mean);
    edge.map_or(0.0, |edge| slope(edge[0], edge[1]))
}

#[cfg(test)]
mod tests;
