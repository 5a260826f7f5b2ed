//! The resampler from outside: all that it does to any frequency, between any rates, and
//! blocks cut anywhere.

use std::f64::consts::TAU;

use proptest::prelude::*;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use v2m_dsp::resample::{Resampler, Skipped};

/// What sound hardware and files have.
const INPUTS: [u32; 16] = [
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 37_800, 44_100, 48_000, 88_200, 96_000,
    176_400, 192_000, 352_800, 384_000,
];
/// What speech software wants.
const OUTPUTS: [u32; 5] = [8_000, 16_000, 24_000, 32_000, 48_000];
/// Ends of the pass band and of the transition, as parts of the slower rate.
const PASS: f64 = 7.0 / 16.0;
const STOP: f64 = 9.0 / 16.0;
/// What a gain may be off in the pass band, and above 0 dB anywhere.
const TOLERANCE_DB: f64 = 0.1;
/// Full scale to 80 dB down.
const MINUS_80_DB: f64 = 1e-4;

/// All pairs of the usual rates that need a filter.
fn pairs() -> impl Iterator<Item = Rates> {
    INPUTS
        .into_iter()
        .flat_map(|input| OUTPUTS.map(|output| (input, output)))
        .filter(|(input, output)| input != output)
}

/// Of the input and of the output.
type Rates = (u32, u32);

fn resampler((input, output): Rates) -> Resampler {
    Resampler::new(input, output).unwrap()
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

fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What an output gets of an input sample, by the time between them, on the finest grid
/// that both rates lie on. It says all about a resampler: a tone of any frequency comes
/// out with the kernel's response there, its aliases and images with the response where
/// they fold from.
struct Kernel {
    values: Vec<f64>,
    /// Points of the grid per second, and per input sample.
    rate: f64,
    per_input: f64,
    /// The value for an output at the very time of the input.
    origin: usize,
}

/// What becomes of a frequency.
struct Response {
    /// As a part of the slower rate.
    frequency: f64,
    gain_db: f64,
    /// Seconds after the time that the samples bear.
    phase_delay: f64,
    group_delay: f64,
}

impl Kernel {
    fn between(input: u32, output: u32) -> Self {
        let common = gcd(input as usize, output as usize);
        let (l, m) = (output as usize / common, input as usize / common);
        let mut resampler = resampler((input, output));
        let ahead = (resampler.delay_ns() as u64 * u64::from(input) / 1_000_000_000) as usize + 2;
        // Impulses that no output hears two of, each at another place among the outputs.
        let mut apart = resampler.settling() * m / l + 2 * ahead;
        while gcd(apart, m) > 1 {
            apart += 1;
        }
        let mut impulses = vec![0.0; m * apart];
        for impulse in impulses.iter_mut().skip(ahead).step_by(apart) {
            *impulse = 1.0;
        }
        let mut values = vec![0.0; apart * l];
        for (n, y) in run(&mut resampler, [&impulses[..]]).iter().enumerate() {
            values[n * m % (apart * l)] = f64::from(*y);
        }
        Self {
            values,
            rate: f64::from(input) * l as f64,
            per_input: l as f64,
            origin: ahead * l,
        }
    }

    /// Seconds from its first value to that for an output at the time of the input.
    fn ahead(&self) -> f64 {
        let first = self.values.iter().position(|y| *y != 0.0).unwrap();
        (self.origin - first) as f64 / self.rate
    }

    /// What becomes of all frequencies, in parts of `slower`.
    fn response(&self, slower: f64) -> Vec<Response> {
        let size = (4 * self.values.len()).next_power_of_two();
        let real = |&re: &f64| Complex { re, im: 0.0 };
        let mut spectrum: Vec<_> = self.values.iter().map(real).collect();
        spectrum.resize(size, Complex::default());
        FftPlanner::new()
            .plan_fft_forward(size)
            .process(&mut spectrum);
        let step = TAU / size as f64;
        let turned =
            |k: usize| spectrum[k] * Complex::from_polar(1.0, step * (k * self.origin) as f64);
        (1..size / 2)
            .map(|k| {
                let (here, before) = (turned(k), turned(k - 1));
                Response {
                    frequency: k as f64 * self.rate / size as f64 / slower,
                    gain_db: decibels(here.norm() / self.per_input),
                    phase_delay: -here.arg() / (step * k as f64) / self.rate,
                    group_delay: -(here * before.conj()).arg() / step / self.rate,
                }
            })
            .collect()
    }
}

#[test]
fn every_frequency_between_all_usual_rates() {
    for (input, output) in pairs() {
        let slower = f64::from(input.min(output));
        let kernel = Kernel::between(input, output);
        let ahead = kernel.ahead();
        // In proportion: what is milliseconds at 16 kHz.
        let ms = |seconds: f64| seconds * slower / 16.0;
        let mut before = f64::INFINITY;
        for Response {
            frequency,
            gain_db,
            phase_delay,
            group_delay,
        } in kernel.response(slower)
        {
            let at = format!("{input} to {output} Hz, at {:.0} Hz", frequency * slower);
            assert!(gain_db <= TOLERANCE_DB, "{at}: {gain_db:+.3} dB");
            if frequency <= PASS {
                assert!(gain_db >= -TOLERANCE_DB, "{at}: {gain_db:+.3} dB");
                let low = frequency <= 0.25;
                let delay = ms(ahead + group_delay);
                let (most, off) = if low { (0.2, 0.015) } else { (0.5, 0.06) };
                assert!(delay <= most, "{at}: a group delay of {delay:.3} ms");
                let late = ms(phase_delay);
                assert!(late.abs() <= off, "{at}: {late:+.3} ms late");
            } else if frequency < STOP {
                assert!(gain_db < before, "{at}: rises to {gain_db:+.3} dB");
                before = gain_db;
            } else {
                assert!(gain_db <= -80.0, "{at}: {gain_db:.1} dB");
            }
        }
    }
}

/// What the frequencies' gains don't say: how far a waveform can peak above its own peak.
#[test]
fn no_signal_comes_out_more_than_2_9_times_as_high() {
    for (input, output) in pairs() {
        let Kernel {
            values, per_input, ..
        } = Kernel::between(input, output);
        for phase in 0..per_input as usize {
            let row = values.iter().skip(phase).step_by(per_input as usize);
            let worst: f64 = row.map(|y| y.abs()).sum();
            assert!(worst <= 2.9, "{input} to {output} Hz: {worst:.2}");
        }
        let mut step = 0.0;
        for y in values {
            step += y / per_input;
            assert!(
                step <= 1.25,
                "{input} to {output} Hz: a step peaks at {step:.2}"
            );
        }
    }
}

#[test]
fn an_output_comes_out_with_the_last_sample_it_needs() {
    for (input, output) in pairs() {
        let mut resampler = resampler((input, output));
        let delay = resampler.delay_ns() as f64 * 1e-9;
        let needed = (delay * f64::from(input)).round() as usize;
        // The filter's own delay, and that of the sample after it.
        let most = 0.146e-3 * 16e3 / f64::from(input.min(output)) + 1.0 / f64::from(input);
        assert!(delay <= most, "{input} to {output} Hz: {delay} s");
        let early = run(&mut resampler, [&vec![0.5; needed][..]]);
        assert_eq!(early.len(), 0, "{input} to {output} Hz");
        let then = run(&mut resampler, [&[0.5][..]]);
        assert!(!then.is_empty(), "{input} to {output} Hz");
    }
    assert_eq!(resampler((48_000, 16_000)).delay_ns(), 125_000);
    assert_eq!(resampler((16_000, 16_000)).delay_ns(), 0);
}

#[test]
fn equal_rates_pass_bit_for_bit() {
    let input = [0.1, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, -1.5];
    for rate in OUTPUTS {
        let mut resampler = resampler((rate, rate));
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
}

#[test]
fn rates_out_of_range_are_refused() {
    for rate in [0, 1, 7_999, 384_001, u32::MAX] {
        for result in [Resampler::new(rate, 16_000), Resampler::new(16_000, rate)] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), v2m_dsp::ErrorKind::Invalid);
            assert!(error.to_string().contains("8000 to 384000"), "{error}");
        }
    }
}

#[test]
fn a_sample_that_is_not_finite_passes() {
    let mut resampler = resampler((44_100, 16_000));
    let out = run(&mut resampler, [&[f32::NAN][..], &[0.25; 4000][..]]);
    assert!(out[0].is_nan());
    assert!(out[resampler.settling()..].iter().all(|y| y.is_finite()));
}

#[test]
fn any_loss_is_skipped_at_once() {
    for (input, output) in pairs().chain([(44_101, 16_000), (16_000, 47_999)]) {
        let mut resampler = resampler((input, output));
        let mut out = vec![0.0; resampler.settling()];
        let missing = u64::MAX / 20;
        let mut zeros = 0u128;
        for _ in 0..3 {
            let skipped = resampler.skip(missing, &mut out);
            zeros += skipped.written as u128 + u128::from(skipped.then_zeros);
        }
        let whole = u128::from(missing) * 3 * u128::from(output) / u128::from(input);
        let ahead = resampler.delay_ns() as u128 * u128::from(output) / 1_000_000_000;
        // Of the next output's interval, too, more than one may be open.
        let open = ahead + u128::from(output.div_ceil(input));
        assert!(
            whole - zeros <= open,
            "{input} to {output} Hz: {zeros} of {whole}"
        );
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

fn any_rates() -> impl Strategy<Value = Rates> {
    prop_oneof![
        (
            prop::sample::select(&INPUTS),
            prop::sample::select(&OUTPUTS)
        ),
        (8_000_u32..=50_000, prop::sample::select(&OUTPUTS)),
        (8_000_u32..=384_000, 8_000_u32..=50_000),
    ]
}

/// The sine of `hertz` in `samples` of `rate`, the first of which is number `first`: its
/// amplitude, and the loudest of what else there is.
fn sine_in(samples: &[f32], first: usize, hertz: f64, rate: f64) -> (f64, f64) {
    let turn = |n: usize| (TAU * hertz * (first + n) as f64 / rate).sin_cos();
    // Least squares: a tone seldom fits into the samples a whole number of times.
    let (mut ss, mut sc, mut cc, mut sy, mut cy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, &y) in samples.iter().enumerate() {
        let ((s, c), y) = (turn(n), f64::from(y));
        ss += s * s;
        sc += s * c;
        cc += c * c;
        sy += s * y;
        cy += c * y;
    }
    let determinant = ss * cc - sc * sc;
    let (a, b) = (
        (cc * sy - sc * cy) / determinant,
        (ss * cy - sc * sy) / determinant,
    );
    let rest = samples.iter().enumerate().map(|(n, &y)| {
        let (s, c) = turn(n);
        (f64::from(y) - a * s - b * c).abs()
    });
    (a.hypot(b), rest.fold(0.0, f64::max))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// With interpolated phases, too.
    #[test]
    fn a_tone_comes_out_as_it_is_or_not_at_all(
        (input, output) in any_rates(),
        part in 0.001_f64..1.0,
        high: bool,
    ) {
        let slower = f64::from(input.min(output));
        // Half of the tones in what is kept.
        let most = if high { f64::from(input) / 2.0 } else { slower * PASS };
        let hertz = part * most;
        let mut resampler = resampler((input, output));
        let lead = resampler.settling();
        let outputs = 2 * lead + 600;
        let inputs = outputs as u64 * u64::from(input) / u64::from(output);
        let tone: Vec<f32> = (0..inputs)
            .map(|i| (TAU * hertz * i as f64 / f64::from(input)).sin() as f32)
            .collect();
        let out = run(&mut resampler, tone.chunks(256));
        let out = &out[lead..lead + 600];
        let peak = out.iter().fold(0.0_f32, |peak, y| peak.max(y.abs()));
        prop_assert!(decibels(f64::from(peak)) <= TOLERANCE_DB, "{peak} at {hertz} Hz");
        if hertz <= slower * PASS {
            let (amplitude, rest) = sine_in(out, lead, hertz, f64::from(output));
            prop_assert!(decibels(amplitude).abs() <= TOLERANCE_DB, "{amplitude} at {hertz} Hz");
            prop_assert!(rest <= MINUS_80_DB, "{:.1} dB at {hertz} Hz", decibels(rest));
        } else if hertz >= slower * STOP {
            let peak = f64::from(peak);
            prop_assert!(peak <= MINUS_80_DB, "{:.1} dB of {hertz} Hz", decibels(peak));
        }
    }

    #[test]
    fn the_cut_into_blocks_changes_no_bit(
        rates in any_rates(),
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
        let cut = run(&mut resampler(rates), blocks);
        let whole = run(&mut resampler(rates), [&input[..]]);
        prop_assert_eq!(bits(&cut), bits(&whole));
    }

    #[test]
    fn skipping_equals_zeros(
        rates in any_rates(),
        seed: u64,
        before in 0usize..2000,
        missing in prop_oneof![0usize..300, 0usize..5_000],
    ) {
        let (first, second) = (noise(seed, before), noise(!seed, 1500));
        let mut fed = resampler(rates);
        let expected = run(&mut fed, [&first[..], &vec![0.0; missing][..], &second[..]]);

        let mut skipping = resampler(rates);
        let mut got = run(&mut skipping, [&first[..]]);
        let mut tail = vec![f32::NAN; skipping.settling()];
        let Skipped { written, then_zeros } = skipping.skip(missing as u64, &mut tail);
        got.extend_from_slice(&tail[..written]);
        got.resize(got.len() + then_zeros as usize, 0.0);
        got.extend(run(&mut skipping, [&second[..]]));
        prop_assert_eq!(bits(&got), bits(&expected));
    }

    #[test]
    fn reset_is_as_new(rates in any_rates(), seed: u64, before in 0usize..3000, lost in 0u64..9000) {
        let (first, second) = (noise(seed, before), noise(!seed, 1500));
        let mut used = resampler(rates);
        run(&mut used, [&first[..]]);
        let mut tail = vec![0.0; used.settling()];
        used.skip(lost, &mut tail);
        used.reset();
        prop_assert_eq!(
            bits(&run(&mut used, [&second[..]])),
            bits(&run(&mut resampler(rates), [&second[..]]))
        );
    }
}
