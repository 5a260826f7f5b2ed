//! The VAD worker: an ordinary reader of the rings at 16 kHz, of all sources, on a thread of
//! its own. For every window it publishes a probability, and where speech begins and ends,
//! beside the samples of each of the source's rings. What is due of several sources is judged
//! together. It can be late; it never skips a window and never holds anybody up.
//!
//! Here is when it works and what it tells others; [`source`] is what a source's owner has
//! of it, and [`track`] what it does with a window.

mod source;
mod track;

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use self::source::SourceProgress;
pub use self::source::{Backpressure, SourceTrack};
use self::track::{Round, SpeechTrack};
use super::backend::{ModelBackend, Settings};
use super::detector::{Detector, DetectorSession, Due, TOGETHER};
use super::meter::Meter;
use super::place::{self, Cpu};
use super::segment::{OnOff, Params};
use v2m_client::status::VadStatus;
use v2m_error::{Result, text};
use v2m_ring::time::monotonic_ns;
use v2m_ring::{Notifier, Rate, Reader, SpeechWriter, Subscription, WINDOW};
use v2m_rt as rt;
use v2m_rt::bounded::{Bounded, Calls};
use v2m_rt::{Promotion, Role};

const WINDOW_MS: u64 = WINDOW * 1000 / super::SAMPLE_RATE as u64;
/// Windows of one source judged in a row before anybody is told.
const RUN: u64 = 16;
/// More complete windows than this without a probability: the worker is behind.
const BEHIND: u64 = 32;
/// Filled silence passed over before anybody is told: an hour takes some 50 ms.
const PASSED: u64 = 8192;
/// While it catches up, the worker rests so long after each run: its priority
/// must not keep others from its CPU, nor use up RLIMIT_RTTIME.
const REST: Duration = Duration::from_millis(1);

/// The worker; stopped and joined when dropped, after what its sources have is judged.
#[derive(Debug)]
pub struct Worker {
    settings: Settings,
    shared: Arc<WorkerShared>,
    windows: Subscription,
    thread: Option<Bounded>,
    /// The main thread's own.
    watch: Mutex<WorkerWatch>,
}

/// What the worker tells others; nobody waits for anybody here, except for words
/// that are written once or after a failure.
#[derive(Debug)]
struct WorkerShared {
    requests: Mutex<Vec<Request>>,
    /// No more sources: to end when all is judged.
    ending: AtomicBool,
    stopped: AtomicBool,
    model: OnceLock<String>,
    problem: Mutex<Option<String>>,
    promotion: Mutex<Option<Promotion>>,
    pinned: Mutex<Option<rt::Grant>>,
    cost: Meter,
    delay: Meter,
    migrations: AtomicU64,
}

/// What the worker is asked.
#[derive(Debug)]
enum Request {
    /// To hear a source, and write the track into its ring at 16 kHz.
    Hear {
        source: Arc<SourceProgress>,
        writer: SpeechWriter,
        notifier: Notifier,
    },
    /// To write it into another one, too, whose audio begins with this window.
    Add {
        source: Arc<SourceProgress>,
        writer: SpeechWriter,
        notifier: Notifier,
        begin: u64,
    },
    /// No longer to write into the one of this rate.
    Remove {
        source: Arc<SourceProgress>,
        rate: Rate,
    },
}

/// What was seen of the worker and said about it so far.
#[derive(Debug, Default)]
struct WorkerWatch {
    sources: Vec<Weak<SourceProgress>>,
    allowed: Vec<usize>,
    cpu: Option<usize>,
    /// The audio thread was on the worker's core when last looked at.
    crowded: bool,
    looked: Option<Instant>,
    problem: Option<String>,
}

impl Worker {
    /// Starts the thread, which loads the model. `windows` is where it waits: whoever makes
    /// known that a source's window is complete has to nudge it.
    pub fn start(settings: Settings, windows: Subscription) -> Result<Self> {
        let shared = Arc::new(WorkerShared {
            requests: Mutex::default(),
            ending: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            model: OnceLock::new(),
            problem: Mutex::new(None),
            promotion: Mutex::new(None),
            pinned: Mutex::new(None),
            cost: Meter::new(),
            delay: Meter::new(),
            migrations: AtomicU64::new(0),
        });
        let (told, asked, heard) = (shared.clone(), settings.clone(), windows.clone());
        let body = move |calls: &Calls| {
            let _stopped = StopGuard(&told);
            work(&told, &asked, &heard, calls);
        };
        let spawned = match settings.backend {
            ModelBackend::Off => {
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
            watch: Mutex::new(WorkerWatch::default()),
        })
    }

    /// Hears a source from its ring at 16 kHz, for as long as what this gives is held; `live`
    /// if its audio comes in real time.
    pub fn hear(
        &self,
        reader: Reader,
        live: bool,
        writer: SpeechWriter,
        notifier: Notifier,
    ) -> SourceTrack {
        let source = Arc::new(SourceProgress::new(reader, live));
        let watched = &mut lock(&self.watch).sources;
        watched.retain(|source| source.strong_count() > 0);
        watched.push(Arc::downgrade(&source));
        let track = SourceTrack {
            progress: source.clone(),
            shared: self.shared.clone(),
            windows: self.windows.clone(),
        };
        track.ask(Request::Hear {
            source,
            writer,
            notifier,
        });
        track
    }

    /// Where it waits.
    pub fn windows(&self) -> Subscription {
        self.windows.clone()
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

    fn keep_off(&self, watch: &mut WorkerWatch, audio: Option<usize>) {
        let Some(promotion) = lock(&self.shared.promotion).clone() else {
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

    fn report(&self, watch: &mut WorkerWatch) {
        let problem = lock(&self.shared.problem).clone();
        if problem != watch.problem {
            if let Some(problem) = &problem {
                tracing::warn!("no speech detection: {problem}");
            }
            watch.problem = problem;
        }
        for source in watch.sources.iter().filter_map(Weak::upgrade) {
            source.report();
        }
    }

    /// How it is with a source, and what is not as it should be.
    pub fn status(&self, track: &SourceTrack) -> (VadStatus, Vec<String>) {
        let (shared, source) = (&self.shared, &*track.progress);
        let load = |count: &AtomicU64| count.load(Relaxed);
        let stopped = shared.stopped.load(Acquire);
        let lag = match stopped || source.drained.load(Acquire) {
            true => 0,
            false => source.waiting(),
        };
        let pinned = lock(&shared.pinned).clone();
        let tid = lock(&shared.promotion)
            .as_ref()
            .map(|promotion| promotion.tid);
        let scheduling = tid.filter(|_| !stopped).and_then(rt::inspect);
        let status = VadStatus {
            backend: self.settings.backend.name().into(),
            model: shared.model.get().cloned(),
            problem: lock(&shared.problem).clone(),
            cpu: scheduling
                .as_ref()
                .filter(|_| pinned.as_ref().is_some_and(|grant| grant.granted))
                .and_then(|scheduling| scheduling.cpus.first().copied()),
            scheduling: scheduling.map(|scheduling| scheduling.to_string()),
            windows: source.reader.speech_committed(),
            lag_ms: lag * WINDOW_MS,
            worst_lag_ms: load(&source.worst) * WINDOW_MS,
            caught_up: load(&source.caught_up),
            missed: load(&source.missed),
            cost_us: shared.cost.percentiles(),
            delay_us: shared.delay.percentiles(),
            migrations: load(&shared.migrations),
            unusable_samples: load(&source.unusable),
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
            let missed = text::counted(status.missed, "window");
            degraded.push(format!("no speech probability for {missed}: the worker was behind by more than the ring keeps, or the model failed"));
        }
        if status.unusable_samples > 0 {
            let count = text::counted(status.unusable_samples, "sample");
            degraded.push(format!("no usable numbers (NaN, infinite) in {count}, which count as silence: look at the source"));
        }
        (status, degraded)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.ending.store(true, Release);
        self.windows.nudge();
        if let Some(mut thread) = self.thread.take() {
            thread.join();
        }
    }
}

/// Set when the thread ends, however it ends.
struct StopGuard<'a>(&'a WorkerShared);

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        let requests = &mut *lock(&self.0.requests);
        self.0.stopped.store(true, Release);
        requests.clear();
    }
}

/// The thread.
fn work(shared: &Arc<WorkerShared>, settings: &Settings, windows: &Subscription, calls: &Calls) {
    // At an ordinary priority: ONNX Runtime takes its time to load.
    let opened = calls.during("loading the speech model", || Detector::open(settings));
    let mut detector = match opened {
        Ok(Some(detector)) => detector,
        Ok(None) => return,
        Err(error) => {
            *lock(&shared.problem) = Some(error.to_string());
            return;
        }
    };
    let _ = shared.model.set(detector.name().into());
    let mut tracks: Vec<SpeechTrack> = Vec::new();
    let mut real_time = None;
    loop {
        let ticket = windows.ticket();
        let ending = shared.ending.load(Acquire);
        let requests = std::mem::take(&mut *lock(&shared.requests));
        for request in requests {
            match request {
                Request::Hear {
                    source,
                    writer,
                    notifier,
                } => {
                    if real_time != Some(true) && real_time != Some(source.live) {
                        real_time = Some(source.live);
                        begin(shared, settings, source.live);
                    }
                    let turns = OnOff::new(&Params::default());
                    match (begin_session(&mut detector), turns) {
                        (Ok(session), Ok(turns)) => tracks.push(SpeechTrack::new(
                            source,
                            shared.clone(),
                            session,
                            writer,
                            notifier,
                            turns,
                        )),
                        (Err(error), _) | (_, Err(error)) => {
                            *lock(&shared.problem) = Some(error.to_string());
                        }
                    }
                }
                Request::Add {
                    source,
                    writer,
                    notifier,
                    begin,
                } => {
                    if let Some(track) = of(&mut tracks, &source) {
                        track.add(writer, notifier, begin);
                    }
                }
                Request::Remove { source, rate } => {
                    if let Some(track) = of(&mut tracks, &source) {
                        track.remove(rate);
                    }
                }
            }
        }
        tracks.retain(|track| ending || !track.source.gone.load(Acquire));
        if ending {
            for track in &tracks {
                track.source.draining.store(true, Release);
            }
        }
        let (mut idle, mut late) = (true, false);
        for track in &mut tracks {
            let round = track.begin();
            idle &= round == Round::Idle;
            late |= round == Round::Late;
        }
        while judge(&mut detector, &mut tracks) {}
        if idle {
            if ending {
                return;
            }
            windows.wait(ticket);
        } else if late && real_time == Some(true) {
            thread::sleep(REST);
        }
    }
}

/// What a source begins with: a session, and the probability of silence after nothing else.
fn begin_session(detector: &mut Detector) -> Result<(DetectorSession, f32)> {
    let mut session = detector.session()?;
    let mut silence = [Due {
        session: &mut session,
        window: &mut [0.0; super::WINDOW],
        found: Ok(0.0),
    }];
    detector.judge(&mut silence);
    let [Due { found, .. }] = silence;
    session.reset();
    Ok((session, found.unwrap_or(0.0)))
}

/// Judges and publishes the next window of each source that has one for this round; whether
/// there was any.
fn judge(detector: &mut Detector, tracks: &mut [SpeechTrack]) -> bool {
    let due = tracks
        .iter_mut()
        .filter_map(|track| track.next().then_some(track));
    let mut due: Vec<&mut SpeechTrack> = due.collect();
    for group in due.chunks_mut(TOGETHER) {
        let start_ns = monotonic_ns();
        let mut windows: Vec<Due<'_>> = group.iter_mut().map(|track| track.due()).collect();
        detector.judge(&mut windows);
        let found: Vec<Result<f32>> = windows.into_iter().map(|due| due.found).collect();
        // Each one's share: together they take less than one after the other.
        let ns = (monotonic_ns() - start_ns) / found.len() as i64;
        for (track, found) in group.iter_mut().zip(found) {
            track.judged(found, ns);
        }
    }
    !due.is_empty()
}

fn of<'t>(
    tracks: &'t mut [SpeechTrack],
    source: &Arc<SourceProgress>,
) -> Option<&'t mut SpeechTrack> {
    tracks
        .iter_mut()
        .find(|track| Arc::ptr_eq(&track.source, source))
}

/// Asks for real time, if there is a source that comes in it. What isn't paced by a clock
/// never sleeps: no priority for that.
fn begin(shared: &WorkerShared, settings: &Settings, live: bool) {
    let promotion = match live {
        true => rt::promote(Role::Vad),
        false => rt::unpromoted(Role::Vad, "the file is not played in real time"),
    };
    *lock(&shared.promotion) = Some(promotion);
    if let Cpu::Number(cpu) = settings.cpu {
        *lock(&shared.pinned) = Some(rt::pin(cpu));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
