//! How far the positions of two streams are apart, to the sample.
//!
//! Where two sources have one clock that is a constant; where each has its own it drifts, and
//! is followed sample by sample. Either way it is found from the times of capture of many
//! windows: a single one's may be as exact as the moment at which a thread woke.

mod line;

use std::collections::VecDeque;

use line::Line;

use crate::ring::{Rate, Reader, State};

/// Windows of 32 ms whose times count.
const LOOKS: u64 = 128;
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
    /// Through the looks, from first position to position.
    line: Option<Line>,
    samples: Option<i64>,
    /// The last looks, as far as they are off the line.
    off: Vec<(u64, f64)>,
}

impl Alignment {
    /// How far `other` is ahead of `first` in the middle of `count` samples at `position` of
    /// `first`, by the windows up to `position`. `None`: the times don't tell yet. Behind an
    /// interruption, those of the window that begins next do or, where audio is missing again
    /// by then, of one soon after it.
    pub(crate) fn at(&mut self, rings: [&Reader; 2], position: u64, count: u64) -> Option<i64> {
        self.learn(rings, position)?;
        if let Some(line) = &self.line {
            let middle = position.saturating_add(count / 2);
            self.samples = Some(line.follow(self.samples, middle, rings[0].rate()));
        }
        self.samples
    }

    /// For how many samples of `first` from `position` on the offset there is the nearest.
    pub(crate) fn holds(&self, position: u64, rate: Rate) -> u64 {
        match (&self.line, self.samples) {
            (Some(line), Some(samples)) => line.holds(samples, position, rate),
            _ => u64::MAX,
        }
    }

    /// As [`at`](Self::at), by the newest window.
    fn learn(&mut self, rings: [&Reader; 2], position: u64) -> Option<i64> {
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
        let expected = self.line.map(|line| line.ahead(position, rate));
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
        let slope = self.line.map_or(0.0, |line| line.slope());
        self.line = Line::through(self.looks.iter(), rate, slope);
        if let Some(line) = &self.line {
            self.samples = Some(line.follow(self.samples, position, rate));
        }
    }
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
    // A window lasts as long as its own clock says, which may not be quite 32 ms.
    let begin = known.0 - known.0 % rate.window();
    let begin_ns = ring.time_ns(begin)?;
    let lasts_ns = lasting_ns(ring, begin).unwrap_or(rate.ns(rate.window() as i64));
    let nominal = rate.window() as f64;
    let off = time_ns.saturating_sub(begin_ns) as f64 * nominal / lasts_ns as f64;
    let whole = off.floor();
    Some(((begin as i64).saturating_add(whole as i64), off - whole))
}

/// How long the window at `begin` took, or the one before it; `None` where audio was lost, so
/// that its end is on another line.
fn lasting_ns(ring: &Reader, begin: u64) -> Option<i64> {
    let window = ring.rate().window();
    let nominal = ring.rate().ns(window as i64);
    let lasts = |from: u64| {
        Some(
            ring.time_ns(from + window)?
                .wrapping_sub(ring.time_ns(from)?),
        )
    };
    let lasts_ns = lasts(begin).or_else(|| lasts(begin.checked_sub(window)?))?;
    ((lasts_ns - nominal).abs() <= nominal / 500).then_some(lasts_ns)
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

        /// Clocks that differ by up to 500 ppm are followed to the sample, at every sample of
        /// some twelve seconds of half an hour, whatever single times are worth, and though
        /// either clock's own line wanders by 0.15 samples.
        #[test]
        fn a_drift_is_followed_to_the_sample(
            ppm in -500.0..500.0_f64,
            begin in 0..50_000_u64,
            late in prop::collection::vec((0..6_u32, 0.0..400.0_f64), 400),
            wander in prop::collection::vec(-0.15..0.15_f64, 800),
            steady in 1..16_usize,
        ) {
            let truly = |position: u64| ppm * 1e-6 * position as f64;
            let mut alignment = Alignment::default();
            let jump = f64::from(RATE.hz() / JUMP);
            for (n, (often, late)) in late.iter().enumerate() {
                let position = (begin + n as u64) * RATE.window();
                let late = if *often == 0 { *late } else { 0.0 };
                let noise = wander[n / steady] + wander[400 + n / steady];
                alignment.take(position, RATE, truly(position) + late + noise, jump);
                if n < 64 {
                    continue;
                }
                let line = alignment.line.unwrap();
                let end = position + RATE.window();
                let mut at = position;
                while at < end {
                    let samples = line.follow(alignment.samples, at, RATE);
                    alignment.samples = Some(samples);
                    let last = (at + line.holds(samples, at, RATE)).min(end) - 1;
                    for at in [at, last] {
                        let off = samples as f64 - truly(at);
                        prop_assert!(off.abs() <= 1.0, "{off} at {at} of window {n}");
                    }
                    at = last + 1;
                }
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

    /// A ring of a clock that is off by `ppm` and whose first sample is of `begins_ns`, written a
    /// `quantum` at a time.
    fn drifting(ppm: f64, begins_ns: f64, quantum: u64) -> Reader {
        let (ring, mut writer, _, _) = Ring::at(RATE, 1 << 18).unwrap();
        let samples = vec![0.5; quantum as usize];
        for next in (0..1 << 18).step_by(quantum as usize) {
            writer.append(&samples, captured_ns(ppm, begins_ns, next as f64) as i64);
        }
        Reader::new(ring.duplicate().unwrap()).unwrap()
    }

    fn captured_ns(ppm: f64, begins_ns: f64, position: f64) -> f64 {
        begins_ns + position * 1e9 / f64::from(RATE.hz()) / (1.0 + ppm * 1e-6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Of rings whose clocks differ: each sample is beside the one that is nearest in time,
        /// wherever in the other's windows it falls.
        #[test]
        fn beside_is_what_is_nearest_in_time(
            ppm in [-300.0..300.0_f64, -300.0..300.0],
            apart_ns in 0.0..32e6_f64,
            quanta in prop::array::uniform2(prop::sample::select(vec![64_u64, 256, 1024])),
        ) {
            let begins_ns = [1e9 + 32e6, 1e9 + apart_ns];
            let rings = [0, 1].map(|n| drifting(ppm[n], begins_ns[n], quanta[n]));
            let [first, other] = &rings;
            // A block's samples have times by the nominal rate.
            let in_block = |n: usize| ppm[n].abs() * 1e-6 * quanta[n] as f64;
            let most = 0.62 + in_block(0) + in_block(1);
            let mut alignment = Alignment::default();
            let mut position = 0;
            while position < 160 * RATE.window() {
                let samples = alignment.at([first, other], position, 1).unwrap();
                let holds = alignment.holds(position, RATE).min(RATE.window() - position % RATE.window());
                for at in [position, position + holds - 1] {
                    let ns = captured_ns(ppm[0], begins_ns[0], at as f64) - begins_ns[1];
                    let there = ns * f64::from(RATE.hz()) / 1e9 * (1.0 + ppm[1] * 1e-6);
                    let off = (at as i64 + samples) as f64 - there;
                    prop_assert!(at < 120 * RATE.window() || off.abs() <= most, "{off} at {at}");
                }
                position += holds;
            }
        }
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
                let found = alignment.at([first, other], position, 1);
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
