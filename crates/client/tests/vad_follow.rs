//! Following a ring's speech track: segments that are all there, lateness, ends.

use std::ops::Range;

use proptest::prelude::*;
use v2m_client::ErrorKind;
use v2m_client::follow::{Follower, Step};
use v2m_client::ring::{CaptureWriter, ControlWriter, Rate, Reader, Ring, SpeechWriter, State};
use v2m_dsp::vad::segment::{Params, Segment};

const WINDOW: u64 = 512;
const PAD: u64 = 3200;
/// Samples that the rings of these tests keep: 128 windows, 4.1 s.
const HISTORY: u64 = 1 << 16;

struct Engine {
    reader: Reader,
    capture: CaptureWriter,
    speech: SpeechWriter,
    control: ControlWriter,
}

impl Engine {
    fn new() -> Self {
        Self::at(Rate::SPEECH)
    }

    fn at(rate: Rate) -> Self {
        let (ring, capture, speech, control) = Ring::at(rate, HISTORY).unwrap();
        Self {
            reader: Reader::new(ring.duplicate().unwrap()).unwrap(),
            capture,
            speech,
            control,
        }
    }

    /// Writes windows of audio, with speech in those that `talks` names.
    fn write(&mut self, windows: u64, talks: impl Fn(u64) -> bool) {
        for _ in 0..windows {
            self.hear(WINDOW);
            self.decide(&talks);
        }
    }

    fn hear(&mut self, samples: u64) {
        self.capture.append(&vec![0.1; samples as usize], 0);
    }

    fn decide(&mut self, talks: impl Fn(u64) -> bool) {
        let p = if talks(self.speech.window()) {
            0.9
        } else {
            0.1
        };
        self.speech.probability(p);
    }

    fn follow(&self, params: &Params) -> Follower {
        Follower::new(params, &self.reader, self.reader.committed()).unwrap()
    }
}

fn segment(windows: Range<u64>) -> Segment {
    Segment {
        start: (windows.start * WINDOW).saturating_sub(PAD),
        end: windows.end * WINDOW + PAD,
        is_final: true,
    }
}

/// Everything that can be had now.
fn drain(follower: &mut Follower, reader: &Reader) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        match follower.step(reader) {
            step @ (Step::Wait | Step::Over) => {
                steps.push(step);
                return steps;
            }
            step => steps.push(step),
        }
    }
}

#[test]
fn segments_come_once_they_are_certain_and_are_in_the_ring() {
    let mut engine = Engine::new();
    let mut follower = engine.follow(&Params::default());
    assert_eq!(follower.step(&engine.reader), Step::Wait);
    let talks = |n| (20..40).contains(&n);
    engine.write(45, talks);
    assert!(follower.step(&engine.reader) == Step::Wait && follower.in_speech());
    engine.write(20, talks);
    let found = segment(20..40);
    assert_eq!(
        drain(&mut follower, &engine.reader),
        [Step::Segment(found), Step::Wait]
    );
    let mut samples = vec![0.0; (found.end - found.start) as usize];
    engine
        .reader
        .read_samples(found.start, &mut samples)
        .unwrap();
}

#[test]
fn the_pad_reaches_into_what_was_there_before() {
    let mut engine = Engine::new();
    engine.write(50, |_| false);
    let mut late = engine.follow(&Params::default());
    engine.write(60, |n| (50..80).contains(&n));
    assert_eq!(
        late.step(&engine.reader),
        Step::Segment(segment(50..80)),
        "begun with the first word"
    );
}

#[test]
fn clients_have_parameters_of_their_own() {
    let mut engine = Engine::new();
    let strict = Params {
        threshold: 0.95,
        ..Params::default()
    };
    let (mut strict, mut usual) = (engine.follow(&strict), engine.follow(&Params::default()));
    engine.write(100, |n| (20..40).contains(&n));
    assert_eq!(drain(&mut strict, &engine.reader), [Step::Wait]);
    assert_eq!(drain(&mut usual, &engine.reader).len(), 2);
}

#[test]
fn a_reader_that_was_late_gets_everything_that_is_still_there() {
    let mut engine = Engine::new();
    let mut follower = engine.follow(&Params::default());
    // Two utterances in 3.8 s; the ring keeps 4.1 s.
    engine.write(120, |n| (10..30).contains(&n) || (60..85).contains(&n));
    assert_eq!(
        drain(&mut follower, &engine.reader),
        [
            Step::Segment(segment(10..30)),
            Step::Segment(segment(60..85)),
            Step::Wait
        ]
    );
}

#[test]
fn overwritten_speech_is_counted_and_the_rest_comes() {
    let mut engine = Engine::new();
    let mut follower = engine.follow(&Params::default());
    let talks = |n: u64| n % 50 >= 20 && n % 50 < 30;
    engine.write(500, talks);
    let steps = drain(&mut follower, &engine.reader);
    // Ten utterances; those at 420 and 470 begin within three quarters of the history.
    let each = segment(20..30);
    let gone = 8 * (each.end - each.start);
    assert_eq!(
        steps,
        [
            Step::Overrun(gone),
            Step::Segment(segment(420..430)),
            Step::Segment(segment(470..480)),
            Step::Wait
        ]
    );
    engine.write(50, talks);
    assert_eq!(
        follower.step(&engine.reader),
        Step::Segment(segment(520..530))
    );
}

#[test]
fn silence_that_was_missed_costs_nothing() {
    let mut engine = Engine::new();
    let mut follower = engine.follow(&Params::default());
    engine.write(1000, |n| (960..980).contains(&n));
    assert_eq!(
        drain(&mut follower, &engine.reader),
        [Step::Segment(segment(960..980)), Step::Wait]
    );
}

#[test]
fn what_even_the_track_forgot_is_counted_whole() {
    let mut engine = Engine::new();
    let mut follower = engine.follow(&Params::default());
    let kept = 65_536 / 4;
    engine.write(kept + 1000, |_| false);
    let Step::Overrun(lost) = follower.step(&engine.reader) else {
        panic!("nothing reported");
    };
    assert_eq!(lost, (kept + 1000) * WINDOW - HISTORY / 4 * 3);
    assert_eq!(follower.step(&engine.reader), Step::Wait);
    engine.write(100, |n| (kept + 1010..kept + 1030).contains(&n));
    assert!(matches!(follower.step(&engine.reader), Step::Segment(_)));
}

#[test]
fn growing_segments_are_the_newest_and_end_with_the_final_one() {
    let mut engine = Engine::new();
    let params = Params {
        partial_ms: Some(100),
        ..Params::default()
    };
    let mut follower = engine.follow(&params);
    let talks = |n| (20..45).contains(&n);
    engine.write(36, talks);
    let steps = drain(&mut follower, &engine.reader);
    let [Step::Segment(partial), Step::Wait] = steps[..] else {
        panic!("overtaken ones came too: {steps:?}");
    };
    assert!(!partial.is_final && partial.start == segment(20..45).start);
    engine.write(5, talks);
    let Step::Segment(next) = follower.step(&engine.reader) else {
        panic!("none");
    };
    assert!(next.end > partial.end && next.start == partial.start);
    engine.write(60, talks);
    assert_eq!(
        drain(&mut follower, &engine.reader),
        [Step::Segment(segment(20..45)), Step::Wait]
    );
}

#[test]
fn an_end_closes_what_is_open_once_all_is_decided() {
    let mut engine = Engine::new();
    let mut follower = engine.follow(&Params::default());
    let talks = |n| n >= 20;
    engine.write(39, talks);
    engine.hear(WINDOW + 100);
    engine.control.state(State::Ended, 0);
    assert_eq!(follower.step(&engine.reader), Step::Wait);
    assert_eq!(follower.unheard(&engine.reader), WINDOW + 100);
    engine.decide(talks);
    let last = Segment {
        start: 20 * WINDOW - PAD,
        end: 40 * WINDOW + 100,
        is_final: true,
    };
    assert_eq!(
        drain(&mut follower, &engine.reader),
        [Step::Segment(last), Step::Over]
    );
}

#[test]
fn a_stop_or_a_lost_engine_closes_it_with_what_is_there() {
    for stopped in [true, false] {
        let mut engine = Engine::new();
        let mut follower = engine.follow(&Params::default());
        engine.write(40, |n| n >= 20);
        engine.hear(5 * WINDOW);
        if stopped {
            engine.control.state(State::Stopped, 0);
        } else {
            assert_eq!(follower.step(&engine.reader), Step::Wait);
            follower.finish(&engine.reader);
        }
        let steps = drain(&mut follower, &engine.reader);
        assert!(
            matches!(steps[..], [Step::Segment(s), Step::Over] if s.end == 45 * WINDOW),
            "{steps:?}"
        );
    }
}

#[test]
fn a_window_that_nobody_could_decide_ends_what_was_open() {
    let mut engine = Engine::new();
    let mut follower = engine.follow(&Params::default());
    engine.write(40, |n| n >= 20);
    engine.hear(WINDOW);
    engine.speech.probability(f32::NAN);
    let Step::Segment(found) = follower.step(&engine.reader) else {
        panic!("none");
    };
    assert_eq!(found.end, 40 * WINDOW);
    assert_eq!(follower.unheard(&engine.reader), WINDOW);
    // And nothing that follows reaches back over it.
    engine.write(60, |n| n < 60);
    let Step::Segment(found) = follower.step(&engine.reader) else {
        panic!("none");
    };
    assert_eq!(found.start, 41 * WINDOW);
}

#[test]
fn segments_fit_into_the_history_with_room_to_spare() {
    let mut engine = Engine::new();
    let params = Params {
        pad_ms: 1600,
        ..Params::default()
    };
    let error = Follower::new(&params, &engine.reader, 0).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("pad_ms = 1600"), "{error}");

    let mut follower = engine.follow(&Params::default());
    let mut lengths = Vec::new();
    for _ in 0..400 {
        engine.write(1, |_| true);
        match follower.step(&engine.reader) {
            Step::Segment(segment) => lengths.push(segment.end - segment.start),
            Step::Wait => {}
            step => panic!("{step:?}"),
        }
    }
    assert!(lengths.len() >= 3 && lengths.iter().all(|&l| l <= HISTORY / 4 * 3 + WINDOW));
}

#[test]
fn an_utterance_that_is_cut_ends_with_the_audio_that_is_there() {
    let mut engine = Engine::new();
    let mut follower = engine.follow(&Params::default());
    assert!(!follower.cut_now(&engine.reader));
    engine.write(40, |n| n >= 20);
    // Heard, and not judged yet.
    engine.hear(2 * WINDOW + 100);
    assert!(follower.cut_now(&engine.reader));
    let cut = Segment {
        start: 20 * WINDOW - PAD,
        end: 42 * WINDOW + 100,
        is_final: true,
    };
    assert_eq!(
        drain(&mut follower, &engine.reader),
        [Step::Segment(cut), Step::Wait]
    );
    // What goes on after that is another one, and nothing is in both.
    engine.decide(|_| true);
    engine.decide(|_| true);
    engine.hear(WINDOW - 100);
    engine.decide(|_| true);
    engine.write(60, |n| n < 60);
    let Step::Segment(next) = follower.step(&engine.reader) else {
        panic!("none");
    };
    assert_eq!((next.start, next.end), (cut.end, 60 * WINDOW + PAD));
}

#[derive(Clone, Debug)]
enum Act {
    Judged(u64, bool),
    Heard(u64),
    Cut,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1..30_u64, any::<bool>()).prop_map(|(windows, talk)| Act::Judged(windows, talk)),
        1 => (1..1500_u64).prop_map(Act::Heard),
        1 => Just(Act::Cut),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    /// Wherever it is cut, however late the detection is, and at every rate: segments follow each other
    /// without an overlap, in audio that is there, and a cut leaves nothing for later.
    #[test]
    fn cuts_anywhere(
        acts in acts(),
        pad_ms in 0..300_u32,
        min_speech_ms in 0..300_u32,
        rate in prop::sample::select(&Rate::ALL),
    ) {
        let (mut engine, window) = (Engine::at(rate), rate.window());
        let params = Params { pad_ms, min_speech_ms, partial_ms: Some(200), ..Params::default() };
        let mut follower = engine.follow(&params);
        let (mut end, mut floor) = (0, 0);
        for act in acts {
            let mut cut = None;
            match act {
                Act::Judged(windows, talk) => {
                    for _ in 0..windows {
                        let there = engine.reader.committed() / window;
                        if engine.reader.speech_committed() >= there {
                            engine.hear(window);
                        }
                        engine.decide(|_| talk);
                    }
                }
                Act::Heard(samples) => engine.hear(samples),
                Act::Cut => cut = Some(follower.cut_now(&engine.reader)),
            }
            let committed = engine.reader.committed();
            let steps = drain(&mut follower, &engine.reader);
            if let Some(any) = cut {
                let last = steps.iter().any(|s| matches!(s, Step::Segment(s) if s.is_final));
                prop_assert_eq!(any, last);
                prop_assert!(!follower.in_speech());
                floor = committed;
            }
            for step in steps {
                if let Step::Segment(found) = step {
                    prop_assert!(found.start >= end && found.start < found.end, "{:?}", found);
                    prop_assert!(found.end <= committed);
                    prop_assert!(cut.is_some() || found.start >= floor);
                    if found.is_final {
                        end = found.end;
                    }
                }
            }
        }
    }
}
