//! How regularly a backend calls: the capture side of `benches/jitter.py`, which
//! runs it in each situation.
//!
//! Usage: `jitter pipewire|alsa:PCM PERIOD SECONDS`. Prints one JSON document: how
//! the audio thread is scheduled, how many nanoseconds each block came after the
//! moment that the most punctual one sets, and the samples lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use v2m_client::quantum::Quantum;
use v2m_engine::capture::alsa::{self, AlsaSource, Stop};
use v2m_engine::capture::pipewire::{Options, Pipewire};
use v2m_engine::capture::{Block, Sink};
use v2m_ring::time::monotonic_ns;
use v2m_rt as rt;
use v2m_rt::Role;

/// Blocks at the beginning that are left out: threads start, caches are cold.
const WARM_UP: usize = 100;

/// One block: when it came, where it belongs, how long it is.
type Call = (i64, u64, usize, u32);

/// Room for every call, taken before the first.
struct Calls {
    next: AtomicUsize,
    // Only the audio thread takes the lock until the capture is over.
    all: Mutex<Vec<Call>>,
}

impl Sink for Calls {
    fn block(&self, block: &Block<'_>) {
        let now = monotonic_ns();
        if let Ok(mut all) = self.all.try_lock() {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if let Some(call) = all.get_mut(at) {
                *call = (now, block.position, block.frames(), block.rate);
            }
        }
    }
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo adds this for benches.
    arguments.retain(|argument| argument != "--bench");
    let [backend, period, seconds] = &arguments[..] else {
        // Run by `cargo bench` without a situation: nothing to measure.
        return;
    };
    let period: u32 = period.parse().expect("a period in frames");
    let seconds: u64 = seconds.parse().expect("seconds");
    let room = (seconds + 5) as usize * 48_000 / period as usize * 2;
    let calls = Arc::new(Calls {
        next: AtomicUsize::new(0),
        all: Mutex::new(vec![(0, 0, 0, 0); room]),
    });
    let time = Duration::from_secs(seconds);
    let scheduling = match backend.strip_prefix("alsa:") {
        Some(pcm) => from_alsa(pcm, period, time, &calls),
        None => from_pipewire(period, time, &calls),
    };
    let count = calls.next.load(Ordering::Relaxed).min(room);
    let all = &calls.all.lock().unwrap()[..count];
    let (late, lost) = judge(all.get(WARM_UP..).unwrap_or_default());
    let report = serde_json::json!({"scheduling": scheduling, "late_ns": late, "lost": lost});
    println!("{report}");
}

fn from_alsa(pcm: &str, period: u32, time: Duration, calls: &Arc<Calls>) -> String {
    let options = alsa::Options {
        period: Some(period),
        ..Default::default()
    };
    let mut source = AlsaSource::open(pcm, options).unwrap_or_else(|error| panic!("{error}"));
    let stop = Stop::new().unwrap();
    thread::scope(|scope| {
        let audio = scope.spawn(|| {
            let promotion = rt::promote(Role::Capture);
            rt::lock_stack();
            source.capture(&**calls, &|_| {}, &stop);
            promotion.got.map(|got| got.to_string())
        });
        thread::sleep(time);
        stop.stop();
        audio.join().unwrap().unwrap_or_default()
    })
}

fn from_pipewire(period: u32, time: Duration, calls: &Arc<Calls>) -> String {
    let options = Options {
        latency: Some(Quantum {
            samples: period,
            rate: 48_000,
        }),
        ..Options::default()
    };
    let mut pipewire = Pipewire::start(options, calls.clone(), Box::new(|_| {})).expect("a thread");
    thread::sleep(time);
    let thread = pipewire.state().thread;
    pipewire.stop();
    thread.map(|got| got.to_string()).unwrap_or_default()
}

/// How late each call came, and how many samples are missing between them.
fn judge(calls: &[Call]) -> (Vec<i64>, u64) {
    let Some(&(_, first, _, rate)) = calls.first() else {
        return (Vec::new(), 0);
    };
    let due = |position: u64, length: usize| {
        let frames = i128::from(position) - i128::from(first) + length as i128;
        (frames * 1_000_000_000 / i128::from(rate.max(1))) as i64
    };
    let offset = |call: &Call| call.0 - due(call.1, call.2);
    let punctual = calls.iter().map(offset).min().unwrap_or(0);
    let missing = |pair: &[Call]| pair[1].1.saturating_sub(pair[0].1 + pair[0].2 as u64);
    (
        calls.iter().map(|call| offset(call) - punctual).collect(),
        calls.windows(2).map(missing).sum(),
    )
}
