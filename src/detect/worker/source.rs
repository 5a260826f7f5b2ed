//! One source as the worker hears it: what its owner holds, and how it goes.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Request, WINDOW_MS, WorkerShared, lock};
use v2m_error::text;
use v2m_ring::{Notifier, Rate, Reader, SpeechWriter, Subscription};

/// How far a source's detection is.
#[derive(Debug)]
pub(super) struct SourceProgress {
    /// Its ring at 16 kHz.
    pub(super) reader: Reader,
    /// It comes in real time.
    pub(super) live: bool,
    /// Nothing follows: what is there is judged, and then it is over.
    pub(super) draining: AtomicBool,
    pub(super) drained: AtomicBool,
    /// Its owner has let go of it.
    pub(super) gone: AtomicBool,
    /// The worst lateness so far, in windows.
    pub(super) worst: AtomicU64,
    pub(super) caught_up: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) unusable: AtomicU64,
    /// What was said of it in the log.
    said: Mutex<(u64, u64)>,
}

impl SourceProgress {
    pub(super) fn new(reader: Reader, live: bool) -> Self {
        Self {
            reader,
            live,
            draining: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            worst: AtomicU64::new(0),
            caught_up: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            unusable: AtomicU64::new(0),
            said: Mutex::default(),
        }
    }

    /// Windows whose samples are all there and which have no probability.
    pub(super) fn waiting(&self) -> u64 {
        let complete = self.reader.complete_windows();
        complete.saturating_sub(self.reader.speech_committed())
    }

    /// Windows of filled silence that follow this one, which lies at its edge.
    pub(super) fn filled_after(&self, window: u64) -> u64 {
        let step = self.reader.rate().window();
        let deep = window + 2;
        let gap = self.reader.gap_at(deep * step);
        gap.map_or(0, |(_, end)| (end / step).saturating_sub(deep))
    }

    /// Says what happened to it since the last call.
    pub(super) fn report(&self) {
        let (caught_up, missed) = (self.caught_up.load(Relaxed), self.missed.load(Relaxed));
        let before = std::mem::replace(&mut *lock(&self.said), (caught_up, missed));
        if caught_up > before.0 {
            let worst = self.worst.load(Relaxed) * WINDOW_MS;
            tracing::warn!(
                "speech detection was behind and caught up, {} so far, by {worst} ms at most",
                text::counted(caught_up, "time")
            );
        }
        if missed > before.1 {
            tracing::error!(
                "no speech probability so far: {}",
                text::counted(missed, "window")
            );
        }
    }
}

/// A source's speech track: heard for as long as this is held.
#[derive(Debug)]
pub struct SourceTrack {
    pub(super) progress: Arc<SourceProgress>,
    pub(super) shared: Arc<WorkerShared>,
    pub(super) windows: Subscription,
}

impl SourceTrack {
    /// Writes the track into another of the source's rings, too, whose audio begins with
    /// this window.
    pub fn add(&self, writer: SpeechWriter, notifier: Notifier, begin: u64) {
        self.ask(Request::Add {
            source: self.progress.clone(),
            writer,
            notifier,
            begin,
        });
    }

    /// No longer writes it into the ring of this rate.
    pub fn remove(&self, rate: Rate) {
        self.ask(Request::Remove {
            source: self.progress.clone(),
            rate,
        });
    }

    pub(super) fn ask(&self, request: Request) {
        let requests = &mut *lock(&self.shared.requests);
        // Else nobody would ever let go of the rings.
        if !self.shared.stopped.load(Acquire) {
            requests.push(request);
            self.windows.nudge();
        }
    }

    /// For a file that is played faster than real time.
    pub fn backpressure(&self) -> Backpressure {
        Backpressure {
            progress: self.progress.clone(),
            shared: self.shared.clone(),
        }
    }

    /// Nothing follows in the ring: what is there is judged, see
    /// [`is_drained`](Self::is_drained).
    pub fn drain(&self) {
        self.progress.draining.store(true, Release);
        self.windows.nudge();
    }

    /// Whether all of it is judged, or never will be.
    pub fn is_drained(&self) -> bool {
        self.progress.drained.load(Acquire) || self.shared.stopped.load(Acquire)
    }

    /// Nothing follows in the ring: waits until all of it is judged, at most `limit`.
    pub fn finish(&self, limit: Duration) {
        self.drain();
        let deadline = Instant::now() + limit;
        while !self.is_drained() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for SourceTrack {
    fn drop(&mut self) {
        self.progress.gone.store(true, Release);
        self.windows.nudge();
    }
}

/// Keeps a file that is played faster than real time from running away from the
/// worker: the one reader that any source waits for.
#[derive(Clone, Debug)]
pub struct Backpressure {
    progress: Arc<SourceProgress>,
    shared: Arc<WorkerShared>,
}

impl Backpressure {
    /// Waits while more windows than the worker takes at once have no probability,
    /// until `stop` is set or the worker is gone.
    pub fn hold(&self, stop: &AtomicBool) {
        let reader = &self.progress.reader;
        loop {
            let ticket = reader.ticket();
            if self.progress.waiting() <= super::RUN
                || self.shared.stopped.load(Acquire)
                || stop.load(Relaxed)
            {
                return;
            }
            reader.wait(ticket, Duration::from_millis(100));
        }
    }
}
