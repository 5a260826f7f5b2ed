//! What the network is given where it hears better, and that nothing but the audio decides it.
//! What it finds then is measured on speech in `tests/python/test_hearing.py`.

use std::f64::consts::TAU;

use proptest::prelude::*;
use v2m_dsp::vad::hearing::{Conditioner, Enhanced, Hearing};
use v2m_dsp::vad::native::Native;
use v2m_dsp::vad::recording::Recording;
use v2m_dsp::vad::{Model, SAMPLE_RATE, WINDOW};

/// Sixty decibels.
const HIGHEST_GAIN: f64 = 1000.0;
/// RMS from which on nothing is amplified: -36 dBFS.
const ENOUGH: f64 = 0.015_85;

fn golden() -> Vec<f32> {
    let bytes = include_bytes!("../../../tests/data/vad_golden.i16").as_chunks();
    let sample = |b: &[u8; 2]| f32::from(i16::from_le_bytes(*b)) / 32768.0;
    bytes.0.iter().map(sample).collect()
}

/// Speech, three seconds of it, and the noise of its room.
fn speech() -> Vec<f32> {
    golden()[..48_000 / WINDOW * WINDOW].to_vec()
}

fn conditioned(samples: &[f32]) -> Vec<f32> {
    let mut conditioner = Conditioner::new(SAMPLE_RATE);
    let mut out = samples.to_vec();
    for window in out.as_chunks_mut::<WINDOW>().0 {
        conditioner.condition(window);
    }
    out
}

/// What the high-pass alone makes of it: nothing is amplified that is so loud.
fn filtered(samples: &[f32]) -> Vec<f32> {
    let loud: Vec<f32> = samples.iter().map(|x| 1e9 * x).collect();
    conditioned(&loud).iter().map(|x| 1e-9 * x).collect()
}

fn sine(hertz: f64, amplitude: f64, seconds: f64) -> Vec<f32> {
    let step = TAU * hertz / f64::from(SAMPLE_RATE);
    let samples = (seconds * f64::from(SAMPLE_RATE)) as usize / WINDOW * WINDOW;
    (0..samples)
        .map(|n| (amplitude * (step * n as f64).sin()) as f32)
        .collect()
}

fn rms(samples: &[f32]) -> f64 {
    let sum: f64 = samples.iter().map(|&x| f64::from(x).powi(2)).sum();
    (sum / samples.len() as f64).sqrt()
}

fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

#[test]
fn only_what_is_below_any_voice_is_taken_away() {
    // So loud that nothing is amplified, whatever the filter leaves of it.
    let level = |hertz: f64| {
        let (before, after) = (
            sine(hertz, 1000.0, 4.0),
            conditioned(&sine(hertz, 1000.0, 4.0)),
        );
        // The filter has settled after the first second.
        decibels(rms(&after[16_384..]) / rms(&before[16_384..]))
    };
    for hertz in (10..400).step_by(7).chain((400..8000).step_by(150)) {
        let hertz = f64::from(hertz);
        // Butterworth of fourth order at 80 Hz, by the bilinear transform.
        let warped = |f: f64| (TAU * f / 32_000.0).tan();
        let expected = -10.0 * (1.0 + (warped(80.0) / warped(hertz)).powi(8)).log10();
        let found = level(hertz);
        assert!(
            (found - expected).abs() < 0.05,
            "{hertz} Hz: {found:.2} dB, not {expected:.2}"
        );
    }
    assert!(level(100.0) > -0.8 && level(50.0) < -16.0 && level(20.0) < -48.0);
}

#[test]
fn a_voice_that_is_loud_enough_keeps_its_level_through_its_pauses() {
    // Twice, with a second and a half of its room's noise in between.
    let pause = sine(3000.0, 1e-4, 1.5);
    let once = [speech(), pause].concat();
    let found = conditioned(&[once.clone(), speech()].concat());
    let windows = filtered(&speech());
    let windows = windows
        .chunks(WINDOW)
        .zip(found[once.len()..].chunks(WINDOW));
    for (n, (before, after)) in windows.enumerate() {
        let gain = decibels(rms(after) / rms(before));
        let most = if rms(before) > ENOUGH { 0.5 } else { 6.0 };
        assert!(gain > -0.5 && gain < most, "window {n}: {gain}");
    }
}

#[test]
fn a_loud_window_is_not_amplified_by_the_quiet_before_it() {
    let mut samples = sine(1000.0, 1e-4, 5.0);
    let quiet = samples.len();
    samples.extend(sine(1000.0, 0.1, 1.0));
    let found = conditioned(&samples);
    let amplified = decibels(rms(&found[quiet / 2..quiet]) / rms(&samples[quiet / 2..quiet]));
    assert!(
        (decibels(ENOUGH / (1e-4 / 2f64.sqrt())) - amplified).abs() < 0.1,
        "{amplified}"
    );
    let first = decibels(rms(&found[quiet..quiet + WINDOW]) / rms(&samples[quiet..quiet + WINDOW]));
    assert!(first.abs() < 0.1, "{first}");
}

#[test]
fn after_loud_audio_the_gain_comes_back_by_six_decibels_a_second() {
    let mut samples = sine(1000.0, 0.5, 1.0);
    let loud = samples.len();
    samples.extend(sine(1000.0, 1e-4, 20.0));
    let found = conditioned(&samples);
    // From -9 dBFS down to -36 nothing happens.
    for (seconds, expected) in [(4.0, 0.0), (5.5, 6.0), (7.5, 18.0), (19.0, 47.0)] {
        let at = loud + (seconds * 16_000.0) as usize / WINDOW * WINDOW;
        let gain = decibels(rms(&found[at..at + WINDOW]) / rms(&samples[at..at + WINDOW]));
        assert!(
            (gain - expected).abs() < 0.4,
            "after {seconds} s {gain:.1} dB, not {expected}"
        );
    }
}

#[test]
fn what_is_no_number_is_silence_and_poisons_nothing() {
    let silent = {
        let mut samples = speech();
        samples[9000..9700].fill(0.0);
        samples
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
        let mut samples = speech();
        samples[9000..9700].fill(bad);
        assert_eq!(conditioned(&samples), conditioned(&silent));
        let mut model = Enhanced::new(Box::new(Native::new()));
        for window in samples[8192..10_240].as_chunks().0 {
            assert!(model.probability(window).unwrap().is_finite());
        }
        assert_eq!(model.unusable_samples(), 700);
        model.reset();
        assert_eq!(model.unusable_samples(), 700);
    }
    // The largest that is taken is over after a moment, too.
    let mut samples = speech();
    samples[9000] = 1e12;
    let found = conditioned(&samples);
    assert!(found.iter().all(|x| x.is_finite()));
    assert!(rms(&found[20_480..]) > 0.9 * rms(&samples[20_480..]));
}

#[test]
fn silence_ends_in_zeros_and_not_in_ever_smaller_numbers() {
    let mut samples = speech();
    samples.resize(samples.len() + 4 * 16_384, 0.0);
    let found = conditioned(&samples);
    assert!(found[found.len() - WINDOW..].iter().all(|&x| x == 0.0));
    assert!(
        found
            .iter()
            .all(|&x| x == 0.0 || x.abs() > f32::MIN_POSITIVE)
    );
}

#[test]
fn a_recording_is_heard_as_a_stream_is() {
    let samples = &golden()[..70 * WINDOW];
    for hearing in [Hearing::Plain, Hearing::Enhanced] {
        let mut model = hearing.apply(Box::new(Native::new()));
        let windows = samples.as_chunks().0;
        let expected: Vec<f32> = windows
            .iter()
            .map(|w| model.probability(w).unwrap())
            .collect();
        let mut recording = Recording::with_hearing(SAMPLE_RATE, hearing).unwrap();
        // Twice: as new after the end.
        for piece in [samples.len(), 777] {
            let mut found = Vec::new();
            for piece in samples.chunks(piece) {
                recording.push(piece, &mut found);
            }
            recording.finish(&mut found);
            assert_eq!(found.len(), expected.len());
            for (n, (a, b)) in found.iter().zip(&expected).enumerate() {
                assert!((a - b).abs() < 1e-5, "{hearing:?}, window {n}: {a} and {b}");
            }
        }
    }
}

#[test]
fn after_a_reset_everything_is_as_at_first() {
    let samples = golden();
    let mut model = Enhanced::new(Box::new(Native::new()));
    let mut hear = || -> Vec<f32> {
        model.reset();
        let windows = samples[..60 * WINDOW].as_chunks().0;
        windows
            .iter()
            .map(|w| model.probability(w).unwrap())
            .collect()
    };
    assert_eq!(hear(), hear());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From the first sample on, at any offset that leaves the voice within full scale.
    #[test]
    fn dc_is_not_heard(offset in -0.9f32..0.9, gain in 0.001f32..0.1) {
        let voice: Vec<f32> = speech().iter().map(|x| gain * x).collect();
        let offset: Vec<f32> = voice.iter().map(|x| x + offset).collect();
        for (a, b) in conditioned(&offset).iter().zip(conditioned(&voice)) {
            // What the offset rounds away, amplified.
            prop_assert!((a - b).abs() < 1e-3, "{a} and {b}");
        }
    }

    /// Where all of it is weak, and no more than the highest gain is needed.
    #[test]
    fn weak_audio_is_heard_as_any_other(gain in -55.0f64..-30.0) {
        let tone = sine(3000.0, 0.1, 3.0);
        let at = |gain: f64| -> Vec<f32> {
            let factor = 10f64.powf(gain / 20.0) as f32;
            let both = speech().into_iter().zip(&tone).map(|(a, b)| factor * (a + b));
            conditioned(&both.collect::<Vec<_>>())
        };
        for (a, b) in at(gain).iter().zip(at(-50.0)) {
            prop_assert!((a - b).abs() < 1e-4 + 1e-3 * b.abs(), "{a} and {b}");
        }
    }

    /// Whatever comes: never weakened, never amplified beyond the highest gain or beyond what is
    /// loud enough.
    #[test]
    fn the_gain_has_its_bounds(levels in prop::collection::vec(-140.0f32..0.0, 1..30)) {
        let tone = sine(1000.0, 2f64.sqrt(), 1.0);
        let windows = tone.chunks(WINDOW).zip(levels);
        let samples: Vec<f32> = windows
            .flat_map(|(window, level)| window.iter().map(move |x| x * 10f32.powf(level / 20.0)))
            .collect();
        let (filtered, found) = (filtered(&samples), conditioned(&samples));
        for (before, after) in filtered.chunks(WINDOW).zip(found.chunks(WINDOW)) {
            let (before, after) = (rms(before), rms(after));
            let gain = after / before;
            prop_assert!(gain > 0.999 && gain < 1.001 * HIGHEST_GAIN, "{before}: {gain}");
            prop_assert!(after < 1.001 * before.max(ENOUGH), "{before}: {after}");
        }
    }
}
