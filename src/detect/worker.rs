//! The VAD worker: an ordinary reader of the ring on a thread of its own. For every
//! window it publishes a probability, and where speech begins and ends, beside the
//! samples. It can be late; it never skips a window and never holds anybody up.
//!
//! Here is when it works and what it tells others; what it does with a window is in
//! [`track`].

mod track;

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::track::Track;
use super::WINDOW;
use super::backend::{Backend, Settings};
use super::meter::Meter;
use super::place::{self, Cpu};
use super::segment::{OnOff, Params};
use crate::error::Result;
use crate::ring::{Notifier, Reader, SpeechWriter, Subscription};
use crate::rt::bounded::{Bounded, Calls};
use crate::rt::{self, Promotion, Role};
use crate::status::VadStatus;
use crate::time::monotonic_ns;

const STEP: u64 = WINDOW as u64;
const WINDOW_MS: u64 = STEP * 1000 / super::SAMPLE_RATE as u64;
/// Windows judged in a row before anybody is told.
const RUN: u64 = 16;
/// More complete windows than this without a probability: the worker is behind.
const BEHIND: u64 = 32;
/// Filled silence passed over before anybody is told: an hour takes some 50 ms.
const PASSED: u64 = 8192;
/// While it catches up, the worker rests so long after each run: its priority
/// must not keep others from its CPU, nor use up RLIMIT_RTTIME.
const REST: Duration = Duration::from_millis(1);

/// The worker; drained, stopped and joined when dropped.
#[derive(Debug)]
pub struct Worker {
    settings: Settings,
    shared: Arc<Shared>,
    windows: Subscription,
    thread: Option<Bounded>,
    /// The main thread's own.
    watch: Mutex<Watch>,
}

/// What the worker tells others; nobody waits for anybody here, except for words
/// that are written once or after a failure.
#[derive(Debug)]
struct Shared {
    reader: Reader,
    /// The source comes in real time.
    live: bool,
    draining: AtomicBool,
    stopped: AtomicBool,
    model: OnceLock<String>,
    problem: Mutex<Option<String>>,
    promotion: OnceLock<Promotion>,
    pinned: Mutex<Option<rt::Grant>>,
    cost: Meter,
    delay: Meter,
    worst: AtomicU64,
    caught_up: AtomicU64,
    missed: AtomicU64,
    migrations: AtomicU64,
    unusable: AtomicU64,
}

/// What was seen of the worker and said about it so far.
#[derive(Debug, Default)]
struct Watch {
    allowed: Vec<usize>,
    cpu: Option<usize>,
    /// The audio thread was on the worker's core when last looked at.
    crowded: bool,
    looked: Option<Instant>,
    caught_up: u64,
    missed: u64,
    problem: Option<String>,
}

impl Worker {
    /// Starts the thread, which loads the model; `live` if audio comes in real time.
    pub fn start(
        settings: Settings,
        live: bool,
        reader: Reader,
        writer: SpeechWriter,
        windows: Subscription,
        notifier: Notifier,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            reader,
            live,
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            model: OnceLock::new(),
            problem: Mutex::new(None),
            promotion: OnceLock::new(),
            pinned: Mutex::new(None),
            cost: Meter::new(),
            delay: Meter::new(),
            worst: AtomicU64::new(0),
            caught_up: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            migrations: AtomicU64::new(0),
            unusable: AtomicU64::new(0),
        });
        let (told, asked, heard) = (shared.clone(), settings.clone(), windows.clone());
        let body = move |calls: &Calls| {
            let _stopped = Stopped(&told);
            work(&told, &asked, writer, &heard, &notifier, calls);
        };
        let spawned = match settings.backend {
            Backend::Off => {
                shared.stopped.store(true, Release);
                None
            }
            _ => Some(Bounded::spawn("v2m-vad", body)),
        };
        let thread = spawned.transpose()?;
        Ok(Self {
            settings,
            shared,
            windows,
            thread,
            watch: Mutex::new(Watch::default()),
        })
    }

    /// For a file that is played faster than real time.
    pub fn backpressure(&self) -> Backpressure {
        Backpressure(self.shared.clone())
    }

    /// How the thread asked for real time and what it got; `None` before that.
    pub fn promotion(&self) -> Option<&Promotion> {
        self.shared.promotion.get()
    }

    /// Nothing follows in the ring: waits until all of it is judged, at most `limit`.
    pub fn finish(&self, limit: Duration) {
        self.shared.draining.store(true, Release);
        self.windows.nudge();
        let deadline = Instant::now() + limit;
        while !self.shared.stopped.load(Acquire) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// To be called often: keeps off the core of the audio thread (its id, if it is
    /// known), and says what happened to the worker, which itself never logs.
    pub fn look_after(&self, audio: Option<i32>) {
        let watch = &mut *lock(&self.watch);
        if watch
            .looked
            .is_some_and(|looked| looked.elapsed() < Duration::from_secs(1))
        {
            return;
        }
        watch.looked = Some(Instant::now());
        if self.settings.cpu == Cpu::Auto && !self.shared.stopped.load(Acquire) {
            self.keep_off(watch, audio.and_then(rt::last_cpu));
        }
        self.report(watch);
    }

    fn keep_off(&self, watch: &mut Watch, audio: Option<usize>) {
        let Some(promotion) = self.shared.promotion.get() else {
            return;
        };
        if watch.allowed.is_empty() {
            let scheduling = promotion.got.as_ref();
            watch.allowed = scheduling.map_or_else(Vec::new, |got| got.cpus.clone());
        }
        let cpu = place::choose(&watch.allowed, audio, watch.cpu, place::siblings);
        // An audio thread that passes by is no reason to move; one that stays is.
        let crowded = watch.cpu.is_some() && cpu != watch.cpu;
        if std::mem::replace(&mut watch.crowded, crowded) == crowded
            && let Some(cpu) = cpu
            && watch.cpu != Some(cpu)
        {
            let grant = rt::pin_thread(promotion.tid, cpu);
            watch.cpu = grant.granted.then_some(cpu);
            watch.crowded = false;
            *lock(&self.shared.pinned) = Some(grant);
        }
    }

    fn report(&self, watch: &mut Watch) {
        let shared = &self.shared;
        let problem = lock(&shared.problem).clone();
        if problem != watch.problem {
            if let Some(problem) = &problem {
                tracing::warn!("no speech detection: {problem}");
            }
            watch.problem = problem;
        }
        let caught_up = shared.caught_up.load(Relaxed);
        if caught_up > watch.caught_up {
            watch.caught_up = caught_up;
            let worst = shared.worst.load(Relaxed) * WINDOW_MS;
            tracing::warn!(
                "speech detection was behind and caught up, {caught_up} times so far, by {worst} ms at most"
            );
        }
        let missed = shared.missed.load(Relaxed);
        if missed > watch.missed {
            watch.missed = missed;
            tracing::error!("{missed} windows have no speech probability so far");
        }
    }

    /// How it is, and what is not as it should be.
    pub fn status(&self) -> (VadStatus, Vec<String>) {
        let shared = &self.shared;
        let load = |count: &AtomicU64| count.load(Relaxed);
        let windows = shared.reader.speech_committed();
        let lag = match shared.stopped.load(Acquire) {
            true => 0,
            false => shared.complete().saturating_sub(windows),
        };
        let pinned = lock(&shared.pinned).clone();
        let tid = shared.promotion.get().map(|promotion| promotion.tid);
        let scheduling = tid
            .filter(|_| !shared.stopped.load(Acquire))
            .and_then(rt::inspect);
        let status = VadStatus {
            backend: self.settings.backend.name().into(),
            model: shared.model.get().cloned(),
            problem: lock(&shared.problem).clone(),
            cpu: scheduling
                .as_ref()
                .filter(|_| pinned.as_ref().is_some_and(|grant| grant.granted))
                .and_then(|scheduling| scheduling.cpus.first().copied()),
            scheduling: scheduling.map(|scheduling| scheduling.to_string()),
            windows,
            lag_ms: lag * WINDOW_MS,
            worst_lag_ms: load(&shared.worst) * WINDOW_MS,
            caught_up: load(&shared.caught_up),
            missed: load(&shared.missed),
            cost_us: shared.cost.percentiles(),
            delay_us: shared.delay.percentiles(),
            migrations: load(&shared.migrations),
            unusable_samples: load(&shared.unusable),
        };
        let mut degraded = Vec::new();
        if let Some(problem) = &status.problem {
            degraded.push(format!("no speech detection: {problem}"));
        }
        if let Some(why) = pinned.and_then(|grant| grant.why_not) {
            let cpu = self.settings.cpu;
            degraded.push(format!(
                "the VAD worker is not pinned (vad.cpu = {cpu}): {why}"
            ));
        }
        if lag > BEHIND {
            let ms = status.lag_ms;
            degraded.push(format!(
                "speech detection is {ms} ms behind and catching up"
            ));
        }
        if status.missed > 0 {
            let missed = status.missed;
            degraded.push(format!("{missed} windows have no speech probability: the worker was behind by more than the ring keeps, or the model failed"));
        }
        if status.unusable_samples > 0 {
            let count = status.unusable_samples;
            degraded.push(format!("{count} samples were no usable numbers (NaN, infinite) and count as silence: look at the source"));
        }
        (status, degraded)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.draining.store(true, Release);
        self.windows.nudge();
        if let Some(mut thread) = self.thread.take() {
            thread.join();
        }
    }
}

/// Keeps a file that is played faster than real time from running away from the
/// worker: the one reader that any source waits for.
#[derive(Clone, Debug)]
pub struct Backpressure(Arc<Shared>);

impl Backpressure {
    /// Waits while more windows than the worker takes at once have no probability,
    /// until `stop` is set or the worker is gone.
    pub fn hold(&self, stop: &AtomicBool) {
        let shared = &self.0;
        loop {
            let ticket = shared.reader.ticket();
            let waiting = shared
                .complete()
                .saturating_sub(shared.reader.speech_committed());
            if waiting <= RUN || shared.stopped.load(Acquire) || stop.load(Relaxed) {
                return;
            }
            shared.reader.wait(ticket, Duration::from_millis(100));
        }
    }
}

impl Shared {
    /// Windows whose samples are all there.
    fn complete(&self) -> u64 {
        self.reader.committed() / STEP
    }

    /// Windows of filled silence that follow this one, which lies at its edge.
    fn filled_after(&self, window: u64) -> u64 {
        let deep = window + 2;
        let gap = self.reader.gap_at(deep * STEP);
        gap.map_or(0, |(_, end)| (end / STEP).saturating_sub(deep))
    }
}

/// Set when the thread ends, however it ends.
struct Stopped<'a>(&'a Shared);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Release);
    }
}

/// The thread.
fn work(
    shared: &Shared,
    settings: &Settings,
    writer: SpeechWriter,
    windows: &Subscription,
    notifier: &Notifier,
    calls: &Calls,
) {
    // At an ordinary priority: ONNX Runtime takes its time to load.
    let opened = calls
        .during("loading the speech model", || settings.open())
        .and_then(|model| Ok((model, OnOff::new(&Params::default())?)));
    let (model, turns) = match opened {
        Ok((Some(model), turns)) => (model, turns),
        Ok((None, _)) => return,
        Err(error) => {
            *lock(&shared.problem) = Some(error.to_string());
            return;
        }
    };
    let _ = shared.model.set(model.name().to_owned());
    // What isn't paced by a clock never sleeps: no priority for that.
    let promotion = match shared.live {
        true => rt::promote(Role::Vad),
        false => rt::unpromoted(Role::Vad, "the file is not played in real time"),
    };
    let _ = shared.promotion.set(promotion);
    if let Cpu::Number(cpu) = settings.cpu {
        *lock(&shared.pinned) = Some(rt::pin(cpu));
    }
    let mut track = Track::new(shared, model, writer, turns);
    // What came before the model was there is no lateness.
    let (mut behind, mut loading) = (false, true);
    loop {
        let ticket = windows.ticket();
        let waiting = shared.complete().saturating_sub(track.window());
        if waiting == 0 {
            if std::mem::take(&mut behind) {
                shared.caught_up.fetch_add(1, Relaxed);
            }
            loading = false;
            if shared.draining.load(Acquire) {
                // A last look: what came before the order is judged.
                if shared.complete() > track.window() {
                    continue;
                }
                track.end();
                notifier.notify();
                return;
            }
            windows.wait(ticket);
            continue;
        }
        if track.pass_silence(waiting.min(PASSED)) {
            notifier.notify();
            continue;
        }
        if !loading {
            let late = match waiting > BEHIND {
                true => waiting - shared.filled_after(track.window()).min(waiting - 1),
                false => waiting,
            };
            behind |= late > BEHIND;
            shared.worst.fetch_max(late - 1, Relaxed);
        }
        let written_ns = shared.reader.written_ns();
        for _ in 0..waiting.min(RUN) {
            track.step();
        }
        if waiting == 1 && shared.live {
            shared.delay.record(monotonic_ns() - written_ns);
        }
        notifier.notify();
        if waiting > RUN && shared.live {
            thread::sleep(REST);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
