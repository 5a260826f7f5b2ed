//! The preamplifier does what was asked for, whatever comes, and nothing else.

use std::f64::consts::TAU;

use proptest::prelude::*;
use v2m_dsp::preamp::{Gain, HIGHEST_HZ, Preamp, Settings};

const RATE: u32 = 48_000;

fn settings(gain: f64, highpass: u32) -> Settings {
    Settings {
        gain: Gain::new(gain).unwrap(),
        highpass,
    }
}

/// What becomes of `samples`, in pieces of the given sizes, again and again.
fn through(settings: Settings, samples: &[f32], sizes: &[usize]) -> Vec<f32> {
    let mut preamp = Preamp::new(settings).unwrap();
    preamp.begin(RATE);
    let (mut done, mut sizes) = (Vec::new(), sizes.iter().cycle());
    while done.len() < samples.len() {
        let rest = &samples[done.len()..];
        let piece = &rest[..rest.len().min(*sizes.next().unwrap())];
        let mut out = vec![0.0; piece.len()];
        done.extend_from_slice(preamp.process(piece, &mut out));
    }
    done
}

fn tone(hz: f64, count: usize) -> Vec<f32> {
    (0..count)
        .map(|n| (0.1 * (TAU * hz * n as f64 / f64::from(RATE)).sin()) as f32)
        .collect()
}

fn level_db(samples: &[f32]) -> f64 {
    let energy: f64 = samples.iter().map(|&x| f64::from(x).powi(2)).sum();
    10.0 * (energy / samples.len() as f64).log10()
}

#[test]
fn who_asks_for_nothing_has_none() {
    assert!(Preamp::new(settings(0.0, 0)).is_none());
}

#[test]
fn other_gains_are_refused() {
    for text in ["60.01", "-61", "NaN", "inf", "", "6 dB", "6,5"] {
        assert!(text.parse::<Gain>().is_err(), "{text}");
    }
    for (text, db) in [("6", 6.0), ("-2.5", -2.5), ("+60", 60.0), ("0", 0.0)] {
        assert!((text.parse::<Gain>().unwrap().db() - db).abs() < 1e-9);
    }
}

proptest! {
    #[test]
    fn a_gain_is_a_factor(gain in -60.0..60.0f64, samples in prop::collection::vec(-1.0f32..1.0, 1..500)) {
        prop_assume!(gain.abs() >= 0.01);
        let louder = through(settings(gain, 0), &samples, &[7, 480]);
        let factor = 10f64.powf((gain * 100.0).round() / 2000.0);
        for (sample, louder) in samples.iter().zip(louder) {
            let wanted = factor * f64::from(*sample);
            prop_assert!((f64::from(louder) - wanted).abs() <= wanted.abs() * 1e-6, "{} for {}", louder, wanted);
        }
    }

    /// A Butterworth filter of second order, at every frequency: never above 0 dB.
    #[test]
    fn a_highpass_has_its_curve(corner in 5..=HIGHEST_HZ, hz in 20.0..20_000.0f64) {
        let before = tone(hz, RATE as usize);
        let after = through(settings(0.0, corner), &before, &[480]);
        // Past the filter's beginning, in whole seconds' second half.
        let half = RATE as usize / 2;
        let db = level_db(&after[half..]) - level_db(&before[half..]);
        let ratio = ((TAU * f64::from(corner) / f64::from(RATE) / 2.0).tan() / (TAU * hz / f64::from(RATE) / 2.0).tan()).powi(4);
        let wanted = -10.0 * (1.0 + ratio).log10();
        prop_assert!((db - wanted).abs() < 0.1 + 0.01 * wanted.abs(), "{} dB instead of {} at {} Hz", db, wanted, hz);
    }

    /// However the graph cuts it, and whatever DC or nonsense comes along.
    #[test]
    fn pieces_and_nonsense_change_nothing(
        corner in 1..=HIGHEST_HZ,
        dc in -1.0f32..1.0,
        sizes in prop::collection::vec(1usize..600, 1..6),
        nonsense in prop::collection::vec((0usize..4800, prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY])), 0..5),
    ) {
        let mut samples: Vec<f32> = tone(1000.0, 4800).iter().map(|x| x + dc).collect();
        for (at, value) in nonsense {
            samples[at] = value;
        }
        let whole = through(settings(-6.0, corner), &samples, &[600]);
        let cut = through(settings(-6.0, corner), &samples, &sizes);
        for (n, (whole, cut)) in whole.iter().zip(cut).enumerate() {
            prop_assert!(whole.is_finite() && (whole - cut).abs() < 1e-12, "sample {}: {} and {}", n, whole, cut);
        }
    }

    /// DC that was always there is gone with the first sample, not after a thump.
    #[test]
    fn dc_begins_without_a_thump(corner in 1..=HIGHEST_HZ, dc in -1.0f32..1.0) {
        let after = through(settings(0.0, corner), &[dc; 4800], &[1024]);
        prop_assert!(after.iter().all(|x| x.abs() < 1e-5));
    }
}
