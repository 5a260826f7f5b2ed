//! What was played, by the microphone's clock: a delay line that is read between samples, a little
//! faster or slower than it is written.

use std::f64::consts::PI;

/// Samples on either side of what is read that have a part in it.
const HALF: usize = 16;
/// Places between two samples for which weights are kept; between these they are interpolated.
const PHASES: usize = 256;

/// Reads at a delay that may grow and shrink by any fraction of a sample.
#[derive(Debug)]
pub(crate) struct Line {
    block: usize,
    /// What was written, the newest last.
    written: Vec<f32>,
    /// Samples by which what is read is late: from `HALF` to somewhat more than a block above it.
    delay: f64,
    /// A sinc by a Hann window for each phase, and one for the phase after the last.
    weights: Vec<[f32; 2 * HALF]>,
}

impl Line {
    /// Reads blocks of so many samples, `HALF` or more of them late at first.
    pub(crate) fn new(block: usize, delay: usize) -> Self {
        let weights = (0..=PHASES).map(|phase| {
            std::array::from_fn(|tap| {
                let at = phase as f64 / PHASES as f64 + (HALF - 1) as f64 - tap as f64;
                let sinc = if at == 0.0 {
                    1.0
                } else {
                    (PI * at).sin() / (PI * at)
                };
                (sinc * (0.5 + 0.5 * (PI * at / HALF as f64).cos())) as f32
            })
        });
        Self {
            block,
            written: vec![0.0; 4 * block],
            delay: delay.max(HALF) as f64,
            weights: weights.collect(),
        }
    }

    /// Writes a block, and reads one while the delay grows by `slope` samples per sample. Where
    /// the delay would leave its range, it changes by a block: then none is read or two are.
    pub(crate) fn process(&mut self, block: &[f32], slope: f64, read: &mut Vec<f32>) {
        self.written.copy_within(self.block.., 0);
        let newest = self.written.len() - self.block;
        self.written[newest..].copy_from_slice(block);
        read.clear();
        let (length, least) = (self.block as f64, HALF as f64);
        let after = self.delay + slope * length;
        if after < least {
            self.delay += length;
            return;
        }
        if after > least + 1.5 * length {
            self.delay -= length;
            self.read(newest - self.block, slope, read);
        }
        self.read(newest, slope, read);
    }

    fn read(&mut self, from: usize, slope: f64, read: &mut Vec<f32>) {
        for index in from..from + self.block {
            self.delay += slope;
            let late = self.delay.ceil();
            let along = (late - self.delay) * PHASES as f64;
            let (phase, part) = (along as usize, along.fract() as f32);
            let first = index - late as usize - (HALF - 1);
            let samples = &self.written[first..first + 2 * HALF];
            let (here, next) = (&self.weights[phase], &self.weights[phase + 1]);
            let sum = samples.iter().zip(here.iter().zip(next));
            read.push(sum.map(|(s, (a, b))| s * (a + part * (b - a))).sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: usize = 160;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What is read is a tone at the times that the slope says, whatever the delay does.
        #[test]
        fn a_tone_is_read_at_its_times(
            slope in -1e-3_f64..1e-3,
            delay in HALF..100,
            frequency in 0.01_f64..0.35,
        ) {
            let tone = |at: f64| (std::f64::consts::TAU * frequency * at).sin() as f32;
            let mut line = Line::new(BLOCK, delay);
            let (mut written, mut read) = (0, Vec::new());
            let (mut late, mut slips) = (delay as f64, 0);
            for number in 0..800 {
                let block: Vec<_> = (written..written + BLOCK).map(|at| tone(at as f64)).collect();
                line.process(&block, slope, &mut read);
                written += BLOCK;
                slips += i32::from(read.len() != BLOCK);
                match read.len() / BLOCK {
                    0 => late += BLOCK as f64,
                    1 => {}
                    _ => late -= BLOCK as f64,
                }
                let first = written - read.len();
                for (index, &sample) in read.iter().enumerate() {
                    late += slope;
                    // The line holds nothing before the first samples.
                    if number > 4 {
                        let wanted = tone((first + index) as f64 - late);
                        prop_assert!((sample - wanted).abs() < 3e-3, "{sample} {wanted}");
                    }
                }
            }
            let moved = slope.abs() * (800 * BLOCK) as f64;
            prop_assert!(slips <= 2 + (moved / BLOCK as f64) as i32);
            prop_assert!(moved < 500.0 || slips > 0);
        }
    }

    #[test]
    fn by_one_clock_it_is_a_delay() {
        let block: Vec<_> = (0..BLOCK).map(|at| (at as f32 * 0.7).sin()).collect();
        let (mut line, mut read) = (Line::new(BLOCK, 44), Vec::new());
        line.process(&block, 0.0, &mut read);
        let wanted = std::iter::repeat_n(0.0, 44).chain(block);
        assert!(read.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
