//! Several rates of one source: one pass, one time, and whoever joins or leaves disturbs
//! nobody.

use proptest::prelude::*;
use v2m_dsp::resample::Resampler;
use v2m_engine::capture::Sink;
use v2m_engine::capture::ingest::Ingest;
use v2m_ring::notifier::WakeUpThread;
use v2m_ring::{Rate, Reader, Ring};

use super::{START_NS, Setup, arrive, everything, give, setup, sound, time_of};

use std::sync::Arc;
use v2m_engine::capture::Block;

/// One that has joined.
struct Joined {
    reader: Reader,
    _wake_up_thread: WakeUpThread,
}

fn join(ingest: &Ingest, beside: &Reader, rate: Rate) -> Joined {
    let (ring, capture, ..) = Ring::at(rate, 1 << 19).unwrap();
    let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
    let wake_up_thread = WakeUpThread::start(Arc::new(ring), || {}).unwrap();
    ingest
        .add(capture, wake_up_thread.notifier(), beside)
        .unwrap();
    Joined {
        reader,
        _wake_up_thread: wake_up_thread,
    }
}

/// What a ring at this rate holds if it was there from the start.
fn reference(input: u32, rate: Rate, end: u64) -> Vec<f32> {
    let samples: Vec<f32> = (0..end).map(sound).collect();
    let mut resampler = Resampler::new(input, rate.hz()).unwrap();
    let mut out = vec![0.0; resampler.max_output(samples.len())];
    let count = resampler.process(&samples, &mut out);
    out.truncate(count);
    out
}

#[derive(Clone, Debug)]
enum Step {
    Block(u64),
    Lose(u64),
    /// Another clock, so many µs later.
    Interrupt(i64),
    Join(Rate),
    Leave(Rate),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rates = || prop::sample::select(&[0, 2, 3, 4]).prop_map(|n| Rate::ALL[n]);
    let step = prop_oneof![
        6 => (1_u64..3000).prop_map(Step::Block),
        1 => (1_u64..7000).prop_map(Step::Lose),
        1 => (1_i64..900_000).prop_map(Step::Interrupt),
        3 => rates().prop_map(Step::Join),
        1 => rates().prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whoever joins when, the same position / rate is the same moment everywhere, and what
    /// is no gap in the one is none in the other, but for what a resampler smears.
    #[test]
    fn all_rates_have_one_time(
        steps in steps(),
        rate in prop::sample::select(&[48_000_u32, 44_100, 16_000, 32_000]),
    ) {
        let Setup { ingest, reader, _ringer } = setup();
        ingest.expect(rate);
        let mut joined: [Option<Joined>; 5] = [const { None }; 5];
        let (mut clock, mut position, mut start_ns) = (1, 0, START_NS);
        let block = |count: u64, clock: u64, position: &mut u64, start_ns: i64| {
            let samples: Vec<f32> = (*position..*position + count).map(sound).collect();
            let time_ns = start_ns - START_NS + time_of(*position, rate);
            arrive(&ingest, &Block { rate, clock, position: *position, time_ns, ..Block::mono(&samples) });
            *position += count;
        };
        block(400, clock, &mut position, start_ns);
        for step in steps {
            match step {
                Step::Block(count) => block(count, clock, &mut position, start_ns),
                Step::Lose(count) => {
                    position += count;
                    block(100, clock, &mut position, start_ns);
                }
                Step::Interrupt(us) => {
                    clock += 1;
                    start_ns += us * 1000;
                    block(100, clock, &mut position, start_ns);
                }
                Step::Join(rate) => joined[rate.index()] = Some(join(&ingest, &reader, rate)),
                Step::Leave(rate) => {
                    ingest.remove(rate);
                    joined[rate.index()] = None;
                }
            }
        }
        block(2000, clock, &mut position, start_ns);
        block(2000, clock, &mut position, start_ns);
        for other in joined.iter().flatten() {
            let other = &other.reader;
            let (slow, fast) = (reader.rate(), other.rate());
            // All are at the same moment, but for what the slowest holds back.
            let behind = fast.ns(other.committed() as i64) - slow.ns(reader.committed() as i64);
            prop_assert!(behind.abs() < 1_000_000, "{fast} Hz is {behind} ns apart");
            for step in 1..20 {
                let position = reader.committed().saturating_sub(step * 333);
                let (Some(ours), Some(theirs)) =
                    (reader.time_ns(position), other.time_ns(fast.convert(position, slow)))
                else {
                    continue;
                };
                let apart = ours - theirs;
                prop_assert!(apart.abs() <= 130_000, "{fast} Hz: {apart} ns apart at {position}");
            }
            // From where it joined on, the gaps are the same.
            let begin = slow.convert(other.unused_until(), fast) + 600;
            for gap in reader.gaps_within(begin, reader.committed().saturating_sub(begin)) {
                let deep = fast.convert(gap.position + gap.length / 2, slow);
                if gap.position >= begin && gap.length > 32 && deep < other.committed() {
                    prop_assert!(other.has_gap(deep, 1), "{fast} Hz: no gap at {deep}");
                }
            }
        }
    }
}

#[test]
fn what_joins_late_is_what_it_would_have_been() {
    for input in [48_000_u32, 44_100, 16_000, 96_000] {
        for rate in Rate::ALL {
            let Setup {
                ingest,
                reader,
                _ringer,
            } = setup();
            if rate == reader.rate() {
                continue;
            }
            ingest.expect(input);
            let mut position = 0;
            let mut more = |count: u64| {
                give(&ingest, input, 1, position, count);
                position += count;
            };
            more(20_011);
            let joined = join(&ingest, &reader, rate);
            assert!(joined.reader.committed() <= rate.convert(reader.committed(), reader.rate()));
            (0..40).for_each(|n| more(256 + n));
            let (got, want) = (everything(&joined.reader), reference(input, rate, position));
            assert_eq!(got.len(), want.len(), "{input} to {rate} Hz");
            let begin = joined.reader.unused_until() as usize;
            assert!(
                begin < got.len() - 500,
                "it begins at {begin} of {}",
                got.len()
            );
            for (n, (got, want)) in got.iter().zip(&want).enumerate() {
                let exact = if n < begin {
                    n + 400 > begin || *got == 0.0
                } else {
                    got.to_bits() == want.to_bits()
                };
                assert!(exact, "{input} to {rate} Hz: sample {n} of {begin}");
            }
            let losses = joined.reader.losses();
            assert_eq!(losses.gaps + losses.samples, 0, "nothing was lost");
        }
    }
}

/// The ring of the source's own rate holds what it sent, to the bit.
#[test]
fn the_sources_own_rate_passes_to_the_bit() {
    for rate in Rate::ALL {
        let (ring, capture, ..) = Ring::at(rate, 1 << 18).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let wake_up_thread = WakeUpThread::start(Arc::new(ring), || {}).unwrap();
        let ingest = Ingest::new(capture, wake_up_thread.notifier()).unwrap();
        ingest.expect(rate.hz());
        (0..100).for_each(|n| give(&ingest, rate.hz(), 1, n * 333, 333));
        let got = everything(&reader);
        assert_eq!(got.len(), 33_300);
        assert!(
            (0..)
                .map(sound)
                .zip(&got)
                .all(|(want, got)| want.to_bits() == got.to_bits())
        );
    }
}

#[test]
fn what_joins_and_leaves_a_thousand_times_leaves_nothing_behind() {
    let Setup {
        ingest,
        reader,
        _ringer,
    } = setup();
    ingest.expect(48_000);
    let mut position = 0;
    for n in 0..1000 {
        let rate = Rate::ALL[[0, 2, 3, 4][n % 4]];
        // By turns with a block in between and without, and twice the same.
        let (ring, capture, ..) = Ring::at(rate, 1 << 16).unwrap();
        let wake_up_thread = WakeUpThread::start(Arc::new(ring), || {}).unwrap();
        ingest
            .add(capture, wake_up_thread.notifier(), &reader)
            .unwrap();
        if n % 3 > 0 {
            give(&ingest, 48_000, 1, position, 96);
            position += 96;
        }
        if n % 5 > 0 {
            ingest.remove(rate);
        }
        ingest.prepare();
    }
    give(&ingest, 48_000, 1, position, 96);
    let memory = std::fs::read_to_string("/proc/self/status").unwrap();
    let shared = memory
        .lines()
        .find_map(|line| line.strip_prefix("RssShmem:"))
        .unwrap();
    let kib: u64 = shared.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 64 << 10, "{kib} KiB of rings are still mapped");
    assert_eq!(reader.losses().gaps, 0);
    let expected = super::reference(48_000, position + 96);
    assert_eq!(everything(&reader), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Where a clock counts more samples than time passes, as a graph whose quantum grows,
    /// positions go with time, and what that drops stands behind a gap at every rate: also where
    /// there is no resampler that smears.
    #[test]
    fn what_a_hasty_clock_drops_is_told(
        output in prop::sample::select(&Rate::ALL),
        quantum in 64_u64..2048,
        hasty_ms in 60_i64..400,
        before in 20_u64..100,
    ) {
        let rate = 48_000;
        let Setup { ingest, reader, _ringer } = setup();
        ingest.expect(rate);
        // The ring at 16 kHz is that of the setup.
        let joined = (output != reader.rate()).then(|| join(&ingest, &reader, output));
        let reader = joined.as_ref().map_or(&reader, |joined| &joined.reader);
        let mut position = 0;
        let mut until = |blocks: u64, early_ns: i64| {
            for _ in 0..blocks {
                let samples: Vec<f32> = (position..position + quantum).map(sound).collect();
                let time_ns = time_of(position, rate) - early_ns;
                arrive(&ingest, &Block { rate, clock: 1, position, time_ns, ..Block::mono(&samples) });
                position += quantum;
            }
        };
        until(before, 0);
        let gaps = reader.losses().gaps;
        until(48_000 / quantum + before, hasty_ms * 1_000_000);
        prop_assert_eq!(reader.losses().gaps, gaps + 1, "nothing tells of {} ms", hasty_ms);
        // Time and position are together again, but for what one block may be off.
        let end = time_of(position, rate) - hasty_ms * 1_000_000;
        let newest = START_NS + reader.rate().ns(reader.committed() as i64);
        prop_assert!((end - newest).abs() <= 12_000_000, "off by {} ns", end - newest);
    }
}
