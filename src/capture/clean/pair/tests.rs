use proptest::prelude::*;

use super::*;

const RATE: u32 = 48_000;
const DRIVER: u64 = 7;

fn wave(position: u64) -> f32 {
    0.1 + (position % 4001) as f32 / 8000.0
}

fn piece(clock: u64, position: u64, length: usize, sample: impl Fn(u64) -> f32) -> Piece {
    Piece {
        samples: (position..position + length as u64).map(sample).collect(),
        rate: RATE,
        clock,
        position,
        time_ns: position as i64 * 1_000_000_000 / i64::from(RATE),
    }
}

/// What came out: position, sample.
#[derive(Default)]
struct Heard(Vec<(u64, f32)>);

impl Heard {
    fn take(&mut self, block: &Block<'_>) {
        let exact = block.position as i64 * 1_000_000_000 / i64::from(RATE);
        assert!(
            (block.time_ns - exact).abs() <= 1,
            "time at {}",
            block.position
        );
        self.0
            .extend((block.position..).zip(block.channels.channel(0).iter().copied()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where nothing is played every sample of the microphone comes out at its own position
    /// and time, once, to the bit, and what it lost doesn't; whatever the far end does.
    #[test]
    fn the_microphone_keeps_its_positions(
        first in 0_u64..1 << 32,
        cycles in prop::collection::vec((1_usize..1500, 0_u64..3, 0_u8..4), 1..60),
    ) {
        let mut pair = Pair::new(Options::default());
        let (mut heard, mut given) = (Heard::default(), Vec::new());
        let (mut at, mut far) = (first, 1_000_000);
        for (length, lost, play) in cycles {
            at += lost * 997;
            let piece = piece(DRIVER, at, length, wave);
            given.extend((at..).zip(piece.samples.iter().copied()));
            pair.near(&piece);
            at += length as u64;
            // The far end is silent, late, gone, or of another clock.
            if play > 0 {
                let clock = DRIVER + u64::from(play == 2);
                far += u64::from(play == 3) * 555;
                pair.far(&self::piece(clock, far, length, |_| 0.0));
                far += length as u64;
            }
            pair.give(play > 0, |block, _| heard.take(block));
        }
        // All but what is on its way.
        pair.give(false, |block, _| heard.take(block));
        prop_assert!(heard.0.len() + 48 * 20 >= given.len());
        for (was, is) in given.iter().zip(&heard.0) {
            prop_assert_eq!((was.0, was.1.to_bits()), (is.0, is.1.to_bits()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// As soon as both sides have come, the microphone is 20 ms behind at most, whatever the
    /// quantum and whichever of them comes first.
    #[test]
    fn it_is_never_more_than_twenty_milliseconds_behind(
        quantum in prop::sample::select(vec![32_usize, 128, 256, 341, 1024, 2048, 8192]),
        far_first in any::<bool>(),
        slow in any::<bool>(),
    ) {
        let rate = if slow { 16_000 } else { RATE };
        let mut pair = Pair::new(Options::default());
        let mut next = 5000;
        for cycle in 0..(3 * 8192 / quantum) as u64 {
            let at = 5000 + cycle * quantum as u64;
            let side = |sample: fn(u64) -> f32| Piece { rate, ..piece(DRIVER, at, quantum, sample) };
            for far in [far_first, !far_first] {
                match far {
                    true => pair.far(&side(noise)),
                    false => pair.near(&side(wave)),
                }
                pair.give(true, |block, _| {
                    assert_eq!(block.position, next);
                    next += block.frames() as u64;
                });
            }
            prop_assert!((at + quantum as u64 - next) * 1000 <= 20 * u64::from(rate));
        }
    }
}

#[test]
fn a_cycle_that_comes_again_is_passed_over() {
    let mut pair = Pair::new(Options::default());
    let mut heard = Heard::default();
    for at in [0, 480, 480, 240, 960, 960, 1440, 1920, 2400] {
        pair.near(&piece(DRIVER, 10_000 + at, 480, wave));
        pair.give(false, |block, _| heard.take(block));
    }
    let positions: Vec<u64> = heard.0.iter().map(|&(at, _)| at).collect();
    let expected: Vec<u64> = (10_000..10_000 + positions.len() as u64).collect();
    assert!(positions.len() > 1900);
    assert_eq!(positions, expected);
    assert!(heard.0.iter().all(|&(at, sample)| sample == wave(at)));
}

/// A noise that is played, and heard 30 ms later at half the level.
fn noise(position: u64) -> f32 {
    let mut x = position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 32;
    ((x & 0xffff) as f32 / 32_768.0 - 1.0) * 0.1
}

fn echo(position: u64) -> f32 {
    0.5 * noise(position - 1440)
}

fn power(heard: &[(u64, f32)]) -> f32 {
    heard.iter().map(|(_, s)| s * s).sum::<f32>() / heard.len().max(1) as f32
}

/// Plays for some seconds; what comes out of each.
fn play(far_clock: u64, ahead: u64, seconds: usize, plays: impl Fn(usize) -> bool) -> Vec<f32> {
    let mut pair = Pair::new(Options::default());
    let mut powers = Vec::new();
    let mut at = 100_000;
    for second in 0..seconds {
        let mut heard = Heard::default();
        for _ in 0..100 {
            if plays(second) {
                let mut far = piece(far_clock, at, 480, noise);
                far.position += ahead;
                pair.far(&far);
            }
            pair.near(&piece(DRIVER, at, 480, echo));
            pair.give(plays(second), |block, _| heard.take(block));
            at += 480;
        }
        powers.push(power(&heard.0));
    }
    powers
}

#[test]
fn every_block_comes_with_what_was_done_to_it() {
    let mut pair = Pair::new(Options::default());
    let (mut at, mut told) = (100_000, Vec::new());
    for second in 0..6 {
        for _ in 0..100 {
            let plays = second < 4;
            pair.far(&piece(
                DRIVER,
                at,
                480,
                |p| if plays { noise(p) } else { 0.0 },
            ));
            pair.near(&piece(
                DRIVER,
                at,
                480,
                |p| if plays { echo(p) } else { 0.0 },
            ));
            pair.give(true, |block, window| told.push((block.position, window)));
            at += 480;
        }
        if second == 2 {
            pair.jump();
        }
    }
    let of = |from: u64, to: u64| {
        let of = told
            .iter()
            .filter(move |(at, _)| (from..to).contains(&(at - 100_000)));
        of.map(|&(_, window)| window)
    };
    let second = u64::from(RATE);
    // Known, learning again after a jump, known, and silence.
    assert!(of(1500, 2500).all(|window| window.far));
    assert!(of(2 * second, 3 * second - 2000).all(|w| !w.converging && w.cancelled_db > 20.0));
    assert!(of(3 * second, 3 * second + 1000).all(|window| window.converging));
    assert!(of(5 * second + 4000, 6 * second).all(|w| !w.far && w.cancelled_db == 0.0));
    let both: Vec<_> = told
        .iter()
        .filter(|(_, window)| window.both)
        .map(|(at, window)| (at - 100_000, *window))
        .collect();
    assert!(both.is_empty(), "{both:?}");
}

#[test]
fn what_is_played_is_taken_off_by_one_clock_and_by_two() {
    let raw = power(&(100_000..148_000).map(|p| (p, echo(p))).collect::<Vec<_>>());
    for (clock, ahead) in [(DRIVER, 0), (DRIVER + 1, 12_345_678)] {
        let powers = play(clock, ahead, 4, |_| true);
        assert!(powers[3] < raw / 1000.0, "{powers:?} of {raw}");
    }
}

#[test]
fn a_second_without_the_far_end_is_the_microphone_and_then_all_is_well_again() {
    let raw = power(&(100_000..148_000).map(|p| (p, echo(p))).collect::<Vec<_>>());
    let powers = play(DRIVER, 0, 7, |second| second != 3);
    assert!(powers[2] < raw / 1000.0, "{powers:?} of {raw}");
    assert!(powers[3] > raw / 4.0, "{powers:?} of {raw}");
    assert!(powers[6] < raw / 1000.0, "{powers:?} of {raw}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Once the room is known: cycles of the far end that are lost, or come late and all at once,
    /// let none of it through that could be heard.
    #[test]
    fn what_is_lost_or_late_of_the_far_end_is_not_let_through(
        begin in 200_usize..250,
        late in 0_usize..14,
        lost in 0_usize..14,
    ) {
        let mut pair = Pair::new(Options::default());
        let mut heard = Heard::default();
        let mut waiting = Vec::new();
        let mut at = 100_000;
        for cycle in 0..350 {
            let since = cycle - begin.min(cycle);
            let far = piece(DRIVER, at, 480, noise);
            pair.near(&piece(DRIVER, at, 480, echo));
            match since {
                0 => pair.far(&far),
                _ if since < late => waiting.push(far),
                _ if since < late + lost => {}
                _ => {
                    waiting.drain(..).for_each(|far| pair.far(&far));
                    pair.far(&far);
                }
            }
            pair.give(true, |block, _| heard.take(block));
            at += 480;
        }
        let first = begin * 480 + 1440;
        let loudest = heard.0[first..].chunks(480).map(power).fold(0.0, f32::max);
        let raw = power(&(100_000..148_000).map(|p| (p, echo(p))).collect::<Vec<_>>());
        prop_assert!(loudest < raw / 100.0, "{loudest} of {raw}");
    }
}
