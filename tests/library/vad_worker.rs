//! The VAD worker on a ring: what it publishes is what the model says of the same
//! windows, whatever happened to the audio and whenever the worker came to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use v2m_client::status::VadStatus;
use v2m_dsp::vad::hearing::Hearing;
use v2m_dsp::vad::native::Native;
use v2m_dsp::vad::segment::{Edge, OnOff, Params};
use v2m_dsp::vad::{Model, WINDOW};
use v2m_engine::detect::backend::{ModelBackend, Settings};
use v2m_engine::detect::worker::{SourceTrack, Worker};
use v2m_ring::notifier::WakeUpThread;
use v2m_ring::{
    CaptureWriter, Event, EventLane, GapReason, Kind, NS_PER_SAMPLE, Reader, Ring, Subscription,
};

const LIMIT: Duration = Duration::from_secs(20);

/// In the order of dropping.
struct Setup {
    track: SourceTrack,
    worker: Worker,
    capture: CaptureWriter,
    wake_up_thread: WakeUpThread,
    reader: Reader,
}

fn setup(settings: Settings, live: bool, before: &[f32]) -> Setup {
    let (ring, mut capture, speech, _) = Ring::create(1 << 20).unwrap();
    let reader = || Reader::new(ring.duplicate().unwrap()).unwrap();
    let (ours, theirs) = (reader(), reader());
    // What it finds there when it starts is a backlog like any other.
    for piece in before.chunks(1 << 16) {
        let position = capture.position();
        capture.append(piece, time_of(position));
    }
    let wake_up_thread = WakeUpThread::start(Arc::new(ring), || {}).unwrap();
    let (windows, notifier) = (wake_up_thread.windows(), wake_up_thread.notifier());
    let worker = Worker::start(settings, windows).unwrap();
    let track = worker.hear(theirs, live, speech, notifier);
    Setup {
        track,
        worker,
        capture,
        wake_up_thread,
        reader: ours,
    }
}

fn time_of(position: u64) -> i64 {
    7_000_000_000 + position as i64 * NS_PER_SAMPLE
}

impl Setup {
    fn write(&mut self, samples: &[f32]) {
        let position = self.capture.position();
        self.capture.append(samples, time_of(position));
        self.wake_up_thread.notifier().notify();
    }

    /// All probabilities, once the worker is through.
    fn probabilities(&self) -> Vec<f32> {
        let windows = self.reader.committed() / WINDOW as u64;
        let deadline = Instant::now() + LIMIT;
        while self.reader.speech_committed() < windows {
            let ticket = self.reader.ticket();
            if self.reader.speech_committed() < windows {
                self.reader.wait(ticket, Duration::from_millis(100));
            }
            assert!(Instant::now() < deadline, "{:?}", self.status());
        }
        let mut all = vec![0.0; windows as usize];
        self.reader.read_speech(0, &mut all).unwrap();
        all
    }

    fn status(&self) -> (VadStatus, Vec<String>) {
        self.worker.status(&self.track)
    }

    fn turns(&self) -> Vec<Event> {
        (0..self.reader.records_committed(EventLane::SpeechEvents))
            .map(|number| self.reader.record(EventLane::SpeechEvents, number).unwrap())
            .collect()
    }
}

/// Ten seconds of speech and other things.
fn audio() -> Vec<f32> {
    include_bytes!("../data/vad_golden.i16")
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 32768.0)
        .collect()
}

/// What runs where nothing is configured.
fn model() -> Box<dyn Model> {
    Hearing::default().apply(Box::new(Native::new()))
}

/// What it says of the windows, starting anew after those in `gaps`.
fn expected(samples: &[f32], gaps: &[usize]) -> Vec<f32> {
    heard(model(), samples, gaps)
}

fn heard(mut model: Box<dyn Model>, samples: &[f32], gaps: &[usize]) -> Vec<f32> {
    let windows = samples.as_chunks::<WINDOW>().0.iter().enumerate();
    let judge = windows.map(|(n, window)| {
        if n > 0 && gaps.contains(&(n - 1)) {
            model.reset();
        }
        model.probability(window).unwrap()
    });
    judge.collect()
}

#[test]
fn every_window_gets_what_the_model_says_of_it() {
    let audio = audio();
    let mut setup = setup(Settings::default(), true, &[]);
    // Blocks that divide nothing.
    for block in audio.chunks(171) {
        setup.write(block);
    }
    assert_eq!(setup.probabilities(), expected(&audio, &[]));
    let (status, degraded) = setup.status();
    assert_eq!(status.windows as usize, audio.len() / WINDOW);
    assert_eq!((status.missed, status.lag_ms), (0, 0));
    assert!(status.model.unwrap().contains("native"));
    assert!(status.cost_us.unwrap().p50 > 0.0);
    assert_eq!(degraded, Vec::<String>::new());
}

#[test]
fn plain_hearing_is_the_network_alone() {
    let audio = audio();
    let settings = Settings {
        hearing: Hearing::Plain,
        ..Settings::default()
    };
    let setup = setup(settings, true, &audio);
    setup.wake_up_thread.notifier().notify();
    let found = setup.probabilities();
    assert_eq!(found, heard(Box::new(Native::new()), &audio, &[]));
    assert_ne!(found, expected(&audio, &[]));
}

#[test]
fn a_backlog_is_worked_off_window_by_window() {
    let audio: Vec<f32> = audio().into_iter().cycle().take(150_000).collect();
    for live in [true, false] {
        let setup = setup(Settings::default(), live, &audio);
        setup.wake_up_thread.notifier().notify();
        assert_eq!(setup.probabilities(), expected(&audio, &[]), "live: {live}");
    }
}

/// Any number of sources, of different beginnings, lengths and gaps: each gets what the model
/// says of it alone, but for the order of sums.
#[test]
fn sources_that_are_judged_together_do_not_concern_each_other() {
    let audio = audio();
    for count in [2, 3, 5, 17] {
        let wake_up = Subscription::default();
        let worker = Worker::start(Settings::default(), wake_up.clone()).unwrap();
        let mut sources = Vec::new();
        for n in 0..count {
            let (ring, mut capture, speech, _) = Ring::create(1 << 18).unwrap();
            let reader = || Reader::new(ring.duplicate().unwrap()).unwrap();
            let (reader, theirs) = (reader(), reader());
            let thread = WakeUpThread::start(Arc::new(ring), || {}).unwrap();
            let mut samples: Vec<f32> = audio[n * 5_000..][..60_000 + n * 1_000].to_vec();
            // Silence that nobody captured, in some of them, each at another time.
            let gap = (n % 2 == 1).then_some(20_000 + n * 777..21_000 + n * 777);
            for position in (0..samples.len()).step_by(500) {
                let piece = position..(position + 500).min(samples.len());
                let lost = gap.as_ref().is_some_and(|gap| gap.contains(&position));
                if lost {
                    samples[piece.clone()].fill(0.0);
                    capture.gap(500, GapReason::Xrun, 0);
                    capture.append_silence(500, 0);
                } else {
                    capture.append(&samples[piece], 0);
                }
            }
            let lost = (0..samples.len() / WINDOW)
                .filter(|n| reader.has_gap((n * WINDOW) as u64, WINDOW as u64));
            let expected = expected(&samples, &lost.collect::<Vec<_>>());
            let track = worker.hear(theirs, n % 3 == 0, speech, thread.notifier());
            sources.push((track, reader, expected, thread));
        }
        for (n, (track, reader, expected, _)) in sources.iter().enumerate() {
            track.finish(LIMIT);
            assert_eq!(reader.speech_committed() as usize, expected.len());
            let mut found = vec![0.0; expected.len()];
            reader.read_speech(0, &mut found).unwrap();
            for (window, (found, expected)) in found.iter().zip(expected).enumerate() {
                let difference = (found - expected).abs();
                assert!(
                    difference <= 1e-5,
                    "source {n} of {count}, window {window}: {difference:e}"
                );
            }
            assert_eq!(worker.status(track).0.missed, 0);
        }
    }
}

#[test]
fn turns_are_what_the_probabilities_say_and_the_last_one_ends() {
    let audio = audio();
    // Cut in the middle of speech.
    let windows = expected(&audio, &[]);
    let last = windows.iter().rposition(|&p| p > 0.9).unwrap() + 1;
    let mut setup = setup(Settings::default(), true, &[]);
    setup.write(&audio[..last * WINDOW]);
    setup.track.finish(LIMIT);

    let mut rules = OnOff::new(&Params::default()).unwrap();
    let pushed = (0..last).filter_map(|n| rules.push(n as u64, windows[n]));
    let mut edges: Vec<Edge> = pushed.collect();
    edges.extend(rules.reset((last * WINDOW) as u64));
    assert!(matches!(edges[..], [Edge::Start(_), .., Edge::End(_)]));
    let turns = setup.turns();
    assert_eq!(turns.len(), edges.len());
    let mut start = 0;
    for (turn, edge) in turns.iter().zip(edges) {
        let (kind, position, length) = match edge {
            Edge::Start(position) => (Kind::SpeechStart, position, 0),
            Edge::End(position) => (Kind::SpeechEnd, position, position - start),
        };
        assert_eq!((turn.kind, turn.position), (kind as u32, position));
        assert_eq!((turn.length, turn.time_ns), (length, time_of(position)));
        start = position;
    }
}

#[test]
fn after_a_gap_the_model_starts_anew() {
    let mut audio = audio();
    let mut setup = setup(Settings::default(), true, &[]);
    // Within one window, across two, over several, up to a window's last sample.
    let gaps = [
        (70 * 512 + 100, 60),
        (90 * 512 - 5, 10),
        (120 * 512, 5000),
        (200 * 512, 512),
    ];
    let mut touched = Vec::new();
    for (position, length) in gaps {
        let at = setup.capture.position() as usize;
        setup.write(&audio[at..position]);
        setup
            .capture
            .gap(length as u64, GapReason::Xrun, time_of(position as u64));
        setup
            .capture
            .append_silence(length as u64, time_of(position as u64));
        audio[position..position + length].fill(0.0);
        touched.extend(position / WINDOW..=(position + length - 1) / WINDOW);
    }
    let at = setup.capture.position() as usize;
    setup.write(&audio[at..]);
    let found = setup.probabilities();
    assert_eq!(found, expected(&audio, &touched));
    assert_ne!(
        found,
        expected(&audio, &[]),
        "a reset must make a difference here"
    );
}

#[test]
fn a_night_in_which_nobody_listened_is_silence_and_no_lateness() {
    let audio = &audio()[..90 * WINDOW + 100];
    let mut setup = setup(Settings::default(), true, &[]);
    setup.write(audio);
    let before = setup.probabilities();
    // Ten hours at once, more than the ring keeps; then the same again.
    let (first, night) = (setup.capture.position(), 10 * 3600 * 16_000);
    setup
        .capture
        .gap(night, GapReason::NotCaptured, time_of(first));
    setup.capture.append_silence(night, time_of(first));
    setup.write(audio);
    let end = (first + night) as usize / WINDOW;
    let deadline = Instant::now() + LIMIT;
    while setup.reader.speech_committed() < setup.reader.committed() / WINDOW as u64 {
        assert!(Instant::now() < deadline, "{:?}", setup.status());
        std::thread::sleep(Duration::from_millis(5));
    }
    let windows = setup.reader.speech_committed();
    let mut after = vec![0.0; 100.min(windows as usize - end + 1)];
    setup
        .reader
        .read_speech(end as u64 - 9, &mut after)
        .unwrap();
    let silence = model().probability(&[0.0; WINDOW]).unwrap();
    assert_eq!(after[..9], [silence; 9]);
    // What lies across the end of the night, and what follows it.
    let mut samples = vec![0.0; (windows - end as u64) as usize * WINDOW];
    setup
        .reader
        .read_samples((end * WINDOW) as u64, &mut samples)
        .unwrap();
    assert_eq!(after[9..], expected(&samples, &[0])[..after.len() - 9]);
    assert_eq!(before.len(), 90);
    let (status, degraded) = setup.status();
    assert_eq!(status.missed, 0);
    // No more than the audio itself, which came at once.
    assert!(status.worst_lag_ms < 100 * 32, "{status:?}");
    assert_eq!(degraded, Vec::<String>::new());
}

#[test]
fn what_is_no_number_counts_as_silence_and_shows() {
    let (mut wrong, mut silent) = (audio(), audio());
    for (n, bad) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30]
        .into_iter()
        .enumerate()
    {
        wrong[40_000 + 1000 * n..][..700].fill(bad);
        silent[40_000 + 1000 * n..][..700].fill(0.0);
    }
    let mut setup = setup(Settings::default(), true, &[]);
    setup.write(&wrong);
    assert_eq!(setup.probabilities(), expected(&silent, &[]));
    let (status, degraded) = setup.status();
    assert_eq!(status.unusable_samples, 2800);
    assert!(
        degraded.iter().any(|line| line.contains("2800 samples")),
        "{degraded:?}"
    );
}

#[test]
fn a_brake_lets_go_when_the_worker_is_through_or_gone_or_nobody_wants_it() {
    let audio = audio();
    let stop = AtomicBool::new(false);
    let off = Settings {
        backend: ModelBackend::Off,
        ..Settings::default()
    };
    let broken = Settings {
        model: Some("/nonexistent/weights".into()),
        ..Settings::default()
    };
    for (settings, live) in [(Settings::default(), false), (off, false), (broken, false)] {
        let mut setup = setup(settings, live, &[]);
        let backpressure = setup.track.backpressure();
        for block in audio[..60_000].chunks(1024) {
            setup.write(block);
            backpressure.hold(&stop);
            let (status, _) = setup.status();
            assert!(status.lag_ms <= 17 * 32 || status.problem.is_some());
        }
    }
    // A worker that nobody wakes: only the order to stop ends this.
    let setup = setup(Settings::default(), false, &audio);
    stop.store(true, Ordering::Relaxed);
    setup.track.backpressure().hold(&stop);
}

#[test]
fn a_model_that_will_not_load_is_said_and_nothing_else() {
    let settings = Settings {
        model: Some("/nonexistent/weights".into()),
        ..Settings::default()
    };
    let mut setup = setup(settings, true, &[]);
    setup.write(&audio());
    let deadline = Instant::now() + LIMIT;
    let problem = loop {
        if let Some(problem) = setup.status().0.problem {
            break problem;
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(
        problem.contains("/nonexistent/weights: No such file"),
        "{problem}"
    );
    assert_eq!(setup.reader.speech_committed(), 0);
    let (_, degraded) = setup.status();
    assert!(degraded[0].contains("no speech detection"), "{degraded:?}");
}
