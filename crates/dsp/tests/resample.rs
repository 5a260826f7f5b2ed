//! The resampler from outside: tones through every rate, and blocks cut anywhere.

use std::f64::consts::TAU;

use proptest::prelude::*;
use v2m_dsp::resample::{OUTPUT_RATE, Resampler, Skipped};

/// The rates the bands are specified for.
const SPECIFIED: [u32; 6] = [44_100, 48_000, 88_200, 96_000, 176_400, 192_000];
/// Output samples measured: every multiple of 20 Hz is periodic in it.
const WINDOW: usize = 800;
/// Full scale to 80 dB down.
const MINUS_80_DB: f64 = 1e-4;

fn resampler(rate: u32) -> Resampler {
    Resampler::new(rate).unwrap()
}

/// Everything that `blocks` make come out.
fn run<'a>(resampler: &mut Resampler, blocks: impl IntoIterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut all = Vec::new();
    for block in blocks {
        let mut out = vec![f32::NAN; resampler.max_output(block.len())];
        let n = resampler.process(block, &mut out);
        all.extend_from_slice(&out[..n]);
    }
    all
}

/// `window` samples of steady-state output for an input `signal(t in seconds)`,
/// and the number of the first of them.
fn steady(rate: u32, window: usize, signal: impl Fn(f64) -> f64) -> (usize, Vec<f32>) {
    let mut resampler = resampler(rate);
    let lead = resampler.settling();
    let outputs = lead + window + lead;
    let inputs = outputs as u64 * u64::from(rate) / u64::from(OUTPUT_RATE);
    let input: Vec<f32> = (0..inputs)
        .map(|i| signal(i as f64 / f64::from(rate)) as f32)
        .collect();
    let out = run(&mut resampler, input.chunks(256));
    (lead, out[lead..lead + window].to_vec())
}

/// Amplitude and phase (of a sine) at `hertz`, a multiple of 20, in outputs
/// counted from `first`.
fn measure(hertz: f64, first: usize, out: &[f32]) -> (f64, f64) {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, &y) in (first..).zip(out) {
        let angle = TAU * hertz * n as f64 / f64::from(OUTPUT_RATE);
        re += f64::from(y) * angle.sin();
        im += f64::from(y) * angle.cos();
    }
    let scale = 2.0 / out.len() as f64;
    ((re * scale).hypot(im * scale), im.atan2(re))
}

fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

fn wrap(phase: f64) -> f64 {
    phase - TAU * (phase / TAU).round()
}

/// For every multiple of 20 Hz up to `top`, all sounding at once: the gain in
/// dB and the phase error in radians against the undelayed tone.
fn response(rate: u32, top: f64) -> Vec<(f64, f64, f64)> {
    let tones: Vec<(f64, f64)> = (1..=(top / 20.0) as u32)
        .map(|k| (20.0 * f64::from(k), wrap(f64::from(k * k) * 0.9)))
        .collect();
    let amplitude = 1.0 / tones.len() as f64;
    let (first, out) = steady(rate, WINDOW, |t| {
        tones
            .iter()
            .map(|(hertz, phase)| (TAU * hertz * t + phase).sin())
            .sum::<f64>()
            * amplitude
    });
    tones
        .iter()
        .map(|&(hertz, phase)| {
            let (a, p) = measure(hertz, first, &out);
            (hertz, decibels(a / amplitude), wrap(p - phase))
        })
        .collect()
}

#[test]
fn the_pass_band_is_flat_and_aligned() {
    for rate in SPECIFIED {
        for (hertz, gain, phase) in response(rate, 7000.0) {
            assert!(
                gain.abs() <= 0.1,
                "{rate} Hz input: {gain:.3} dB at {hertz} Hz"
            );
            let late = -phase / (TAU * hertz);
            assert!(
                late.abs() <= 0.06e-3,
                "{rate} Hz input: {late:.2e} s late at {hertz} Hz"
            );
        }
    }
}

#[test]
fn the_group_delay_stays_below_two_thirds_of_a_millisecond() {
    let compensated = resampler(48_000).delay_ns() as f64 * 1e-9;
    let tones = response(48_000, 7000.0);
    let ends = [(tones[0].0, -tones[0].2 / (TAU * tones[0].0))];
    let between = tones.windows(2).map(|pair| {
        let [(low, _, before), (high, _, after)] = pair else {
            unreachable!()
        };
        (*high, -wrap(after - before) / (TAU * (high - low)))
    });
    for (hertz, late) in ends.into_iter().chain(between) {
        assert!(
            compensated + late <= 0.66e-3,
            "{late:.2e} s beyond {compensated} s at {hertz} Hz"
        );
        assert!(
            late.abs() <= 0.11e-3,
            "group delay off by {late:.2e} s at {hertz} Hz"
        );
    }
}

#[test]
fn an_output_comes_out_with_the_last_sample_it_needs() {
    for rate in SPECIFIED {
        let mut resampler = resampler(rate);
        let needed = resampler.delay_ns() as f64 * 1e-9 * f64::from(rate);
        let needed = needed.round() as usize;
        assert!(
            resampler.delay_ns() <= 660_000,
            "{rate} Hz: {} ns",
            resampler.delay_ns()
        );
        assert_eq!(
            run(&mut resampler, [&vec![0.5; needed][..]]).len(),
            0,
            "{rate} Hz"
        );
        assert_eq!(run(&mut resampler, [&[0.5][..]]).len(), 1, "{rate} Hz");
    }
    assert_eq!(resampler(48_000).delay_ns(), 625_000);
    assert_eq!(resampler(16_000).delay_ns(), 0);
}

#[test]
fn what_would_alias_is_eighty_decibels_down() {
    for rate in SPECIFIED {
        let nyquist = f64::from(rate) / 2.0;
        let near = (0..20).map(|k| 8000.0 + 97.0 * f64::from(k));
        let far = (0..=30).map(|k| 10_000.0 + (nyquist - 10_000.0) * f64::from(k) / 30.0);
        let onto_dc = (1..=6)
            .map(|k| 16_000.0 * f64::from(k))
            .filter(|f| *f <= nyquist);
        for hertz in near.chain(far).chain(onto_dc) {
            let (_, out) = steady(rate, 128, |t| (TAU * hertz * t + 1.0).sin());
            let peak = out
                .iter()
                .fold(0.0, |peak: f64, y| peak.max(f64::from(y.abs())));
            assert!(
                peak <= MINUS_80_DB,
                "{rate} Hz input: {hertz:.0} Hz leaves {:.1} dB",
                decibels(peak)
            );
        }
    }
}

/// Rates outside the specified range, with exact and with interpolated phases:
/// nothing but the tone itself comes out.
#[test]
fn odd_rates_are_clean_too() {
    for rate in [
        8_000, 11_025, 12_345, 16_001, 22_050, 24_000, 32_000, 44_101, 384_000,
    ] {
        for fraction in [0.01, 0.3, 0.7, 1.0] {
            let top = 7000.0 * f64::from(rate.min(OUTPUT_RATE)) / f64::from(OUTPUT_RATE);
            let hertz = 20.0 * (top * fraction / 20.0).floor();
            let (first, out) = steady(rate, WINDOW, |t| (TAU * hertz * t).sin());
            let (amplitude, phase) = measure(hertz, first, &out);
            assert!(
                decibels(amplitude).abs() <= 0.1,
                "{rate} Hz: {amplitude} at {hertz} Hz"
            );
            let late = -phase / (TAU * hertz) * f64::from(rate.min(OUTPUT_RATE)) / 16e3;
            assert!(
                late.abs() <= 0.06e-3,
                "{rate} Hz: {late:.2e} s late at {hertz} Hz"
            );
            for (n, &y) in (first..).zip(&out) {
                let tone =
                    amplitude * (TAU * hertz * n as f64 / f64::from(OUTPUT_RATE) + phase).sin();
                let rest = (f64::from(y) - tone).abs();
                assert!(
                    rest <= MINUS_80_DB,
                    "{rate} Hz: {:.1} dB at {hertz} Hz",
                    decibels(rest)
                );
            }
        }
    }
}

#[test]
fn sixteen_kilohertz_passes_bit_for_bit() {
    let input = [0.1, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, -1.5];
    let mut resampler = resampler(16_000);
    assert_eq!(bits(&run(&mut resampler, [&input[..]])), bits(&input));
    let skipped = resampler.skip(7, &mut []);
    assert_eq!(
        skipped,
        Skipped {
            written: 0,
            then_zeros: 7
        }
    );
    assert_eq!(resampler.settling(), 0);
}

#[test]
fn rates_out_of_range_are_refused() {
    for rate in [0, 1, 7_999, 384_001, u32::MAX] {
        let error = Resampler::new(rate).unwrap_err();
        assert_eq!(error.kind(), v2m_dsp::ErrorKind::Invalid);
        assert!(error.to_string().contains("8000 to 384000"), "{error}");
    }
}

#[test]
fn a_sample_that_is_not_finite_passes() {
    let mut resampler = resampler(44_100);
    let out = run(&mut resampler, [&[f32::NAN][..], &[0.25; 4000][..]]);
    assert!(out[0].is_nan());
    assert!(out[resampler.settling()..].iter().all(|y| y.is_finite()));
}

#[test]
fn any_loss_is_skipped_at_once() {
    for rate in [8_000, 44_100, 44_101, 48_000, 384_000] {
        let mut resampler = resampler(rate);
        let mut out = vec![0.0; resampler.settling()];
        let missing = u64::MAX / 2;
        let mut zeros = 0u128;
        for _ in 0..3 {
            let skipped = resampler.skip(missing, &mut out);
            zeros += skipped.written as u128 + u128::from(skipped.then_zeros);
        }
        let whole = u128::from(missing) * 3 * u128::from(OUTPUT_RATE) / u128::from(rate);
        let ahead = resampler.delay_ns() as u128 * u128::from(OUTPUT_RATE) / 1_000_000_000;
        assert!(whole - zeros <= ahead + 1, "{rate} Hz: {zeros} of {whole}");
    }
}

fn bits(samples: &[f32]) -> Vec<u32> {
    samples.iter().map(|s| s.to_bits()).collect()
}

/// Noise, the same for the same `seed`.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut x = seed | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn any_rate() -> impl Strategy<Value = u32> {
    prop_oneof![
        prop::sample::select(vec![
            8_000, 11_025, 16_000, 32_000, 44_100, 48_000, 96_000, 192_000
        ]),
        8_000u32..50_000,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_cut_into_blocks_changes_no_bit(
        rate in any_rate(),
        seed: u64,
        lengths in prop::collection::vec(prop_oneof![0usize..4, 0usize..1500], 1..8),
    ) {
        let input = noise(seed, lengths.iter().sum());
        let mut rest = &input[..];
        let blocks = lengths.iter().map(|&n| {
            let (block, later) = rest.split_at(n);
            rest = later;
            block
        });
        let cut = run(&mut resampler(rate), blocks);
        let whole = run(&mut resampler(rate), [&input[..]]);
        prop_assert_eq!(bits(&cut), bits(&whole));
    }

    #[test]
    fn skipping_equals_zeros(
        rate in any_rate(),
        seed: u64,
        before in 0usize..2000,
        missing in prop_oneof![0usize..300, 0usize..5_000],
    ) {
        let (first, second) = (noise(seed, before), noise(!seed, 1500));
        let mut fed = resampler(rate);
        let expected = run(&mut fed, [&first[..], &vec![0.0; missing][..], &second[..]]);

        let mut skipping = resampler(rate);
        let mut got = run(&mut skipping, [&first[..]]);
        let mut tail = vec![f32::NAN; skipping.settling()];
        let Skipped { written, then_zeros } = skipping.skip(missing as u64, &mut tail);
        got.extend_from_slice(&tail[..written]);
        got.resize(got.len() + then_zeros as usize, 0.0);
        got.extend(run(&mut skipping, [&second[..]]));
        prop_assert_eq!(bits(&got), bits(&expected));
    }

    #[test]
    fn reset_is_as_new(rate in any_rate(), seed: u64, before in 0usize..3000, lost in 0u64..9000) {
        let (first, second) = (noise(seed, before), noise(!seed, 1500));
        let mut used = resampler(rate);
        run(&mut used, [&first[..]]);
        let mut tail = vec![0.0; used.settling()];
        used.skip(lost, &mut tail);
        used.reset();
        prop_assert_eq!(
            bits(&run(&mut used, [&second[..]])),
            bits(&run(&mut resampler(rate), [&second[..]]))
        );
    }
}
