//! The gate, sample by sample, on drawn speech tracks: what goes through, what doesn't, and that
//! neither depends on how the stream is cut.

use proptest::prelude::*;
use v2m_dsp::gate::{Gate, Params};

const FADE_IN: u64 = 10;
const FADE_OUT: u64 = 50;

fn params() -> impl Strategy<Value = Params> {
    (0..300_u32, 0..600_u32).prop_map(|(look_ahead_ms, hold_ms)| Params {
        look_ahead_ms,
        hold_ms,
        ..Params::default()
    })
}

/// Utterances and pauses of some windows each, with what a detector says of them.
fn track() -> impl Strategy<Value = Vec<f32>> {
    let stretch = (any::<bool>(), prop::collection::vec(0.0_f32..1.0, 1..40));
    prop::collection::vec(stretch, 1..12).prop_map(|stretches| {
        let windows = stretches.into_iter().flat_map(|(speech, drawn)| {
            drawn.into_iter().map(move |p| match (speech, p > 0.95) {
                (_, true) => p,
                (true, _) => 0.5 + p / 2.0,
                (false, _) => p / 4.0,
            })
        });
        windows.collect()
    })
}

fn samples(ms: u64, rate: u32) -> u64 {
    ms * u64::from(rate) / 1000
}

/// The windows that are speech, by hysteresis.
fn speech(track: &[f32], params: &Params) -> Vec<u64> {
    let mut speaks = false;
    let mut found = Vec::new();
    for (window, &probability) in track.iter().enumerate() {
        let least = if speaks {
            params.neg_threshold
        } else {
            params.threshold
        };
        speaks = probability >= least;
        if speaks {
            found.push(window as u64);
        }
    }
    found
}

/// All of a stream through a gate that hears each window as late as it may, in pieces.
fn gated(rate: u32, params: Params, track: &[f32], input: &[f32], pieces: &[usize]) -> Vec<f32> {
    let mut gate = Gate::new(rate, params).expect("parameters");
    let (window, ahead) = (samples(32, rate), samples(params.ahead_ms(), rate));
    let mut output = input.to_vec();
    let (mut at, mut heard) = (0, 0);
    for &piece in pieces.iter().cycle() {
        let end = (at + piece).min(output.len());
        // Those that end no later than `ahead` after this piece.
        while heard < track.len() && (heard as u64 + 1) * window <= end as u64 + ahead {
            gate.hear(heard as u64, track[heard]);
            heard += 1;
        }
        gate.apply(at as u64, &mut output[at..end]);
        at = end;
        if at == output.len() {
            return output;
        }
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn speech_goes_through_whole_and_the_rest_not_at_all(
        params in params(),
        track in track(),
        rate in prop::sample::select(vec![8_000_u32, 16_000, 24_000, 32_000, 48_000]),
        pieces in prop::collection::vec(1_usize..3000, 1..8),
    ) {
        let (params, rate) = (params, rate);
        let window = samples(32, rate);
        let length = (track.len() as u64 * window) as usize;
        // No sample is 0, and none is like its neighbours.
        let input: Vec<f32> = (0..length).map(|i| 0.1 + (i % 97) as f32 / 200.0).collect();
        let output = gated(rate, params, &track, &input, &pieces);

        let (before, after) = (
            samples(params.look_ahead_ms.into(), rate),
            samples(params.hold_ms.into(), rate),
        );
        let (fade_in, fade_out) = (samples(FADE_IN, rate), samples(FADE_OUT, rate));
        let mut open = vec![false; length];
        let mut touched = vec![false; length];
        let mark = |marks: &mut [bool], from: u64, to: u64| {
            marks[(from as usize).min(length)..(to as usize).min(length)].fill(true);
        };
        for w in speech(&track, &params) {
            let (start, end) = ((w * window).saturating_sub(before), (w + 1) * window + after);
            mark(&mut open, start, end);
            mark(&mut touched, start.saturating_sub(fade_in), end + fade_out);
        }
        for i in 0..length {
            let share = output[i] / input[i];
            if open[i] {
                prop_assert_eq!(output[i].to_bits(), input[i].to_bits(), "sample {}", i);
            } else if !touched[i] {
                prop_assert_eq!(output[i].to_bits(), 0.0_f32.to_bits(), "sample {}", i);
            } else {
                prop_assert!((0.0..=1.0).contains(&share), "sample {}: {}", i, share);
            }
            // A fade, no cut: the steepest step of its curve.
            if i > 0 {
                let step = (share - output[i - 1] / input[i - 1]).abs();
                prop_assert!(step <= 1.6 / fade_in as f32, "sample {}: a step of {}", i, step);
            }
        }
        let whole = gated(rate, params, &track, &input, &[length]);
        prop_assert_eq!(output, whole);
    }
}

#[test]
fn what_is_not_known_goes_through() {
    let mut gate = Gate::new(16_000, Params::default()).expect("parameters");
    for window in 0..20 {
        gate.hear(window, f32::NAN);
    }
    let mut samples = vec![0.5; 10 * 512];
    gate.apply(0, &mut samples);
    assert!(samples.iter().all(|&s| s == 0.5));
    gate.reset();
    gate.apply(10 * 512, &mut samples);
    assert!(samples.iter().all(|&s| s == 0.0));
}

#[test]
fn it_never_allocates_however_far_it_is_ahead() {
    let mut gate = Gate::new(
        8_000,
        Params {
            look_ahead_ms: 0,
            hold_ms: 0,
            ..Params::default()
        },
    )
    .expect("parameters");
    for window in 0..10_000 {
        gate.hear(window, f32::from(u8::from(window % 8 == 0)));
    }
    // The oldest openings are given up.
    let mut samples = vec![0.5; 9_000 * 256];
    gate.apply(0, &mut samples);
    assert!(samples.iter().all(|&s| s == 0.0));
}

#[test]
fn parameters_that_mean_nothing_are_refused() {
    let refused = |params, word: &str| {
        let error = Gate::new(16_000, params).expect_err("refused");
        assert!(error.to_string().contains(word), "{error}");
    };
    let usual = Params::default();
    refused(
        Params {
            threshold: f32::NAN,
            ..usual
        },
        "threshold",
    );
    refused(
        Params {
            neg_threshold: 0.6,
            ..usual
        },
        "neg_threshold",
    );
    refused(
        Params {
            look_ahead_ms: 2001,
            ..usual
        },
        "look_ahead_ms",
    );
    refused(
        Params {
            hold_ms: u32::MAX,
            ..usual
        },
        "hold_ms",
    );
}
