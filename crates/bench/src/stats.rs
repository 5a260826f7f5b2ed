//! From what left and what was heard to numbers. Pure arithmetic.

use serde::{Deserialize, Serialize};
use v2m_dsp::percentile;

use super::code::{self, CODES};
use super::injector::Emission;
use super::recording::Recording;

/// The order of a set of durations, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
    /// Mean difference between one and the next: jitter as RFC 3550 takes it.
    pub jitter: f64,
}

impl Spread {
    /// Of nanoseconds, in the order in which they came.
    pub fn of(durations: &[i64]) -> Self {
        let differences = durations
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).abs() as f64);
        let pairs = durations.len().saturating_sub(1).max(1) as f64;
        // From 0.0: the sum of nothing is -0.0.
        let jitter = differences.fold(0.0, |sum, next| sum + next) / pairs / 1000.0;
        let mut ordered = durations.to_vec();
        ordered.sort_unstable();
        let at = |share: f64| percentile(&ordered, share).map_or(0.0, |ns| ns as f64 / 1000.0);
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: at(1.0),
            jitter,
        }
    }
}

/// One impulse on its way; CLOCK_MONOTONIC nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// At which it was written into the graph.
    pub emitted_ns: i64,
    /// At which a microphone would have heard it.
    pub captured_ns: i64,
    /// At which the engine had written it; 0 if that is not known.
    pub written_ns: i64,
    /// At which the receiver held it.
    pub held_ns: i64,
}

/// What became of the impulses of one stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Those that left and that the graph is known to have taken.
    pub sent: usize,
    /// In the order in which they left.
    pub arrivals: Vec<Arrival>,
    pub lost: Vec<Emission>,
    /// How often one came again.
    pub duplicated: usize,
}

impl Outcome {
    /// Looks for what left in `[from_ns, to_ns)` in what a receiver recorded.
    pub fn of(emissions: &[Emission], (from_ns, to_ns): (i64, i64), heard: &Recording) -> Self {
        let mut came: Vec<Option<Arrival>> = vec![None; emissions.len()];
        let mut outcome = Self::default();
        for (code, index) in code::find(&heard.samples, heard.rate) {
            let Some(block) = heard.block_of(index) else {
                continue;
            };
            // The newest one with that code that had left by then.
            let left = emissions.partition_point(|e| e.emitted_ns <= block.held_ns);
            let sent = emissions[..left]
                .iter()
                .rposition(|e| e.number % CODES == code);
            let Some(at) = sent else { continue };
            let emission = &emissions[at];
            let counts = (from_ns..to_ns).contains(&emission.emitted_ns);
            match &mut came[at] {
                Some(_) => outcome.duplicated += usize::from(counts),
                first => {
                    *first = Some(Arrival {
                        emitted_ns: emission.emitted_ns,
                        captured_ns: emission.captured_ns,
                        written_ns: block.written_ns,
                        held_ns: block.held_ns,
                    });
                }
            }
        }
        for (emission, came) in emissions.iter().zip(came) {
            if !(from_ns..to_ns).contains(&emission.emitted_ns) {
                continue;
            }
            match came {
                Some(arrival) => outcome.arrivals.push(arrival),
                None if emission.spoiled => continue,
                None => outcome.lost.push(*emission),
            }
            outcome.sent += 1;
        }
        outcome
    }

    /// Adds another stretch of the same receiver.
    pub fn extend(&mut self, other: Self) {
        self.sent += other.sent;
        self.arrivals.extend(other.arrivals);
        self.lost.extend(other.lost);
        self.duplicated += other.duplicated;
    }
}

/// The median of differences, in microseconds: what a step of the way takes.
pub fn step(arrivals: &[Arrival], difference: impl Fn(&Arrival) -> i64) -> Spread {
    Spread::of(&arrivals.iter().map(difference).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::recording::Block;
    use super::*;

    const RATE: u32 = 48_000;

    /// 4 s in blocks of 256 samples, each held 1 ms after its last sample.
    fn heard(train: &code::Train, skip: Option<u64>) -> Recording {
        let mut recording = Recording {
            rate: RATE,
            ..Recording::default()
        };
        for n in (0..750).filter(|n| Some(*n) != skip) {
            let mut samples = [0.0; 256];
            train.play(n * 256, &mut samples);
            recording.samples.extend(samples);
            recording.blocks.push(Block {
                held_ns: ns((n + 1) * 256) + 1_000_000,
                written_ns: 0,
                end: recording.samples.len(),
            });
        }
        recording
    }

    fn ns(position: u64) -> i64 {
        (position * 1_000_000_000 / u64::from(RATE)) as i64
    }

    fn emissions(train: &code::Train) -> Vec<Emission> {
        let one = |number| Emission {
            number,
            // By the callback of the cycle that holds it.
            emitted_ns: ns((train.start(number) / 256 + 1) * 256),
            captured_ns: ns(train.start(number)),
            spoiled: false,
        };
        (0..100).map(one).collect()
    }

    #[test]
    fn all_that_left_and_came_is_one_latency() {
        let train = code::Train::new(RATE, 1);
        let outcome = Outcome::of(&emissions(&train), (0, i64::MAX), &heard(&train, None));
        assert_eq!(
            (outcome.sent, outcome.lost.len(), outcome.duplicated),
            (100, 0, 0)
        );
        let spread = step(&outcome.arrivals, |a| a.held_ns - a.emitted_ns);
        assert_eq!((spread.p50, spread.max), (1000.0, 1000.0));
        let capture = step(&outcome.arrivals, |a| a.held_ns - a.captured_ns);
        assert!(
            capture.p50 > 1000.0 && capture.max <= 1000.0 + 5334.0,
            "{capture:?}"
        );
    }

    #[test]
    fn a_lost_block_loses_its_impulse_unless_the_graph_never_took_it() {
        let train = code::Train::new(RATE, 1);
        let skip = train.start(50) / 256;
        let recording = heard(&train, Some(skip));
        let mut emissions = emissions(&train);
        let outcome = Outcome::of(&emissions, (0, i64::MAX), &recording);
        let numbers: Vec<_> = outcome.lost.iter().map(|e| e.number).collect();
        assert_eq!((numbers, outcome.sent), (vec![50], 100));
        emissions[50].spoiled = true;
        let outcome = Outcome::of(&emissions, (0, i64::MAX), &recording);
        assert_eq!((outcome.lost.len(), outcome.sent), (0, 99));
    }

    #[test]
    fn what_comes_again_is_counted_as_such() {
        let train = code::Train::new(RATE, 1);
        let mut recording = heard(&train, None);
        let again = recording.clone();
        let offset = recording.samples.len();
        recording.samples.extend(&again.samples[..48_000]);
        recording.blocks.push(Block {
            held_ns: recording.blocks[749].held_ns,
            written_ns: 0,
            end: offset + 48_000,
        });
        let outcome = Outcome::of(&emissions(&train), (0, i64::MAX), &recording);
        // One second of them.
        assert_eq!(outcome.duplicated, 25);
    }

    #[test]
    fn only_the_window_counts() {
        let train = code::Train::new(RATE, 1);
        let all = emissions(&train);
        let window = (all[10].emitted_ns, all[20].emitted_ns);
        let outcome = Outcome::of(&all, window, &heard(&train, None));
        assert_eq!((outcome.sent, outcome.arrivals.len()), (10, 10));
    }

    #[test]
    fn spread_of_nothing_is_zero() {
        assert_eq!(Spread::of(&[]), Spread::default());
        assert_eq!(Spread::of(&[2000]).p99, 2.0);
        assert_eq!(Spread::of(&[1000, 3000, 2000]).jitter, 1.5);
    }
}
