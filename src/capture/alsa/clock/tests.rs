use proptest::prelude::*;

use super::*;

const RATE: u32 = 48_000;

fn ns(frames: u64) -> i64 {
    (frames * 1_000_000_000 / u64::from(RATE)) as i64
}

/// What `line` makes of a time that the driver gives at every look.
fn measure(line: &mut ClockEstimator, position: u64, measured_ns: i64) -> u64 {
    let mut looks = (0..LOOKS).map(|_| line.measure(position, measured_ns));
    looks.find_map(|lost| lost).expect("so many looks decide")
}

/// A clock that is off by so much, and how far off its estimated times are: pairs of the
/// seconds since it began and nanoseconds. `late` says of a measurement by how much it is.
fn estimated(
    ppm: f64,
    period: u64,
    seconds: f64,
    late: impl Fn(usize, f64) -> i64,
) -> Vec<(f64, i64)> {
    let mut line = ClockEstimator::new(RATE, 8192, period as usize);
    let times = (seconds * f64::from(RATE)) as u64 / period;
    let measured = (0..times).map(|number| {
        let position = number * period;
        let at = ns(position) as f64 * 1e-9;
        let true_ns = ns(position) + (at * ppm * 1e3) as i64;
        let lost = measure(&mut line, position, true_ns + late(number as usize, at));
        assert_eq!(lost, 0);
        (at, line.time_ns(position) - true_ns)
    });
    measured.collect()
}

proptest! {
    /// Clocks off by up to 500 ppm, a thread that is late by up to 5 ms, nearly always or
    /// now and then: within a quarter of a sample once the line is found, and never far off.
    #[test]
    fn jitter_is_smoothed_and_drift_followed(
        ppm in -500.0..500.0_f64,
        period in 64_u64..2048,
        often in 0.0..0.8_f64,
        late in prop::collection::vec((0.0..1.0_f64, 0..5_000_000_i64), 311),
    ) {
        let late = |number: usize, _| {
            let (chance, late) = late[number % late.len()];
            if chance < often { late } else { 0 }
        };
        for (at, off) in estimated(ppm, period, 16.0, late) {
            let most = match at {
                0.0..2.0 => 6_000_000,
                2.0..4.0 => 500_000,
                4.0..8.0 => 20_000,
                _ => 5_000,
            };
            prop_assert!(off.abs() < most, "{} ns at {} s", off, at);
        }
    }

    /// What delays each time for a second or more, as another thread that is due at the
    /// same moments does, moves no time by a fifth of a sample.
    #[test]
    fn a_while_of_late_times_only_changes_nothing(
        ppm in -500.0..500.0_f64,
        period in 64_u64..2048,
        begin in 4.0..6.0_f64,
        length in 0.0..1.5_f64,
        late in 0..5_000_000_i64,
    ) {
        let is_late = |at: f64| (begin..begin + length).contains(&at);
        let late = |_, at| if is_late(at) { late } else { 0 };
        for (at, off) in estimated(ppm, period, 9.0, late) {
            prop_assert!(at < 4.0 || off.abs() < 4_000, "{} ns at {} s", off, at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// As threads wake on a busy machine: late by 10 to 20 us, or by up to ten milliseconds,
    /// and hardly ever by less. The times stay within half a sample then, though the clock
    /// warms up by as much as 1 ppm in two minutes.
    #[test]
    fn rare_times_that_are_early_move_no_line(
        ppm in -300.0..300.0_f64,
        warming in -0.5..0.5_f64,
        period in 64_u64..1024,
        often in 0.0..0.7_f64,
        wakes in prop::collection::vec([0.0..1.0_f64, 0.0..1.0, 0.0..1.0], 4999),
    ) {
        let late = |number: usize, at: f64| {
            let [seldom, chance, one] = wakes[number % wakes.len()];
            let [another, ..] = wakes[number * 7 % wakes.len()];
            let usual_ns = 10_000.0 + 5_000.0 * (one + another);
            let late_ns = match seldom < 0.003 {
                true => 10_000.0 * one,
                false if chance < often => usual_ns + (50_000.0 / (1.0 - one)).min(1e7),
                false => usual_ns,
            };
            (late_ns + warmed_ns(warming, at)) as i64
        };
        let off = estimated(ppm, period, 100.0, late).into_iter();
        let off = off.filter(|(at, _)| *at > 16.0);
        let off = off.map(|(at, off)| off as f64 - warmed_ns(warming, at));
        let (least, most) = off.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), off| {
            (off.min(least), off.max(most))
        });
        prop_assert!(most - least < 10_000.0, "{least} to {most} ns");
    }
}

proptest! {
    /// A machine that stands still between the driver's reading of its counter and of the clock,
    /// at any look and for any time: what it tells of a frame is late then. As long as one look
    /// of [`LOOKS`] is in time no frame too many is lost, whether the stream had been stopped
    /// or not, and no time is off.
    #[test]
    fn a_machine_that_stands_still_at_a_look_loses_nothing(
        ppm in -300.0..300.0_f64,
        buffer in 256_u64..16_384,
        periods in 2_u64..32,
        stops in prop::collection::vec(prop::option::of(0..5_000_000_000_i64), 1..20),
        still in prop::collection::vec(
            (0..LOOKS as usize, prop::collection::vec(0..900_000_000_i64, LOOKS as usize)),
            1..40,
        ),
    ) {
        let period = (buffer / periods).max(16);
        let mut line = ClockEstimator::new(RATE, buffer as usize, period as usize);
        let (mut position, mut stood_ns, mut still) = (0, 0_i64, still.iter().cycle());
        // Half a second of audio, or a stretch in which the stream is stopped and begins again.
        for stop in [None].into_iter().chain(stops) {
            let mut told = 0;
            let before = position;
            if let Some(stop) = stop {
                line.restart();
                stood_ns += stop;
            }
            for _ in 0..(u64::from(RATE) / 2 / period).max(1) {
                let true_ns = (ns(position) as f64 * (1.0 + ppm * 1e-6)) as i64 + stood_ns;
                let (in_time, late) = still.next().unwrap();
                let times = late.iter().enumerate();
                let times = times.map(|(look, late)| if look == *in_time { 0 } else { *late });
                let mut looks = times.map(|late| line.measure(position, true_ns + late));
                let lost = looks.find_map(|lost| lost).unwrap();
                told += lost;
                // What is told is taken for gone.
                stood_ns -= ns(lost);
                position += lost;
                let off = line.time_ns(position) - true_ns;
                prop_assert!(off.abs() < JITTER_NS, "{} ns", off);
                position += period;
            }
            // As the line is laid through times that may be late by less than is looked at again.
            let most_ns = stop.unwrap_or(0) + 2 * JITTER_NS;
            prop_assert!(ns(told) <= most_ns, "{} of {:?} from {}", told, stop, before);
        }
    }
}

/// How far behind its nominal rate a clock is whose rate changes by so many ppm in a minute.
fn warmed_ns(ppm: f64, at: f64) -> f64 {
    at * at / 2.0 * ppm / 60.0 * 1e3
}

#[test]
fn a_frame_that_nobody_takes_is_measured_in_vain() {
    let mut line = ClockEstimator::new(RATE, 8192, 128);
    for number in 0..4000 {
        let position = number / 8 * 1024;
        let late = (number % 8) as i64 * 500_000;
        measure(&mut line, position, ns(position) + late);
        let off = line.time_ns(position) - ns(position);
        assert!(off.abs() < 100_000, "{off} ns at {number}");
    }
}

#[test]
fn a_restart_loses_exactly_the_time_that_passed() {
    let mut line = ClockEstimator::new(RATE, 8192, 128);
    measure(&mut line, 0, 1_000);
    measure(&mut line, 128, 1_000 + ns(128));
    line.restart();
    assert_eq!(measure(&mut line, 256, 1_000 + ns(256 + 333)), 333);
    assert_eq!(
        measure(&mut line, 256 + 333 + 128, 1_000 + ns(256 + 333 + 128)),
        0
    );
    line.restart();
    assert_eq!(measure(&mut line, 800, ns(10)), 0, "never backwards");
}

#[test]
fn a_driver_that_slept_loses_whole_buffers() {
    let mut line = ClockEstimator::new(RATE, 8192, 128);
    measure(&mut line, 0, 0);
    assert_eq!(measure(&mut line, 128, ns(128 + 2 * 8192)), 2 * 8192);
    let position = 128 + 2 * 8192;
    assert_eq!(
        measure(&mut line, position + 128, ns(position + 128 + 6000)),
        6000
    );
    assert_eq!(
        measure(&mut line, position + 6256, ns(position + 6256 + 2000)),
        0,
        "late, but no loss"
    );
}
