//! How far the positions of two streams are apart, to the sample.
//!
//! Where two sources have one clock that is a constant; where each has its own it drifts, and
//! is followed sample by sample. Either way it is found from the times of capture of many
//! windows: a single one's may be as exact as the moment at which a thread woke.

use std::collections::VecDeque;

use crate::ring::{Rate, Reader, State};

/// Windows of 32 ms whose times count.
const LOOKS: u64 = 64;
/// From so many on, a drift can be told from noise.
const FEW: usize = 8;
/// An estimate has to be so many samples off before it is followed: more than what noise does
/// to it, less than a sample.
const HYSTERESIS: f64 = 0.6;
/// After an interruption more than this (in samples) isn't drift: another line begins.
const BREAK: f64 = 1.0;
/// Where audio is missing again as the next window begins, so many windows after an
/// interruption are asked for its line before the one that was known has to do.
const AHEAD: u64 = 4;
/// What is off by more than this part of a second is another line in any case, once so many
/// looks in a row agree to the sample: a graph that was rearranged.
const JUMP: u32 = 1000;
const AGREE: usize = 3;

/// How far the positions of another stream are ahead of the first one's, in the other's
/// samples. Their rates may differ.
#[derive(Debug, Default)]
pub(crate) struct Alignment {
    /// Position of a window of the first stream, and how far the other one was ahead there.
    looks: VecDeque<(u64, f64)>,
    /// The next window to look at.
    next: u64,
    /// Audio was missing in one of them since the last look.
    interrupted: bool,
    samples: Option<i64>,
    /// The last looks, as far as they are off the line.
    off: Vec<(u64, f64)>,
}

impl Alignment {
    /// How far `other` is ahead of `first` at `position` of `first`, by the windows up to
    /// there. `None`: the times don't tell yet. Behind an interruption, those of the window
    /// that begins next do or, where audio is missing again by then, of one soon after it.
    pub(crate) fn at(&mut self, rings: [&Reader; 2], position: u64) -> Option<i64> {
        let window = position / rings[0].rate().window();
        for window in self.next.max((window + 1).saturating_sub(LOOKS))..=window {
            self.look(rings, window);
        }
        self.next = self.next.max(window + 1);
        self.interrupted |= self.is_interrupted(rings, position);
        if !self.interrupted {
            return self.samples;
        }
        // Where one of them has nothing, the line that they were on will do.
        if self.samples.is_none() {
            let [first, other] = rings;
            self.samples = exactly(first, other, position).map(|now| now.round() as i64);
        }
        if self.is_silent(rings, position) {
            return self.samples;
        }
        let first = rings[0];
        for window in self.next..self.next + AHEAD {
            let begin = window.saturating_mul(first.rate().window());
            let comes = !matches!(first.state(), State::Ended | State::Stopped);
            if comes && first.time_ns(begin).is_none() {
                return None;
            }
            self.look(rings, window);
            if !self.interrupted {
                self.next = window + 1;
                break;
            }
        }
        self.samples
    }

    /// Takes the times at which a window of the first one begins into account.
    fn look(&mut self, rings: [&Reader; 2], window: u64) {
        let [first, other] = rings;
        let position = window.saturating_mul(first.rate().window());
        self.interrupted |= self.is_interrupted(rings, position);
        match exactly(first, other, position) {
            Some(now) if !self.is_silent(rings, position) => {
                let jump = f64::from(other.rate().hz() / JUMP);
                self.take(position, first.rate(), now, jump);
            }
            _ => {}
        }
    }

    /// Whether audio is missing in one of them between the last look and `position`.
    fn is_interrupted(&self, [first, other]: [&Reader; 2], position: u64) -> bool {
        let (Some((last, _)), Some(samples)) = (self.looks.back(), self.samples) else {
            return true;
        };
        let there = |at| beside(first.rate(), other.rate(), at, samples).unwrap_or(0);
        let count = |from: u64, to: u64| (to + 1).saturating_sub(from);
        first.has_gap(*last, count(*last, position))
            || other.has_gap(there(*last), count(there(*last), there(position)))
    }

    /// Whether one of them has no audio at `position`.
    fn is_silent(&self, [first, other]: [&Reader; 2], position: u64) -> bool {
        let beside = beside(
            first.rate(),
            other.rate(),
            position,
            self.samples.unwrap_or(0),
        );
        first.gap_at(position).is_some()
            || beside.is_none_or(|beside| other.gap_at(beside).is_some())
    }

    /// The other stream is `now` ahead at `position`, where there is audio in both.
    fn take(&mut self, position: u64, rate: Rate, now: f64, jump: f64) {
        let was_interrupted = std::mem::take(&mut self.interrupted);
        let expected = self.estimate(position, rate);
        let off = expected.map_or(f64::INFINITY, |expected| (now - expected).abs());
        match off > jump {
            true => self.off.push((position, now)),
            false => self.off.clear(),
        }
        let agree = self
            .off
            .windows(2)
            .all(|two| (two[1].1 - two[0].1).abs() <= BREAK);
        if off > BREAK && (was_interrupted || expected.is_none()) {
            self.looks.clear();
            self.off.clear();
        } else if self.off.len() >= AGREE && agree {
            self.looks = self.off.drain(..).collect();
            self.looks.pop_back();
        } else if self.off.len() >= AGREE {
            self.off.remove(0);
        }
        if self.looks.len() as u64 == LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((position, now));
        // For the middle of the window that begins there.
        let estimate = self
            .estimate(position + rate.window() / 2, rate)
            .unwrap_or(now);
        match self.samples {
            Some(samples) if (estimate - samples as f64).abs() <= HYSTERESIS => {}
            _ => self.samples = Some(estimate.round() as i64),
        }
    }

    /// What the looks say of `position`: the line of the median slope and height (after Theil
    /// and Sen), so that single times that are wrong don't matter.
    fn estimate(&self, position: u64, rate: Rate) -> Option<f64> {
        let seconds = |at: u64| rate.seconds(position.saturating_sub(at));
        let looks: Vec<(f64, f64)> = self
            .looks
            .iter()
            .map(|(at, y)| (-seconds(*at), *y))
            .collect();
        let slope = match looks.len() {
            0..FEW => 0.0,
            _ => {
                let half = looks.len() / 2;
                let pairs = looks.iter().zip(&looks[half..]);
                let pairs = pairs.map(|((x, y), (later, there))| (there - y) / (later - x));
                median(pairs.collect())?
            }
        };
        median(looks.iter().map(|(x, y)| y - slope * x).collect())
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// The other stream's position that is `samples` ahead of the first one's.
pub(crate) fn beside(first: Rate, other: Rate, position: u64, samples: i64) -> Option<u64> {
    other.convert(position, first).checked_add_signed(samples)
}

/// How far the position of `other` that was captured when the one at `position` of `first` was
/// is ahead of it; `None` if one of them doesn't know.
fn exactly(first: &Reader, other: &Reader, position: u64) -> Option<f64> {
    let (there, rest) = position_at(other, first.time_ns(position)?)?;
    let apart = there.wrapping_sub(other.rate().convert(position, first.rate()) as i64);
    Some(apart as f64 + rest)
}

/// The position that was captured at `time_ns`, and what of a sample is left, by the time that
/// is known nearest to it; it may lie before the first.
pub(crate) fn position_at(ring: &Reader, time_ns: i64) -> Option<(i64, f64)> {
    let rate = ring.rate();
    let newest = ring.committed().checked_sub(1)?;
    let mut known = (newest, ring.time_ns(newest)?);
    // From the newest on its clock may have drifted: once more, from nearby.
    for _ in 0..2 {
        let off = rate.samples(time_ns.saturating_sub(known.1));
        let there = (known.0 as i64).saturating_add(off);
        let near = u64::try_from(there).unwrap_or(0).min(newest);
        let Some(time) = ring.time_ns(near) else {
            break;
        };
        known = (near, time);
    }
    let off_ns = time_ns.saturating_sub(known.1);
    let whole = rate.samples(off_ns);
    let rest = off_ns.saturating_sub(rate.ns(whole)) as f64 / rate.ns(1) as f64;
    Some(((known.0 as i64).saturating_add(whole), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ring::{GapReason, Ring};

    const RATE: Rate = Rate::ALL[4];

    /// An alignment that was given these: positions of windows, and how far the other is ahead.
    fn given(looks: impl IntoIterator<Item = (u64, f64, bool)>) -> (Alignment, Vec<i64>) {
        let mut alignment = Alignment::default();
        let mut found = Vec::new();
        for (window, ahead, interrupted) in looks {
            alignment.interrupted |= interrupted;
            let jump = f64::from(RATE.hz() / JUMP);
            alignment.take(window * RATE.window(), RATE, ahead, jump);
            found.push(alignment.samples.unwrap());
        }
        (alignment, found)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Clocks that differ by up to 500 ppm are followed to the sample, whatever single
        /// times are worth.
        #[test]
        fn a_drift_is_followed_to_the_sample(
            ppm in -500.0..500.0_f64,
            apart in -1e6..1e6_f64,
            late in prop::collection::vec((0..6_u32, 0.0..400.0_f64), 200),
        ) {
            let truly = |window: u64| apart + ppm * 1e-6 * (window * RATE.window()) as f64;
            let told = |(window, (often, late)): (u64, &(u32, f64))| {
                let late = if *often == 0 { *late } else { 0.0 };
                (window, truly(window) + late, false)
            };
            let (_, found) = given((0..).zip(&late).map(told));
            for (window, samples) in found.into_iter().enumerate().skip(LOOKS as usize) {
                let (begin, end) = (truly(window as u64), truly(window as u64 + 1));
                let off = samples as f64 - (begin + end) / 2.0;
                prop_assert!(off.abs() <= 0.7, "{off} at window {window}");
            }
        }

        /// Behind an interruption the first look counts, however little it is off.
        #[test]
        fn another_line_is_taken_at_once(apart in -1e6..1e6_f64, step in 2.0..1e6_f64) {
            let looks = (0..200).map(|n| match n {
                0..100 => (n, apart, false),
                _ => (n, apart + step, n == 100),
            });
            let (_, found) = given(looks);
            prop_assert_eq!(found[99], apart.round() as i64);
            prop_assert_eq!(found[100], (apart + step).round() as i64);
            prop_assert_eq!(found[199], found[100]);
        }

        /// A graph that is rearranged without a gap is followed within 0.1 s.
        #[test]
        fn a_jump_is_taken_once_it_is_sure(apart in -1e6..1e6_f64, step in 64.0..1e6_f64) {
            let looks = (0..200).map(|n| (n, if n < 100 { apart } else { apart + step }, false));
            let (_, found) = given(looks);
            prop_assert_eq!(found[101], apart.round() as i64);
            prop_assert_eq!(found[102], (apart + step).round() as i64);
        }
    }

    /// Two rings of one clock, a window and more long, whose audio is missing here and there:
    /// by turns so many samples of audio and so many lost.
    fn interrupted(apart: u64, stretches: [&[(u64, u64)]; 2]) -> [Reader; 2] {
        let mut skipped = [0, apart];
        stretches.map(|stretches| {
            let (ring, mut writer, _, _) = Ring::at(RATE, 1 << 18).unwrap();
            let mut next = 0;
            let begins = std::mem::take(&mut skipped[0]);
            skipped.rotate_left(1);
            let time = |at: u64| 1_000_000_000 + RATE.ns((at + begins) as i64);
            let silent = RATE.window() * AHEAD + RATE.window() * 3;
            let (audio, lost) = (
                stretches.iter().map(|two| two.0),
                stretches.iter().map(|two| two.1),
            );
            for (audio, lost) in audio.chain([silent]).zip(lost.chain([0])) {
                writer.append(&vec![0.5; audio as usize], time(next));
                next += audio;
                if lost > 0 {
                    writer.gap(lost, GapReason::Xrun, time(next));
                    writer.append_silence(lost, time(next));
                    next += lost;
                }
            }
            Reader::new(ring.duplicate().unwrap()).unwrap()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However often audio is missing, wherever a window begins: what is there has a place.
        #[test]
        fn what_is_there_has_its_place_soon(
            apart in 0..3000_u64,
            ours in prop::collection::vec((1..4000_u64, 1..4000_u64), 0..12),
            theirs in prop::collection::vec((1..4000_u64, 1..4000_u64), 0..12),
        ) {
            let rings = interrupted(apart, [&ours, &theirs]);
            let [first, other] = &rings;
            let mut alignment = Alignment::default();
            let ends = first.committed().min(other.committed()) - RATE.window() * (AHEAD + 1);
            for position in (0..ends).step_by(97) {
                let found = alignment.at([first, other], position);
                prop_assert_eq!(found, Some(-(apart as i64)), "at {}", position);
            }
        }
    }

    #[test]
    fn a_single_wrong_time_changes_nothing() {
        let looks = (0..200).map(|n| (n, if n % 20 == 7 { 900.0 } else { 100.0 }, false));
        let (_, found) = given(looks);
        assert!(found[8..].iter().all(|samples| *samples == 100));
    }
}
