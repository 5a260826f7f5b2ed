//! A stream: one rate of a source, with a ring of its own.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::demand::{Capture, Demand};
use super::server::{Held, Listener};
use crate::error::Result;
use crate::ring::layout::MIN_HISTORY;
use crate::ring::notifier::WakeUpThread;
use crate::ring::{
    CaptureWriter, ControlWriter, Rate, Reader, Ring, SpeechWriter, State, Subscription,
};
use crate::rt::{self, Role};
use crate::time::monotonic_ns;

/// How long a client that was given a stream may take to be counted as its listener.
const PROMISE: Duration = Duration::from_secs(5);

/// What others than the main thread know of it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: u64,
    source: String,
    channel: String,
    pub(super) ring: Arc<Ring>,
    pub(super) reader: Reader,
}

impl Held for Shared {
    fn id(&self) -> u64 {
        self.id
    }

    fn ring(&self) -> BorrowedFd<'_> {
        self.ring.descriptor()
    }

    fn source(&self) -> String {
        self.source.clone()
    }

    fn channel(&self) -> String {
        self.channel.clone()
    }

    fn rate(&self) -> Rate {
        self.ring.layout().rate
    }
}

/// The writers of a new stream's ring.
pub(super) struct Writers {
    pub(super) capture: CaptureWriter,
    pub(super) speech: SpeechWriter,
}

/// The main thread's part of it.
pub(super) struct Stream {
    pub(super) shared: Arc<Shared>,
    pub(super) control: ControlWriter,
    pub(super) wake_up_thread: WakeUpThread,
    demand: Demand,
    /// When a client was given it that has not been counted yet.
    promised: Option<Instant>,
}

impl Stream {
    /// One of `source` with a new ring, into which nothing is written yet; `history` in
    /// samples at 16 kHz.
    pub(super) fn new(
        (source, channel): (&str, &str),
        rate: Rate,
        history: u64,
        linger: Duration,
        windows: Subscription,
    ) -> Result<(Self, Writers)> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let history = rate.convert(history, Rate::SPEECH).max(MIN_HISTORY);
        let (ring, capture, speech, mut control) = Ring::at(rate, history)?;
        let ring = Arc::new(ring);
        let reader = Reader::new(ring.duplicate()?)?;
        let wake_up_thread = WakeUpThread::nudging(windows, ring.clone(), || {
            rt::promote_soon(Role::Wake, rt::thread_id(), |promotion| {
                tracing::debug!("the wake-up thread asked for real time: {promotion:?}");
            });
            rt::lock_stack();
        })?;
        control.heartbeat(monotonic_ns());
        let stream = Self {
            shared: Arc::new(Shared {
                id: IDS.fetch_add(1, Ordering::Relaxed),
                source: source.to_owned(),
                channel: channel.to_owned(),
                ring,
                reader,
            }),
            control,
            wake_up_thread,
            demand: Demand::new(Capture::WhileUsed, linger),
            promised: None,
        };
        Ok((stream, Writers { capture, speech }))
    }

    /// Keeps its ring in RAM.
    pub(super) fn lock(&self) {
        let ring = &self.shared.ring;
        let what = match self.rate() {
            Rate::SPEECH => "ring".to_owned(),
            rate => format!("ring of {rate} Hz"),
        };
        let locked = rt::lock_by(&what, ring.layout().total_bytes, || ring.lock());
        if let Some(why) = locked.why_not {
            tracing::warn!("{why}; audio can be delayed by swapping: raise the memlock limit");
        }
    }

    pub(super) fn rate(&self) -> Rate {
        self.shared.rate()
    }

    /// A client is about to get it.
    pub(super) fn promise(&mut self) {
        self.promised = Some(Instant::now());
    }

    /// So many of these hold it now.
    pub(super) fn count(&mut self, listeners: &[Listener], now: Instant) -> usize {
        let own = |listener: &&Listener| listener.stream == self.shared.id;
        let count = listeners.iter().filter(own).count();
        if count > 0 {
            self.promised = None;
        }
        self.demand.listen(count, now);
        count
    }

    /// Whether somebody was given it and has not been counted yet.
    pub(super) fn is_promised(&self, now: Instant) -> bool {
        self.promised
            .is_some_and(|promised| now < promised + PROMISE)
    }

    /// Whether somebody holds it, or did a moment ago.
    pub(super) fn is_wanted(&self, now: Instant) -> bool {
        self.is_promised(now) || self.demand.wanted(now)
    }

    /// Tells of a state.
    pub(super) fn tell(&mut self, state: State) {
        self.control.state(state, monotonic_ns());
        self.wake_up_thread.notifier().notify();
    }
}
