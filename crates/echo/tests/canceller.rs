//! The canceller between generated rooms and voices: what is left of an echo, what becomes of a
//! voice, and what it says about both.

mod room;

use proptest::prelude::*;
use room::{Random, Room, correlation, energy, reduction_db, voice};
use v2m_echo::{Canceller, Cleaned, Gain, Noise, Options};

const RATES: [u32; 2] = [16_000, 48_000];

/// In pieces of a quantum.
fn clean(rate: u32, near: &[f32], far: &[f32]) -> Cleaned {
    let mut canceller = Canceller::new(rate, Options::default()).expect("a rate it takes");
    let mut cleaned = Cleaned::default();
    for (near, far) in near.chunks(341).zip(far.chunks(341)) {
        canceller.process(near, far, &mut cleaned);
    }
    cleaned
}

fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// A microphone's own noise, -85 dBFS.
fn hiss(length: usize) -> Vec<f32> {
    let mut random = Random::new(77);
    (0..length)
        .map(|_| (random.noise() * 5.6e-5) as f32)
        .collect()
}

/// By how much the echo of a voice is softer after two seconds.
fn echo_reduction(rate: u32, room: Room, level_dbfs: f64) -> f64 {
    let far = voice(room.seed, rate, 6.0, level_dbfs);
    let echo = add(&room.echo(rate, &far), &hiss(far.len()));
    let cleaned = clean(rate, &echo, &far).samples;
    let from = 2 * rate as usize;
    reduction_db(&echo[from..cleaned.len()], &cleaned[from..])
}

#[test]
fn echoes_of_every_room_lose_thirty_decibels_within_two_seconds() {
    let mut louder = Vec::new();
    for (rate, delays) in [
        (16_000, [0.0, 5.0, 20.0, 60.0, 150.0, 300.0].as_slice()),
        (48_000, [5.0, 300.0].as_slice()),
    ] {
        for &delay_ms in delays {
            for reverberation_ms in [0.0, 100.0, 350.0] {
                for (level, gain_db) in [(-20.0, 0.0), (-26.0, -12.0), (-35.0, -6.0)] {
                    let room = Room {
                        seed: (delay_ms + reverberation_ms) as u64 + 1,
                        delay_ms,
                        reverberation_ms,
                        gain_db,
                        ..Room::default()
                    };
                    let lost = echo_reduction(rate, room, level);
                    if lost < 30.0 {
                        louder.push(format!("{rate} Hz, {level} dBFS, {room:?}: {lost:.1} dB"));
                    }
                }
            }
        }
    }
    assert!(louder.is_empty(), "{louder:#?}");
}

#[test]
fn overdriven_loudspeakers_and_drifting_clocks_too() {
    for rate in RATES {
        for (drive, drift_ppm) in [(1.0, 0.0), (3.0, 0.0), (0.0, 50.0), (0.0, -100.0)] {
            let room = Room {
                drive,
                drift_ppm,
                ..Room::default()
            };
            let lost = echo_reduction(rate, room, -20.0);
            assert!(lost >= 30.0, "{rate} Hz, {room:?}: {lost:.1} dB");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where nothing plays not a bit changes, whatever the pieces, the voice and what is no number.
    #[test]
    fn a_voice_alone_is_unchanged(
        seed in any::<u64>(),
        fast in any::<bool>(),
        pieces in prop::collection::vec(0_usize..2000, 1..40),
        odd in prop::option::of(prop::sample::select(vec![f32::NAN, f32::INFINITY, 1e30, -1e-42])),
    ) {
        let rate = RATES[usize::from(fast)];
        let mut canceller = Canceller::new(rate, Options::default()).expect("a rate it takes");
        let total: usize = pieces.iter().sum();
        let mut near = voice(seed, rate, total as f64 / f64::from(rate) + 0.1, -20.0);
        near.truncate(total);
        if let (Some(odd), Some(sample)) = (odd, near.get_mut(total / 2)) {
            *sample = odd;
        }
        let (mut cleaned, mut given) = (Cleaned::default(), 0);
        for count in pieces {
            let piece = &near[given..given + count];
            canceller.process(piece, &vec![0.0; count], &mut cleaned);
            given += count;
            // Never later than it says, never earlier than it has been given.
            prop_assert!(cleaned.samples.len() + canceller.delay() >= given);
            prop_assert!(cleaned.samples.len() <= given);
        }
        let bits = |samples: &[f32]| samples.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&cleaned.samples), bits(&near[..cleaned.samples.len()]));
        prop_assert_eq!(cleaned.windows.len(), cleaned.samples.len() / (rate as usize / 100));
        prop_assert!(cleaned.windows.iter().all(|w| !w.far && !w.both && w.cancelled_db == 0.0));
    }
}

#[test]
fn it_is_at_most_twenty_milliseconds_behind() {
    for rate in RATES {
        let canceller = Canceller::new(rate, Options::default()).expect("a rate it takes");
        assert!(canceller.delay() * 1000 <= 20 * rate as usize);
    }
}

#[test]
fn a_voice_beside_an_echo_comes_at_its_time_and_is_most_of_what_comes() {
    for rate in RATES {
        let far = voice(5, rate, 10.0, -26.0);
        let near = voice(6, rate, 10.0, -20.0);
        let room = Room {
            gain_db: -10.0,
            ..Room::default()
        };
        let cleaned = clean(rate, &add(&near, &room.echo(rate, &far)), &far).samples;
        let (from, count) = (4 * rate as usize, 5 * rate as usize);
        let reach = i64::from(rate) / 500;
        let likeness = |shift: i64| {
            let at = (from as i64 + shift) as usize;
            correlation(&near[from..from + count], &cleaned[at..at + count])
        };
        let best = (-reach..=reach)
            .max_by(|&a, &b| likeness(a).total_cmp(&likeness(b)))
            .expect("a shift");
        assert_eq!(best, 0, "{rate} Hz");
        assert!(likeness(0) > 0.9, "{rate} Hz: {}", likeness(0));
    }
}

#[test]
fn a_voice_beside_an_equally_loud_echo_is_left_whole_in_drawn_rooms() {
    let mut random = Random::new(21);
    for rate in RATES {
        let mut damage = Vec::new();
        for seed in 1..=4 {
            let room = Room {
                seed,
                delay_ms: random.within(5.0, 150.0),
                reverberation_ms: random.within(50.0, 350.0),
                ..Room::default()
            };
            let from = 4 * rate as usize;
            let far = voice(seed, rate, 9.0, -24.0);
            let mut near = voice(seed + 50, rate, 9.0, -24.0);
            near[..from].fill(0.0);
            let echo = room.echo(rate, &far);
            let cleaned = clean(rate, &add(&near, &echo), &far).samples;
            let wrong: Vec<f32> = cleaned.iter().zip(&near).map(|(a, b)| a - b).collect();
            damage.push(reduction_db(&near[from..wrong.len()], &wrong[from..]));
        }
        let mean = damage.iter().sum::<f64>() / 4.0;
        assert!(
            mean >= 20.0,
            "{rate} Hz: a voice is above what is wrong by dB {damage:.1?}"
        );
    }
}

#[test]
fn clocks_that_differ_become_one_within_eight_seconds() {
    let mut random = Random::new(31);
    for rate in RATES {
        for seed in 1..=4 {
            let room = Room {
                seed,
                delay_ms: random.within(20.0, 150.0),
                reverberation_ms: random.within(0.0, 350.0),
                gain_db: 0.0,
                drift_ppm: random.within(-300.0, 300.0),
                ..Room::default()
            };
            let (alone, from) = (8 * rate as usize, 11 * rate as usize);
            let far = voice(seed, rate, 15.0, -24.0);
            let mut near = voice(seed + 50, rate, 15.0, -24.0);
            near[..from].fill(0.0);
            let echo = room.echo(rate, &far);
            let cleaned = clean(rate, &add(&near, &echo), &far).samples;
            let lost = reduction_db(&echo[alone..from], &cleaned[alone..from]);
            assert!(lost >= 30.0, "{rate} Hz, {room:?}: {lost:.1} dB");
            let wrong: Vec<f32> = cleaned.iter().zip(&near).map(|(a, b)| a - b).collect();
            let whole = reduction_db(&near[from..wrong.len()], &wrong[from..]);
            assert!(
                whole >= 15.0,
                "{rate} Hz, {room:?}: a voice is {whole:.1} dB above what is wrong"
            );
        }
    }
}

#[test]
fn it_says_who_speaks() {
    for rate in RATES {
        let length = 6 * rate as usize;
        let far = voice(8, rate, 12.0, -24.0);
        let mut near = voice(9, rate, 12.0, -22.0);
        near[..length].fill(0.0);
        let echo = Room::default().echo(rate, &far);
        let microphone = add(&add(&echo, &near), &hiss(far.len()));
        let windows = clean(rate, &microphone, &far).windows;
        let size = rate as usize / 100;
        let loud = |samples: &[f32], window: usize| {
            let of = &samples[(window.max(2) - 2) * size..(window + 1) * size];
            energy(of) > 1e-4 * of.len() as f64
        };
        let share = |of: &dyn Fn(usize) -> bool| {
            let asked: Vec<_> = (0..windows.len()).filter(|&w| of(w)).collect();
            asked.iter().filter(|&&w| windows[w].both).count() as f64 / asked.len() as f64
        };
        let alone = share(&|w| w < length / size);
        let both = share(&|w| loud(&near, w) && loud(&echo, w));
        assert!(
            alone < 0.05,
            "{rate} Hz: both in {alone:.3} of the far end alone"
        );
        assert!(both > 0.6, "{rate} Hz: both in only {both:.3} of both");
        assert!(windows[..25].iter().all(|w| !w.both));
        assert!(windows[0].converging && !windows[200].converging);
    }
}

#[test]
fn noise_and_gain_do_what_is_asked_and_nothing_else() {
    let rate = 16_000;
    let mut random = Random::new(4);
    let noise: Vec<f32> = (0..5 * rate)
        .map(|_| (random.noise() * 0.003) as f32)
        .collect();
    let softer = |noise_option, gain| {
        let options = Options {
            noise: noise_option,
            gain,
        };
        let mut canceller = Canceller::new(rate as u32, options).expect("a rate it takes");
        let mut cleaned = Cleaned::default();
        canceller.process(&noise, &vec![0.0; noise.len()], &mut cleaned);
        let from = 3 * rate;
        reduction_db(
            &noise[from..cleaned.samples.len()],
            &cleaned.samples[from..],
        )
    };
    assert_eq!(softer(Noise::Off, Gain::Off), 0.0);
    let (low, high) = (
        softer(Noise::Low, Gain::Off),
        softer(Noise::High, Gain::Off),
    );
    assert!((4.0..9.0).contains(&low), "{low}");
    assert!((14.0..22.0).contains(&high), "{high}");
    assert!(softer(Noise::Off, Gain::Auto) < -3.0);
}

/// A voice, and what options make of it, alone or beside an equally loud echo: after five
/// seconds of the echo alone.
fn with_options(rate: u32, options: Options, is_beside: bool) -> (Vec<f32>, Vec<f32>) {
    let mut near = voice(6, rate, 11.0, -24.0);
    near[..5 * rate as usize].fill(0.0);
    let mut far = vec![0.0; near.len()];
    if is_beside {
        far = voice(5, rate, 11.0, -24.0);
    }
    let microphone = add(&near, &Room::default().echo(rate, &far));
    let mut canceller = Canceller::new(rate, options).expect("a rate it takes");
    let mut cleaned = Cleaned::default();
    canceller.process(&microphone, &far, &mut cleaned);
    (near, cleaned.samples)
}

#[test]
fn options_leave_a_voice_at_its_time() {
    for rate in RATES {
        for (noise, gain) in [
            (Noise::Low, Gain::Off),
            (Noise::High, Gain::Off),
            (Noise::Off, Gain::Auto),
            (Noise::High, Gain::Auto),
        ] {
            let (near, cleaned) = with_options(rate, Options { noise, gain }, false);
            let (from, count) = (5 * rate as usize, 5 * rate as usize);
            let likeness = |shift: i64| {
                let at = (from as i64 + shift) as usize;
                correlation(&near[from..from + count], &cleaned[at..at + count])
            };
            let reach = i64::from(rate) / 100;
            let late = (-reach..=reach)
                .max_by(|&a, &b| likeness(a).total_cmp(&likeness(b)))
                .expect("a shift");
            assert!(late.abs() <= 1, "{rate} Hz, {noise:?}, {gain:?}: {late}");
        }
    }
}

/// By pieces of 50 ms, in which the gain hardly changes.
#[test]
fn gain_leaves_a_voice_whole_beside_an_echo() {
    let options = Options {
        gain: Gain::Auto,
        ..Options::default()
    };
    for rate in RATES {
        let (near, cleaned) = with_options(rate, options, true);
        let (mut like, mut all) = (0.0, 0.0);
        let pieces = near.chunks(rate as usize / 20);
        for (near, cleaned) in pieces.zip(cleaned.chunks_exact(rate as usize / 20)) {
            let weight = energy(near);
            if weight > 0.0 {
                like += weight * correlation(near, cleaned);
                all += weight;
            }
        }
        let like = like / all;
        assert!(like > 0.95, "{rate} Hz: {like:.3}");
    }
}

/// What an echo lost in each second.
fn each_second(rate: u32, echo: &[f32], cleaned: &[f32]) -> Vec<f64> {
    let second = rate as usize;
    echo[..cleaned.len()]
        .chunks_exact(second)
        .zip(cleaned.chunks_exact(second))
        .map(|(echo, cleaned)| reduction_db(echo, cleaned))
        .collect()
}

#[test]
fn another_room_is_learnt_anew_within_two_seconds_and_flagged() {
    for rate in RATES {
        let far = voice(11, rate, 12.0, -20.0);
        let half = far.len() / 2;
        let other = Room {
            seed: 3,
            delay_ms: 120.0,
            reverberation_ms: 300.0,
            ..Room::default()
        };
        let mut echo = Room::default().echo(rate, &far);
        echo[half..].copy_from_slice(&other.echo(rate, &far)[half..]);
        let mut canceller = Canceller::new(rate, Options::default()).expect("a rate it takes");
        let mut cleaned = Cleaned::default();
        canceller.process(&echo[..half], &far[..half], &mut cleaned);
        let known = cleaned.windows.len();
        canceller.jump();
        canceller.process(&echo[half..], &far[half..], &mut cleaned);
        let lost = each_second(rate, &echo, &cleaned.samples);
        assert!(
            lost[8..].iter().all(|&db| db >= 30.0),
            "{rate} Hz: {lost:?}"
        );
        assert!(!cleaned.windows[known - 1].converging);
        assert!(cleaned.windows[known].converging);
        assert!(cleaned.windows[known + 205..].iter().all(|w| !w.converging));
    }
}

#[test]
fn another_room_is_learnt_anew_though_nobody_says_so() {
    for rate in RATES {
        let far = voice(11, rate, 16.0, -20.0);
        let half = far.len() / 2;
        let mut random = Random::new(5);
        for seed in 3..6 {
            let other = Room {
                seed,
                delay_ms: random.within(5.0, 150.0),
                reverberation_ms: random.within(50.0, 350.0),
                ..Room::default()
            };
            let mut echo = Room::default().echo(rate, &far);
            echo[half..].copy_from_slice(&other.echo(rate, &far)[half..]);
            let cleaned = clean(rate, &echo, &far).samples;
            let lost = each_second(rate, &echo, &cleaned);
            assert!(
                lost[12..].iter().all(|&db| db >= 30.0),
                "{rate} Hz, {other:?}: {lost:.0?}"
            );
        }
    }
}

#[test]
fn silence_in_place_of_either_side_costs_two_seconds_at_most() {
    for rate in RATES {
        let (far, at) = (voice(11, rate, 9.0, -20.0), 5 * rate as usize);
        let echo = Room::default().echo(rate, &far);
        for (microphone, ms) in [(true, 20), (true, 200), (true, 1000), (false, 1000)] {
            let (mut echo, mut far) = (echo.clone(), far.clone());
            let gap = at..at + rate as usize * ms / 1000;
            let broken = if microphone { &mut echo } else { &mut far };
            broken[gap].fill(0.0);
            let cleaned = clean(rate, &echo, &far).samples;
            let lost = each_second(rate, &echo, &cleaned);
            assert!(
                lost[7] >= 30.0,
                "{rate} Hz, {ms} ms, microphone {microphone}: {lost:?}"
            );
        }
    }
}

#[test]
fn an_echo_without_any_delay_is_known_after_a_pause_too() {
    for rate in RATES {
        let second = rate as usize;
        let mut far = voice(11, rate, 12.0, -20.0);
        far[3 * second..3 * second + second / 2].fill(0.0);
        for gain in [0.3, 1.0] {
            let echo: Vec<f32> = far.iter().map(|sample| sample * gain).collect();
            let cleaned = clean(rate, &echo, &far).samples;
            let lost = each_second(rate, &echo, &cleaned);
            assert!(
                lost[2..].iter().all(|&db| db >= 30.0),
                "{rate} Hz: {lost:?}"
            );
        }
    }
}

#[test]
fn other_rates_are_refused() {
    for rate in [0, 8_000, 24_000, 44_100, 96_000] {
        let error = Canceller::new(rate, Options::default()).expect_err("a rate it doesn't take");
        assert!(error.to_string().contains("16000 or 48000"), "{error}");
    }
}

/// The energy in each frame that is loud enough to be heard, before and after.
fn loud_frames(rate: u32, echo: &[f32], cleaned: &[f32], from: usize) -> Vec<f64> {
    let frame = rate as usize / 100;
    let both = echo.chunks_exact(frame).zip(cleaned.chunks_exact(frame));
    let heard = both.skip(from / frame).take(120);
    let loud = heard.filter(|(echo, _)| energy(echo) > 1e-5 * frame as f64);
    loud.map(|(echo, cleaned)| reduction_db(echo, cleaned))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// For a while it isn't known what was played, as where the far end's cycles were missed: its
    /// echo stays as soft as another, is no voice, and windows say that it wasn't expected. A voice
    /// beside it is heard as well afterwards as without.
    #[test]
    fn an_echo_of_what_is_not_known_is_no_voice(
        seed in 1_u64..100,
        is_wide in any::<bool>(),
        delay_ms in 0.0..250.0_f64,
        reverberation_ms in 0.0..350.0_f64,
        after_s in 3.0..5.0_f64,
        hole_ms in 1_usize..200,
        speaks in any::<bool>(),
    ) {
        let rate = RATES[usize::from(is_wide)];
        let room = Room { seed, delay_ms, reverberation_ms, ..Room::default() };
        let far = voice(seed, rate, 7.0, -20.0);
        let echo = add(&room.echo(rate, &far), &hiss(far.len()));
        let mut known = far.clone();
        let begin = (after_s * f64::from(rate)) as usize;
        known[begin..begin + hole_ms * rate as usize / 1000].fill(f32::NAN);
        let frame = rate as usize / 100;
        if speaks {
            let near = voice(seed + 1000, rate, 7.0, -20.0);
            // As long as the filter remembers.
            let after = begin + (hole_ms + 400) * rate as usize / 1000;
            let heard = add(&echo, &near);
            let second = |far: &[f32]| {
                let cleaned = clean(rate, &heard, far).samples;
                cleaned[after..after + rate as usize].to_vec()
            };
            let lost_db = reduction_db(&second(&far), &second(&known));
            prop_assert!(lost_db < 6.0, "{lost_db:.1} dB of a voice");
            return Ok(());
        }
        let cleaned = clean(rate, &echo, &known);
        let softer = loud_frames(rate, &echo, &cleaned.samples, begin);
        let worst = softer.into_iter().fold(f64::MAX, f64::min);
        prop_assert!(worst > 10.0, "{worst:.1} dB of an echo");
        let windows = &cleaned.windows[begin / frame..];
        prop_assert!(!windows.iter().any(|window| window.both));
        prop_assert!(windows.iter().take(40).any(|window| window.converging));
    }
}
