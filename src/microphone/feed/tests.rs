use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;
use v2m_dsp::gate::Params;
use v2m_ring::{CaptureWriter, Ring, SpeechWriter};

const RATE: u32 = 16_000;
const WINDOW: usize = 512;
const BEHIND: usize = (MARGIN_MS * RATE as u64 / 1000) as usize;

/// An engine that writes, and one who records.
struct Both {
    capture: CaptureWriter,
    speech: SpeechWriter,
    feed: Feed,
    counts: Arc<Counts>,
    written: Vec<f32>,
    recorded: Vec<f32>,
}

impl Both {
    fn new(gate: Option<Params>) -> Self {
        let (ring, capture, speech, _) = Ring::create(1 << 16).expect("a ring");
        let reader = Reader::new(ring.duplicate().expect("a descriptor")).expect("a reader");
        let counts = Arc::new(Counts::default());
        let gate = gate.map(|params| (Gate::new(RATE, params).expect("a gate"), params.ahead_ms()));
        Self {
            capture,
            speech,
            feed: Feed::new(reader, RATE, gate, counts.clone()),
            counts,
            written: Vec::new(),
            recorded: Vec::new(),
        }
    }

    /// No sample is 0, and none is far from those beside it.
    fn write(&mut self, count: usize) {
        let from = self.written.len();
        let wave = |i: usize| 0.3 + 0.2 * (i as f32 * 0.0063).sin();
        self.written.extend((from..from + count).map(wave));
        self.capture
            .append(&self.written[from..], from as i64 * 62_500);
    }

    fn judge(&mut self, track: &[f32]) {
        while ((self.speech.window() + 1) as usize * WINDOW) <= self.written.len() {
            let window = self.speech.window() as usize;
            self.speech
                .probability(track.get(window).copied().unwrap_or(0.0));
        }
    }

    fn record(&mut self, count: usize) {
        let out: Vec<AtomicU32> = (0..count).map(|_| AtomicU32::new(1)).collect();
        self.feed.fill(&out, self.written.len() as i64 * 62_500);
        let samples = out.iter().map(|s| f32::from_bits(s.load(Relaxed)));
        self.recorded.extend(samples);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// By one clock every sample comes, once, a constant time later, however late the
    /// engine's cycles are against those of whoever records.
    #[test]
    fn by_one_clock_nothing_is_lost_and_nothing_moves(
        before in 0_usize..3000,
        quanta in prop::collection::vec((1_usize..=341, any::<bool>()), 1..300),
    ) {
        let mut both = Both::new(None);
        both.write(before);
        let mut owed = 0;
        for (quantum, late) in quanta {
            // One cycle may come after the other side's.
            if late && owed == 0 {
                owed = quantum;
            } else {
                both.write(owed + quantum);
                owed = 0;
            }
            both.record(quantum);
        }
        prop_assert_eq!(both.counts.missed.load(Relaxed), 0);
        prop_assert_eq!(both.counts.slips.load(Relaxed), 0);
        // What is before the first sample is silence, and no loss.
        let Some(end) = both.feed.next else { return Ok(()) };
        let first = end - both.recorded.len() as i64;
        prop_assert!((before as i64 - first - BEHIND as i64).abs() <= 341);
        for (position, &sample) in (first..end).zip(&both.recorded) {
            let position = usize::try_from(position);
            let expected = position.map_or(0.0, |position| both.written[position]);
            prop_assert_eq!(sample.to_bits(), expected.to_bits());
        }
    }
}

#[test]
fn utterances_come_whole_with_exact_silence_between() {
    let params = Params::default();
    let mut both = Both::new(Some(params));
    // 200 utterances of 6 to 25 windows, 30 to 45 apart.
    let mut track = vec![0.1; 20];
    let mut utterances = Vec::new();
    for number in 0..200 {
        let length = 6 + number * 7 % 20;
        utterances.push((track.len(), track.len() + length));
        track.resize(track.len() + length, 0.9);
        track.resize(track.len() + 30 + number % 16, 0.1);
    }
    for _ in 0..track.len() * WINDOW / 128 {
        both.write(128);
        both.judge(&track);
        both.record(128);
    }
    let behind = BEHIND + params.ahead_ms() as usize * 16;
    let [look_ahead, hold, fade_in, fade_out] = [1920, 6400, 160, 800];
    assert_eq!(both.counts.missed.load(Relaxed), 0);
    let recorded = |position: usize| both.recorded.get(position + behind - 128).copied();
    let mut silent_from = 0;
    for (start, end) in utterances {
        let (start, end) = (start * WINDOW - look_ahead, end * WINDOW + hold);
        for position in silent_from..start - fade_in {
            assert_eq!(recorded(position).map(f32::to_bits), Some(0), "{position}");
        }
        for position in start..end {
            let sample = recorded(position).map(f32::to_bits);
            assert_eq!(sample, Some(both.written[position].to_bits()), "{position}");
        }
        silent_from = end + fade_out;
    }
}

#[test]
fn without_a_speech_track_everything_goes_through_the_gate() {
    let mut both = Both::new(Some(Params::default()));
    for _ in 0..500 {
        both.write(128);
        both.record(128);
    }
    assert!(both.recorded[6000..].iter().all(|&s| s != 0.0));
}

/// A clock that is off by `per_mille`: hours in seconds.
fn drift(per_mille: i64) {
    let mut both = Both::new(None);
    both.write(4000);
    let mut owed = 0;
    for _ in 0..8000 {
        owed += 160 * (1000 + per_mille);
        both.write((owed / 1000) as usize);
        owed %= 1000;
        both.record(160);
        let distance = both.written.len() as i64 - both.feed.next.expect("it has begun");
        let usual = BEHIND as i64 - 160;
        assert!((distance - usual).abs() < 500, "{distance} for {usual}");
    }
    assert!(both.counts.slips.load(Relaxed) > 10);
    assert_eq!(both.counts.missed.load(Relaxed), 0);
    // A fade, no cut.
    let steps = both
        .recorded
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs());
    assert!(steps.skip(1).all(|step| step < 0.01));
}

#[test]
fn two_clocks_stay_together() {
    drift(2);
    drift(-2);
}

#[test]
fn a_stall_is_silence_and_moves_nothing() {
    let mut both = Both::new(None);
    both.write(4000);
    for cycle in 0..2000 {
        // For 0.3 s nothing comes, then all of it at once.
        match cycle {
            1000..1030 => {}
            1030 => both.write(31 * 160),
            _ => both.write(160),
        }
        both.record(160);
    }
    assert!(both.counts.missed.load(Relaxed) > 3000);
    assert_eq!(both.counts.slips.load(Relaxed), 0);
    let (shift, end) = (
        both.written.len() - both.feed.next.expect("begun") as usize,
        both.recorded.len(),
    );
    for back in 1..100_000 {
        assert_eq!(
            both.recorded[end - back],
            both.written[both.written.len() - shift - back]
        );
    }
}

#[test]
fn it_waits_for_audio_that_is_captured_now() {
    let mut both = Both::new(None);
    both.record(160);
    assert_eq!(both.feed.next, None, "there is nothing yet");
    both.write(16_000);
    let out = [const { AtomicU32::new(1) }; 160];
    both.feed.fill(&out, 16_000 * 62_500 + FRESH_NS);
    assert_eq!(both.feed.next, None, "what there is, is old");
    both.record(160);
    assert_eq!(both.feed.next, Some(16_000 - BEHIND as i64 + 160));
    assert_eq!(both.counts.missed.load(Relaxed), 0);
}
