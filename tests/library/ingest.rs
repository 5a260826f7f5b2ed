//! Loss accounting without a sound server: blocks that are missing, repeated,
//! late, or from another clock, and what the ring says afterwards.

mod channels;
mod rates;
mod time;

use std::f32::consts::TAU;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;
use v2m_dsp::preamp::{Gain, Settings};
use v2m_dsp::resample::Resampler;
use v2m_engine::capture::ingest::Ingest;
use v2m_engine::capture::{Block, Sink};
use v2m_ring::notifier::WakeUpThread;
use v2m_ring::{NS_PER_SAMPLE, Rate, Reader, Ring, SAMPLE_RATE};

const START_NS: i64 = 5_000_000_000;

struct Setup {
    ingest: Ingest,
    reader: Reader,
    _ringer: WakeUpThread,
}

fn setup() -> Setup {
    setup_of(1 << 18)
}

fn setup_of(history: u64) -> Setup {
    let (ring, capture, ..) = Ring::create(history).unwrap();
    let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
    let wake_up_thread = WakeUpThread::start(Arc::new(ring), || {}).unwrap();
    let ingest = Ingest::new(capture, wake_up_thread.notifier()).unwrap();
    Setup {
        ingest,
        reader,
        _ringer: wake_up_thread,
    }
}

/// Sample `n` of a source that never repeats itself.
fn sound(n: u64) -> f32 {
    let mixed = n
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(17)
        .wrapping_mul(0xbf58_476d);
    (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn time_of(position: u64, rate: u32) -> i64 {
    START_NS + (u128::from(position) * 1_000_000_000 / u128::from(rate)) as i64
}

/// As soon as its last sample is there.
fn arrive(ingest: &Ingest, block: &Block<'_>) {
    ingest.take(block, block.end_ns());
}

fn give(ingest: &Ingest, rate: u32, clock: u64, position: u64, count: u64) {
    let samples: Vec<f32> = (position..position + count).map(sound).collect();
    let time_ns = time_of(position, rate);
    arrive(
        ingest,
        &Block {
            rate,
            clock,
            position,
            time_ns,
            ..Block::mono(&samples)
        },
    );
}

fn everything(reader: &Reader) -> Vec<f32> {
    let mut all = vec![0.0; reader.committed() as usize];
    reader.read_samples(0, &mut all).unwrap();
    all
}

/// What the ring would hold had nothing been lost.
fn reference(rate: u32, end: u64) -> Vec<f32> {
    let input: Vec<f32> = (0..end).map(sound).collect();
    let mut resampler = Resampler::new(rate, SAMPLE_RATE).unwrap();
    let mut out = vec![0.0; resampler.max_output(input.len())];
    let count = resampler.process(&input, &mut out);
    out.truncate(count);
    out
}

#[derive(Clone, Debug)]
enum Step {
    Block(u64),
    Lose(u64),
    /// Offer the last samples again.
    Repeat(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..1500).prop_map(Step::Block),
        1 => (1_u64..9000).prop_map(Step::Lose),
        1 => (1_u64..700).prop_map(Step::Repeat),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_not_flagged_is_exact_and_what_is_lost_keeps_its_length(
        steps in steps(),
        rate in prop_oneof![Just(48_000_u32), Just(44_100), Just(16_000), Just(192_000)],
    ) {
        let Setup { ingest, reader, _ringer } = setup();
        ingest.expect(rate);
        let (mut position, mut lost, mut pending) = (0, 0, 0);
        give(&ingest, rate, 7, 0, 300);
        position += 300;
        for step in steps {
            match step {
                Step::Block(count) => {
                    give(&ingest, rate, 7, position, count);
                    position += count;
                    pending = 0;
                }
                // A second or more is measured by time, not by the source's clock.
                Step::Lose(count) if pending + count >= u64::from(rate) => {}
                Step::Lose(count) => {
                    position += count;
                    pending += count;
                    lost += 1;
                }
                Step::Repeat(count) => {
                    let count = count.min(position);
                    // Only what was given: the last block may have been lost.
                    if lost == 0 {
                        give(&ingest, rate, 7, position - count, count);
                    }
                }
            }
        }
        give(&ingest, rate, 7, position, 300);
        let all = everything(&reader);
        let expected = reference(rate, position + 300);
        prop_assert_eq!(all.len(), expected.len());
        for (n, (got, want)) in all.iter().zip(&expected).enumerate() {
            let flagged = reader.has_gap(n as u64, 1);
            prop_assert!(flagged || got.to_bits() == want.to_bits(), "sample {} differs and is no gap", n);
            prop_assert!(!flagged || lost > 0, "sample {} is flagged and nothing was lost", n);
        }
        prop_assert!(reader.losses().xruns <= lost);
        prop_assert_eq!(reader.losses().gaps == 0, lost == 0);
        let last = all.len() as u64 - 1;
        let drift = reader.time_ns(last).unwrap() - (START_NS + last as i64 * NS_PER_SAMPLE);
        prop_assert!(drift.abs() < NS_PER_SAMPLE, "time is off by {} ns", drift);
    }
}

#[test]
fn another_clock_continues_where_time_is() {
    let Setup {
        ingest,
        reader,
        _ringer,
    } = setup();
    give(&ingest, 48_000, 1, 0, 4800);
    let before = reader.committed();
    // 250 ms later by CLOCK_MONOTONIC, on a clock that starts anew, at another rate.
    let samples = [0.5; 4410];
    let time_ns = time_of(4800, 48_000) + 250_000_000;
    let block = Block {
        rate: 44_100,
        clock: 2,
        position: 0,
        time_ns,
        ..Block::mono(&samples)
    };
    arrive(&ingest, &block);
    // 100 ms and 250 ms and 100 ms, less what the resampler still holds.
    let missing = 7200 - reader.committed() as i64;
    assert!((0..40).contains(&missing), "{missing} samples short");
    assert!(reader.has_gap(before, 4000) && !reader.has_gap(0, before));
    let newest = reader.committed() - 1;
    let drift = reader.time_ns(newest).unwrap() - (START_NS + newest as i64 * NS_PER_SAMPLE);
    assert!(drift.abs() <= NS_PER_SAMPLE, "{drift} ns");
    assert_eq!(reader.losses().gaps, 1);
    assert!(
        (reader.losses().samples as i64 - 4000).abs() <= 1,
        "{:?}",
        reader.losses()
    );
}

#[test]
fn a_clock_that_overlaps_gives_nothing_twice() {
    let Setup {
        ingest,
        reader,
        _ringer,
    } = setup();
    give(&ingest, 48_000, 1, 0, 4800);
    let time_ns = time_of(2400, 48_000);
    let block = Block {
        rate: 48_000,
        clock: 2,
        position: 0,
        time_ns,
        ..Block::mono(&[0.5; 4800])
    };
    arrive(&ingest, &block);
    // 50 ms of the new block were there already.
    let missing = 2400 - reader.committed() as i64;
    assert!((0..40).contains(&missing), "{missing} samples short");
}

/// What is asked for counts at every rate, and moves nothing in time.
#[test]
fn a_preamplifier_counts_in_every_ring() {
    for rate in Rate::ALL {
        let heard = |gain: f64, highpass: u32| {
            let (ring, capture, ..) = Ring::at(rate, 1 << 18).unwrap();
            let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
            let wake_up_thread = WakeUpThread::start(Arc::new(ring), || {}).unwrap();
            let settings = Settings {
                gain: Gain::new(gain).unwrap(),
                highpass,
            };
            let ingest = Ingest::new(capture, wake_up_thread.notifier())
                .unwrap()
                .amplified(settings);
            let tone: Vec<f32> = (0..48_000)
                .map(|n| 0.1 + 0.1 * (n as f32 / 48_000.0 * 440.0 * TAU).sin())
                .collect();
            for (number, samples) in tone.chunks(480).enumerate() {
                let position = 480 * number as u64;
                let block = Block {
                    rate: 48_000,
                    clock: 1,
                    position,
                    time_ns: time_of(position, 48_000),
                    ..Block::mono(samples)
                };
                arrive(&ingest, &block);
            }
            let mut samples = vec![0.0; reader.committed() as usize];
            reader.read_samples(0, &mut samples).unwrap();
            samples
        };
        let as_it_is = heard(0.0, 0);
        let louder = heard(6.0206, 0);
        assert_eq!(louder.len(), as_it_is.len());
        for (louder, sample) in louder.iter().zip(&as_it_is) {
            assert!(
                (louder - 2.0 * sample).abs() < 1e-4,
                "{rate:?}: {sample} became {louder}"
            );
        }
        let filtered = heard(0.0, 80);
        let mean = filtered.iter().sum::<f32>() / filtered.len() as f32;
        assert!(mean.abs() < 1e-3, "{rate:?}: DC of {mean} is left");
        let loudest = filtered.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        assert!((0.095..0.115).contains(&loudest), "{rate:?}: {loudest}");
    }
}

/// Where one source's audio meets another's a gap says so, also where nothing is resampled.
#[test]
fn two_clocks_never_meet_without_a_mark() {
    for rate in Rate::ALL {
        for apart in [-2400, -1, 0, 1] {
            let (ring, capture, ..) = Ring::at(rate, 1 << 18).unwrap();
            let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
            let wake_up_thread = WakeUpThread::start(Arc::new(ring), || {}).unwrap();
            let ingest = Ingest::new(capture, wake_up_thread.notifier()).unwrap();
            give(&ingest, 48_000, 1, 0, 4800);
            let block = Block {
                rate: 48_000,
                clock: 2,
                position: 0,
                time_ns: time_of((4800 + apart) as u64, 48_000),
                ..Block::mono(&[0.5; 4800])
            };
            arrive(&ingest, &block);
            let met = u64::from(rate.hz()) / 10;
            assert!(reader.has_gap(met - 100, 200), "{rate:?}, {apart} apart");
            assert!(!reader.has_gap(0, met - 200) && !reader.has_gap(met + 200, 100));
        }
    }
}

#[test]
fn silence_is_filled_in_while_nothing_comes_and_audio_finds_its_place() {
    let Setup {
        ingest,
        reader,
        _ringer,
    } = setup();
    ingest.fill(START_NS + 60_000_000_000);
    assert_eq!(
        reader.committed(),
        0,
        "nothing is missing before anything came"
    );
    give(&ingest, 48_000, 1, 0, 4800);
    let end = time_of(4800, 48_000);
    let before = reader.committed();
    ingest.fill(end + 400_000_000);
    assert_eq!(reader.committed(), before, "too early to call it a gap");
    for tick in 1..=30 {
        ingest.fill(end + 500_000_000 + tick * 100_000_000);
    }
    let filled = reader.committed();
    assert!(reader.has_gap(before, filled - before));
    assert_eq!(
        reader.losses().gaps,
        1,
        "one gap, however often it is continued"
    );
    // 3.5 s after the end, minus what filling stays behind and begins only after.
    assert!(
        (1600 + 48_000..=1600 + 51_200).contains(&filled),
        "{filled}"
    );
    // The daemon is back after 4 s: a new clock.
    let samples = [0.25; 4800];
    let block = Block {
        rate: 48_000,
        clock: 9,
        position: 0,
        time_ns: end + 4_000_000_000,
        ..Block::mono(&samples)
    };
    arrive(&ingest, &block);
    let missing = (1600 + 64_000 + 1600) - reader.committed() as i64;
    assert!((0..40).contains(&missing), "{missing} samples short");
    assert_eq!(reader.losses().gaps, 1);
}

#[test]
fn after_rest_the_ring_is_at_the_present_and_nothing_counts_as_lost() {
    // Shorter than the history, and longer: then it is a jump.
    for rest_s in [2_i64, 3 * 86_400] {
        let Setup {
            ingest,
            reader,
            _ringer,
        } = setup();
        ingest.catch_up(START_NS);
        assert_eq!(reader.committed(), 0, "nothing to catch up with");
        give(&ingest, 48_000, 1, 0, 4800);
        let before = reader.committed();
        let now = time_of(4800, 48_000) + rest_s * 1_000_000_000;
        ingest.catch_up(now);
        let after = reader.committed();
        let present = 1600 + rest_s as u64 * 16_000;
        assert!(after.abs_diff(present) <= 1, "{after} is not {present}");
        // Audio begins 30 ms later, on the clock of a new link.
        let block = Block {
            rate: 48_000,
            clock: 2,
            position: 0,
            time_ns: now + 30_000_000,
            ..Block::mono(&[0.25; 4800])
        };
        arrive(&ingest, &block);
        let end = reader.committed();
        assert!(
            (present + 480 + 1560..=present + 480 + 1600).contains(&end),
            "{end}"
        );
        let newest = reader.time_ns(end - 1).unwrap();
        let expected = START_NS + (end as i64 - 1) * NS_PER_SAMPLE;
        assert!(
            (newest - expected).abs() < 2 * NS_PER_SAMPLE,
            "{newest} for {expected}"
        );
        assert!(reader.has_gap(after - 16, 16) && reader.has_gap(after, 480));
        assert!(!reader.has_gap(end - 1000, 1000));
        let mut silence = vec![1.0; 4000];
        reader.read_samples(after - 4000, &mut silence).unwrap();
        assert!(silence.iter().all(|sample| *sample == 0.0));
        assert_eq!(
            reader.oldest(),
            end.saturating_sub(reader.layout().history())
        );
        assert_eq!(reader.losses().gaps + reader.losses().samples, 0);
        assert!(before < after);
        // From here on silence is a loss again.
        ingest.fill(now + 3_000_000_000);
        assert_eq!(reader.losses().gaps, 1);
        assert!(reader.losses().samples > 0);
    }
}

#[test]
fn no_audio_after_rest_is_a_loss() {
    let Setup {
        ingest,
        reader,
        _ringer,
    } = setup();
    give(&ingest, 48_000, 1, 0, 4800);
    let now = time_of(4800, 48_000) + 5_000_000_000;
    ingest.catch_up(now);
    let caught_up = reader.committed();
    ingest.fill(now + 2_000_000_000);
    let lost = reader.losses();
    assert_eq!(
        (lost.gaps, lost.samples),
        (1, reader.committed() - caught_up)
    );
}

#[test]
fn a_rate_nobody_expected_is_prepared_and_then_taken() {
    let Setup {
        ingest,
        reader,
        _ringer,
    } = setup();
    give(&ingest, 50_000, 1, 0, 500);
    assert_eq!(reader.committed(), 0);
    ingest.prepare();
    give(&ingest, 50_000, 1, 500, 5000);
    assert!(reader.committed() > 1500);
}

/// The main thread looks at it whenever it has anything to do, on a busy machine in the middle of
/// a block, too.
#[test]
fn whoever_looks_after_it_costs_no_block() {
    let setup = setup();
    let (over, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = setup.ingest.is_free();
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Both at once, and each often: who looks while a block comes has to be there for it.
        let mut position = 0;
        while looks.load(Ordering::Relaxed) < 300_000 || position < 900_000 {
            give(&setup.ingest, 48_000, 1, position, 30);
            position += 30;
        }
        over.store(true, Ordering::Relaxed);
    });
    let lost = setup.reader.losses();
    assert_eq!((lost.gaps, lost.samples, lost.xruns), (0, 0, 0));
    assert!(setup.reader.committed() > 299_000);
}
