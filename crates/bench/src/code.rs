//! The coded impulse: three pulses whose spacing says which impulse it is, so that a
//! receiver at any rate can be told which ones it got, twice, or never. Pure arithmetic.
//!
//! One impulse lies in each slot of 40 ms, at a place that a random number decides, so
//! that it meets every phase of the graph's cycle. The second pulse follows the first by
//! 2 ms and so many steps; the third by 16 ms always, which shows that nothing is missing
//! in between.

/// Seconds from one impulse to the next, on average.
pub const SLOT_S: f64 = 0.040;
/// Impulses that can be told apart; then the codes begin again.
pub const CODES: u64 = 64;
/// The first pulse lies at most so far behind its slot's beginning.
const SPREAD_S: f64 = 0.023;
const SECOND_S: f64 = 0.002;
const STEP_S: f64 = 0.000_187_5;
const THIRD_S: f64 = 0.016;
/// One sample at 16 kHz, so that a pulse survives the way down to that.
const WIDTH_S: f64 = 1.0 / 16_000.0;
/// Of full scale; resampling may overshoot.
const LEVEL: f32 = 0.8;

/// What counts as a pulse, of the loudest sample.
const THRESHOLD: f32 = 0.5;
/// Below this nothing was heard at all.
const SILENCE: f32 = 1e-3;
/// A pulse is over after so long.
const DEAD_S: f64 = 0.001;

/// Impulses as a function of position at one rate.
#[derive(Clone, Copy, Debug)]
pub struct Train {
    rate: f64,
    slot: u64,
    seed: u64,
}

impl Train {
    /// The train of `seed` at `rate` samples per second.
    pub fn new(rate: u32, seed: u64) -> Self {
        let rate = f64::from(rate.max(1));
        Self {
            rate,
            slot: (SLOT_S * rate) as u64,
            seed,
        }
    }

    /// The number of the impulse whose slot holds `position`.
    pub fn number_at(&self, position: u64) -> u64 {
        position / self.slot
    }

    /// The position of the first pulse of impulse `number`.
    pub fn start(&self, number: u64) -> u64 {
        let spread = (SPREAD_S * self.rate) as u64;
        number * self.slot + mix(self.seed.wrapping_add(number)) % spread
    }

    /// The positions of the three pulses of impulse `number`.
    pub fn pulses(&self, number: u64) -> [u64; 3] {
        let start = self.start(number);
        let code = (number % CODES) as f64;
        [0.0, SECOND_S + STEP_S * code, THIRD_S]
            .map(|seconds| start + (seconds * self.rate).round() as u64)
    }

    /// Writes what sounds from `position` on into silence.
    pub fn play(&self, position: u64, out: &mut [f32]) {
        let end = position + out.len() as u64;
        let width = (WIDTH_S * self.rate).round().max(1.0) as u64;
        let first = self.number_at(position).saturating_sub(1);
        for number in first..=self.number_at(end) {
            for pulse in self.pulses(number) {
                let from = pulse.clamp(position, end);
                let to = (pulse + width).clamp(position, end);
                out[(from - position) as usize..(to - position) as usize].fill(LEVEL);
            }
        }
    }
}

/// splitmix64: numbers without a pattern, the same for the same seed.
fn mix(seed: u64) -> u64 {
    let value = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The impulses in a stretch of audio: the code, and the index of the first pulse's peak.
pub fn find(samples: &[f32], rate: u32) -> Vec<(u64, usize)> {
    let pulses = peaks(samples, rate);
    let seconds = |from: usize, to: usize| (to - from) as f64 / f64::from(rate);
    let tolerance = STEP_S * 0.45;
    let mut found = Vec::new();
    let mut at = 0;
    while at + 2 < pulses.len() {
        let [first, second, third] = [pulses[at], pulses[at + 1], pulses[at + 2]];
        let steps = (seconds(first, second) - SECOND_S) / STEP_S;
        let code = steps.round();
        let whole = (seconds(first, third) - THIRD_S).abs() < tolerance;
        if whole && (steps - code).abs() < 0.45 && (0.0..CODES as f64).contains(&code) {
            found.push((code as u64, first));
            at += 3;
        } else {
            at += 1;
        }
    }
    found
}

/// The loudest sample of every pulse.
fn peaks(samples: &[f32], rate: u32) -> Vec<usize> {
    let loudest = samples.iter().fold(0.0_f32, |most, s| most.max(s.abs()));
    if loudest < SILENCE {
        return Vec::new();
    }
    let dead = (DEAD_S * f64::from(rate)) as usize;
    let mut peaks = Vec::new();
    let mut at = 0;
    while at < samples.len() {
        if samples[at].abs() < loudest * THRESHOLD {
            at += 1;
            continue;
        }
        let end = (at + dead).min(samples.len());
        // The first of equals: a pulse at the graph's own rate is flat.
        let peak = (at..end)
            .rev()
            .max_by(|a, b| samples[*a].abs().total_cmp(&samples[*b].abs()));
        peaks.push(peak.unwrap_or(at));
        at = end;
    }
    peaks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use v2m_dsp::resample::Resampler;
    use v2m_ring::SAMPLE_RATE;

    fn played(rate: u32, seed: u64, from: u64, seconds: f64, cycle: usize) -> Vec<f32> {
        let train = Train::new(rate, seed);
        let mut samples = vec![0.0; (f64::from(rate) * seconds) as usize];
        let mut position = from;
        for piece in samples.chunks_mut(cycle) {
            train.play(position, piece);
            position += piece.len() as u64;
        }
        samples
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_impulse_is_found_where_it_is(
            rate in prop::sample::select(vec![16_000_u32, 44_100, 48_000, 96_000]),
            seed: u64, start in 0_u64..1000, cycle in 16_usize..3000,
        ) {
            let train = Train::new(rate, seed);
            let from = start * (SLOT_S * f64::from(rate)) as u64;
            let samples = played(rate, seed, from, 4.0, cycle);
            let found = find(&samples, rate);
            let expected: Vec<_> = (start..start + 100)
                .map(|n| (n % CODES, (train.start(n) - from) as usize))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn impulses_survive_resampling_to_16_khz() {
        for rate in [44_100, 48_000, 96_000] {
            let samples = played(rate, 7, 0, 4.0, 256);
            let mut resampler = Resampler::new(rate, SAMPLE_RATE).unwrap();
            let mut out = vec![0.0; samples.len()];
            let count = resampler.process(&samples, &mut out);
            let codes: Vec<_> = find(&out[..count], 16_000)
                .iter()
                .map(|(code, _)| *code)
                .collect();
            let expected: Vec<_> = (0..codes.len() as u64).map(|n| n % CODES).collect();
            assert_eq!(codes, expected, "at {rate}");
            assert!(codes.len() >= 99, "{} at {rate}", codes.len());
        }
    }

    #[test]
    fn a_hole_loses_the_impulses_it_touches_and_no_other() {
        let mut samples = played(48_000, 3, 0, 4.0, 256);
        let train = Train::new(48_000, 3);
        let [first, second, _] = train.pulses(30);
        samples.drain(first as usize + 10..second as usize - 10);
        let codes: Vec<_> = find(&samples, 48_000)
            .iter()
            .map(|(code, _)| *code)
            .collect();
        let expected: Vec<_> = (0..100).filter(|n| *n != 30).map(|n| n % CODES).collect();
        assert_eq!(codes, expected);
    }

    #[test]
    fn silence_and_noise_hold_no_impulse() {
        assert!(find(&[0.0; 48_000], 48_000).is_empty());
        let noise: Vec<f32> = (0..48_000)
            .map(|n| (mix(n) % 1000) as f32 / 1000.0)
            .collect();
        assert!(find(&noise, 48_000).len() < 20);
    }
}
