//! Segments: equal to silero-vad's own for equal parameters, and sound for any input.

use std::ops::Range;

use proptest::prelude::*;
use v2m_dsp::vad::segment::{Edge, OnOff, Params, Segment, Segmenter, Split};

/// threshold, neg_threshold, min_speech_ms, min_silence_ms, pad_ms, max_s,
/// split_silence_ms, at the longest pause instead of the last
type Row = (f32, Option<f32>, u32, u32, u32, Option<f64>, u32, bool);

#[derive(serde::Deserialize)]
struct Golden {
    parameters: Vec<Row>,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    length: u64,
    probabilities: Vec<f32>,
    segments: Vec<Vec<(u64, u64)>>,
}

fn run(params: &Params, probabilities: &[f32], length: u64) -> Vec<Segment> {
    run_heard(params, probabilities, length, None)
}

/// The same where the audio is said to be quietest at that part of whatever is asked for.
fn run_heard(
    params: &Params,
    probabilities: &[f32],
    length: u64,
    quietest: Option<f64>,
) -> Vec<Segment> {
    let mut segmenter = Segmenter::new(params).expect("valid parameters");
    let mut out = Vec::new();
    for (index, &p) in (0..).zip(probabilities) {
        segmenter.push_heard(index, p, |range| part(range, quietest), &mut out);
    }
    segmenter.finish(length, &mut out);
    out
}

fn part(range: Range<u64>, part: Option<f64>) -> Option<u64> {
    let length = range.end - range.start;
    part.map(|part| range.start + (part * length as f64) as u64)
}

#[test]
fn equals_silero_for_equal_parameters() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../../tests/data/vad_segments.json"))
            .expect("the golden file");
    let mut seen = 0;
    for (c, case) in golden.cases.iter().enumerate() {
        for (parameters, expected) in golden.parameters.iter().zip(&case.segments) {
            let &(
                threshold,
                neg_threshold,
                min_speech_ms,
                min_silence_ms,
                pad_ms,
                max_s,
                split_silence_ms,
                at_longest,
            ) = parameters;
            let split = if at_longest {
                Split::Longest
            } else {
                Split::Last
            };
            let params = Params {
                threshold,
                neg_threshold,
                min_speech_ms,
                min_silence_ms,
                pad_ms,
                max_s: max_s.unwrap_or(f64::INFINITY),
                split_silence_ms,
                split,
                partial_ms: None,
            };
            let found = run(&params, &case.probabilities, case.length);
            let found: Vec<_> = found.iter().map(|s| (s.start, s.end)).collect();
            assert_eq!(&found, expected, "case {c}, {params:?}");
            seen += found.len();
        }
    }
    assert!(seen > 1200, "the golden file holds only {seen} segments");
}

#[test]
fn a_segment_comes_out_as_soon_as_it_is_certain() {
    let mut segmenter = Segmenter::new(&Params::default()).expect("the defaults");
    let mut out = Vec::new();
    for index in 0..100 {
        // Speech from window 20 to 50.
        segmenter.push(
            index,
            if (20..50).contains(&index) { 0.9 } else { 0.1 },
            &mut out,
        );
        // 500 ms are 15.6 windows: certain with the 17th window of the pause.
        assert_eq!(out.len(), usize::from(index >= 66), "window {index}");
    }
    assert_eq!(
        out,
        [Segment {
            start: 20 * 512 - 3200,
            end: 50 * 512 + 3200,
            is_final: true
        }]
    );
}

/// A pause of 64 ms, in which the probability only falls to 0.42, is no pause by the rules.
#[test]
fn speech_without_a_pause_is_cut_where_it_is_least_likely() {
    let p = |index: u64| if index % 100 < 2 { 0.42 } else { 0.9 };
    let probabilities: Vec<_> = (0..1000).map(|n| if n == 0 { 0.9 } else { p(n) }).collect();
    let cuts = |split| {
        let params = Params {
            max_s: 8.0,
            pad_ms: 0,
            split,
            ..Params::default()
        };
        let found = run(&params, &probabilities, 1000 * 512);
        if split == Split::Quietest {
            let joined = found.windows(2).all(|pair| pair[0].end == pair[1].start);
            assert!(joined, "{found:?}");
        }
        found.iter().map(|s| s.start / 512).collect::<Vec<_>>()
    };
    // At the second, later window of each.
    assert_eq!(cuts(Split::Quietest), [0, 201, 401, 601, 801]);
    assert_eq!(cuts(Split::Longest), [0, 251, 502, 753]);
    assert_eq!(cuts(Split::Last), [0, 251, 502, 753]);
}

#[test]
fn missing_windows_close_what_was_open_and_bound_what_follows() {
    let mut segmenter = Segmenter::new(&Params::default()).expect("the defaults");
    let mut out = Vec::new();
    (10..40).for_each(|index| segmenter.push(index, 0.9, &mut out));
    (45..75).for_each(|index| segmenter.push(index, 0.9, &mut out));
    segmenter.finish(75 * 512, &mut out);
    let expected = [(10 * 512, 40 * 512), (45 * 512, 75 * 512)];
    assert_eq!(
        out,
        expected.map(|(start, end)| Segment {
            start,
            end,
            is_final: true
        })
    );
}

#[test]
fn bad_parameters_are_named() {
    let base = Params::default();
    for (params, name) in [
        (
            Params {
                threshold: 0.0,
                ..base.clone()
            },
            "threshold",
        ),
        (
            Params {
                threshold: f32::NAN,
                ..base.clone()
            },
            "threshold",
        ),
        (
            Params {
                threshold: 1.5,
                ..base.clone()
            },
            "threshold",
        ),
        (
            Params {
                neg_threshold: Some(0.6),
                ..base.clone()
            },
            "neg_threshold",
        ),
        (
            Params {
                max_s: 0.1,
                ..base.clone()
            },
            "max_s",
        ),
        (
            Params {
                max_s: f64::NAN,
                ..base.clone()
            },
            "max_s",
        ),
        (
            Params {
                partial_ms: Some(0),
                ..base.clone()
            },
            "partial_ms",
        ),
    ] {
        let error = Segmenter::new(&params).err().expect("refused");
        assert_eq!(error.kind(), v2m_dsp::ErrorKind::Invalid);
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn edges_alternate_and_tell_where_speech_was() {
    let mut on_off = OnOff::new(&Params::default()).expect("the defaults");
    let p = |index| {
        if (20..50).contains(&index) || index == 55 {
            0.9
        } else {
            0.1
        }
    };
    let edges: Vec<_> = (0..100)
        .filter_map(|index| on_off.push(index, p(index)))
        .collect();
    assert_eq!(edges, [Edge::Start(20 * 512), Edge::End(56 * 512)]);
    assert_eq!(on_off.push(100, 0.9), Some(Edge::Start(51_200)));
    assert_eq!(on_off.reset(60_000), Some(Edge::End(60_000)));
    assert_eq!(on_off.reset(60_000), None);
}

fn probabilities() -> impl Strategy<Value = Vec<f32>> {
    let run = (
        prop_oneof![0.0f32..0.3, 0.3f32..0.6, 0.6f32..1.0],
        1usize..80,
    );
    prop::collection::vec(run, 1..30)
        .prop_map(|runs| runs.into_iter().flat_map(|(p, n)| vec![p; n]).collect())
}

fn params() -> impl Strategy<Value = Params> {
    (
        0.1f32..0.9,
        0u32..600,
        0u32..1000,
        0u32..500,
        1.2f64..20.0,
        prop::option::of(1u32..900),
        0u32..400,
        prop::sample::select(vec![Split::Longest, Split::Last, Split::Quietest]),
    )
        .prop_map(
            |(
                threshold,
                min_speech_ms,
                min_silence_ms,
                pad_ms,
                max_s,
                partial_ms,
                split_silence_ms,
                split,
            )| Params {
                threshold,
                neg_threshold: None,
                min_speech_ms,
                min_silence_ms,
                pad_ms,
                max_s,
                split_silence_ms,
                split,
                partial_ms,
            },
        )
}

proptest! {
    #[test]
    fn segments_are_ordered_bounded_and_never_overlap(
        params in params(), probabilities in probabilities(),
        quietest in prop::option::of(0.0f64..1.0),
    ) {
        let length = probabilities.len() as u64 * 512;
        let mut segmenter = Segmenter::new(&params).expect("valid parameters");
        let (mut out, mut before) = (Vec::new(), 0);
        for (index, &p) in (0u64..).zip(&probabilities) {
            let needed = segmenter.needs_from();
            segmenter.push_heard(index, p, |range| part(range, quietest), &mut out);
            for s in &out[before..] {
                prop_assert!(s.start >= needed, "{s:?} was said not to be needed before {needed}");
                prop_assert!(s.end <= (index + 1) * 512, "{s:?} ends in the future");
            }
            before = out.len();
        }
        segmenter.finish(length, &mut out);
        let mut end = 0;
        let longest = (params.max_s * 16000.0) as u64;
        for (n, s) in out.iter().enumerate() {
            prop_assert!(s.start < s.end && s.end <= length, "{s:?}");
            prop_assert!(s.start >= end, "{s:?} starts before {end}");
            if s.is_final {
                prop_assert!(s.end - s.start <= longest + 512, "{s:?} is longer than {longest}");
                end = s.end;
            } else {
                let last = out[n..].iter().find(|s| s.is_final).expect("a final one follows");
                prop_assert_eq!(last.start, s.start);
            }
        }
        let finals: Vec<_> = out.into_iter().filter(|s| s.is_final).collect();
        let silent = Params { partial_ms: None, ..params };
        prop_assert_eq!(finals, run_heard(&silent, &probabilities, length, quietest));
    }
}
