//! Rooms and voices by arithmetic: a loudspeaker, what a microphone hears of it, and a talker.

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Drawn numbers, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// White, of power 1.
    pub(crate) fn noise(&mut self) -> f64 {
        (self.unit() - 0.5) * 12_f64.sqrt()
    }
}

/// A voice that says nothing: syllables of a glottal pulse train or of hiss through three
/// resonances, in words with pauses; scaled to `level_dbfs` (mean square of where it speaks).
pub(crate) fn voice(seed: u64, rate: u32, seconds: f64, level_dbfs: f64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let rate_hz = f64::from(rate);
    let length = (seconds * rate_hz) as usize;
    let base = random.within(90.0, 220.0);
    let mut samples = Vec::with_capacity(length + rate as usize);
    let mut spoken = 0;
    while samples.len() < length {
        for _ in 0..1 + (random.unit() * 5.0) as usize {
            let voiced = random.unit() < 0.8;
            let duration = random.within(0.10, 0.28);
            let formants = if voiced {
                [(250.0, 850.0), (800.0, 2300.0), (2200.0, 3300.0)]
            } else {
                [(2500.0, 3500.0), (3500.0, 5500.0), (5000.0, 7000.0)]
            }
            .map(|(low, high)| random.within(low, high));
            let (from, to) = (random.within(0.8, 1.2), random.within(0.8, 1.2));
            let loud = random.within(0.4, 1.0);
            let count = (duration * rate_hz) as usize;
            let mut phase = 0.0;
            let mut state = [[0.0_f64; 2]; 3];
            for index in 0..count {
                let along = index as f64 / count as f64;
                phase += base * (from + (to - from) * along) / rate_hz;
                let source = if !voiced {
                    random.noise()
                } else if phase >= 1.0 {
                    phase -= 1.0;
                    6.0
                } else {
                    random.noise() * 0.05
                };
                // Breath is everywhere, as it is in a real voice.
                let mut sum = source * 0.03;
                for (formant, state) in formants.iter().zip(&mut state) {
                    let width = 40.0 + formant * 0.08;
                    let radius = (-std::f64::consts::PI * width / rate_hz).exp();
                    let turn = 2.0 * std::f64::consts::PI * formant / rate_hz;
                    let out = source * (1.0 - radius) + 2.0 * radius * turn.cos() * state[0]
                        - radius * radius * state[1];
                    *state = [out, state[0]];
                    sum += out;
                }
                let envelope = (std::f64::consts::PI * along).sin().sqrt();
                samples.push((sum * envelope * loud) as f32);
            }
            spoken += count;
            samples.resize(
                samples.len() + (random.within(0.0, 0.06) * rate_hz) as usize,
                0.0,
            );
        }
        samples.resize(
            samples.len() + (random.within(0.1, 0.4) * rate_hz) as usize,
            0.0,
        );
    }
    let scale = 10_f64.powf(level_dbfs / 20.0) / (energy(&samples) / spoken as f64).sqrt();
    samples.iter_mut().for_each(|s| *s *= scale as f32);
    samples.truncate(length);
    samples
}

/// A way from a loudspeaker to a microphone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) seed: u64,
    /// Until the direct sound comes.
    pub(crate) delay_ms: f64,
    /// Until the reverberation is 60 dB down; 0 is a dry room.
    pub(crate) reverberation_ms: f64,
    /// Of the echo against what the loudspeaker is given.
    pub(crate) gain_db: f64,
    /// How hard the loudspeaker is driven: 0 is linear.
    pub(crate) drive: f64,
    /// By how much the microphone's clock is faster.
    pub(crate) drift_ppm: f64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            seed: 1,
            delay_ms: 45.0,
            reverberation_ms: 200.0,
            gain_db: -6.0,
            drive: 0.0,
            drift_ppm: 0.0,
        }
    }
}

impl Room {
    /// What the microphone hears of `far`, as long as that.
    pub(crate) fn echo(&self, rate: u32, far: &[f32]) -> Vec<f32> {
        let played: Vec<f32> = far
            .iter()
            .map(|&s| {
                let driven = f64::from(s) * self.drive;
                // Unsymmetrical, as a cone is.
                if self.drive > 0.0 {
                    ((driven + 0.2 * driven * driven).tanh() / self.drive) as f32
                } else {
                    s
                }
            })
            .collect();
        let mut echo = convolve(&played, &self.response(rate));
        echo.truncate(far.len());
        if self.drift_ppm == 0.0 {
            echo
        } else {
            drifted(&echo, 1.0 - self.drift_ppm * 1e-6)
        }
    }

    fn response(&self, rate: u32) -> Vec<f32> {
        let mut random = Random::new(self.seed);
        let samples = |ms: f64| (ms * f64::from(rate) / 1000.0) as usize;
        let (start, tail) = (samples(self.delay_ms), samples(self.reverberation_ms));
        let mut response = vec![0.0_f32; start + tail + 1];
        for index in 1..tail {
            let decay = 10_f64.powf(-3.0 * index as f64 / tail as f64);
            response[start + index] = (random.noise() * decay) as f32;
        }
        // The walls' first answers stand out from the tail.
        for _ in 0..if tail > 0 { 6 } else { 0 } {
            let along = random.unit();
            let index = start + (along * tail as f64 * 0.3) as usize;
            response[index] += (random.noise() * 4.0 * 10_f64.powf(-along)) as f32;
        }
        // Direct sound and room are equally loud.
        let room = energy(&response).sqrt().max(1.0);
        response[start] += room as f32;
        let scale = 10_f64.powf(self.gain_db / 20.0) / energy(&response).sqrt();
        response.iter_mut().for_each(|s| *s *= scale as f32);
        response
    }
}

pub(crate) fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s).powi(2)).sum()
}

/// By how many dB `after` is softer than `before`.
pub(crate) fn reduction_db(before: &[f32], after: &[f32]) -> f64 {
    10.0 * (energy(before) / energy(after).max(1e-12)).log10()
}

pub(crate) fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let product: f64 = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum();
    product / (energy(a) * energy(b)).sqrt().max(1e-12)
}

fn convolve(signal: &[f32], response: &[f32]) -> Vec<f32> {
    let length = (signal.len() + response.len()).next_power_of_two();
    let mut planner = FftPlanner::<f64>::new();
    let (forward, inverse) = (
        planner.plan_fft_forward(length),
        planner.plan_fft_inverse(length),
    );
    let spectrum = |samples: &[f32]| {
        let mut buffer = vec![Complex::default(); length];
        for (to, &from) in buffer.iter_mut().zip(samples) {
            to.re = f64::from(from);
        }
        forward.process(&mut buffer);
        buffer
    };
    let (mut product, other) = (spectrum(signal), spectrum(response));
    for (a, b) in product.iter_mut().zip(other) {
        *a *= b;
    }
    inverse.process(&mut product);
    product
        .iter()
        .map(|c| (c.re / length as f64) as f32)
        .collect()
}

/// The same sound by a clock that runs `ratio` as fast, by a windowed sinc of 32 taps.
fn drifted(samples: &[f32], ratio: f64) -> Vec<f32> {
    (0..samples.len())
        .map(|index| {
            let at = index as f64 * ratio;
            let first = at.floor() as i64 - 15;
            (first..first + 32)
                .filter_map(|tap| {
                    let sample = samples.get(usize::try_from(tap).ok()?)?;
                    let x = (at - tap as f64) * std::f64::consts::PI;
                    let sinc = if x == 0.0 { 1.0 } else { x.sin() / x };
                    Some(f64::from(*sample) * sinc * (0.5 + 0.5 * (x / 16.0).cos()))
                })
                .sum::<f64>() as f32
        })
        .collect()
}
