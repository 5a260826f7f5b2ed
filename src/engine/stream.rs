//! A stream: one rate of a source, with a ring of its own.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::demand::{Capture, Demand};
use super::server::{Held, Listener};
use v2m_error::Result;
use v2m_ring::layout::MIN_HISTORY;
use v2m_ring::notifier::WakeUpThread;
use v2m_ring::time::{monotonic_ns, wall_offset_ns};
use v2m_ring::{
    CaptureWriter, ControlWriter, Rate, Reader, Ring, SpeechWriter, State, Subscription,
};
use v2m_rt as rt;
use v2m_rt::Role;

/// How long a client that was given a stream may take to be counted as its listener.
const PROMISE: Duration = Duration::from_secs(5);

/// What others than the main thread know of it.
#[derive(Debug)]
pub(super) struct StreamShared {
    pub(super) id: u64,
    source: String,
    channel: String,
    pub(super) ring: Arc<Ring>,
    pub(super) reader: Reader,
}

impl Held for StreamShared {
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

    fn position(&self) -> u64 {
        self.reader.committed()
    }
}

/// The writers of a new stream's ring.
pub(super) struct Writers {
    pub(super) capture: CaptureWriter,
    pub(super) speech: SpeechWriter,
}

/// What the wall clock jumps at least, in nanoseconds; less is slewing.
const JUMP_NS: u64 = 50_000_000;

/// The main thread's part of it.
pub(super) struct Stream {
    pub(super) shared: Arc<StreamShared>,
    pub(super) control: ControlWriter,
    pub(super) wake_up_thread: WakeUpThread,
    demand: Demand,
    /// When the wall clock was looked at last, and how far it was ahead.
    wall: (i64, i64),
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
        let now = monotonic_ns();
        control.heartbeat(now);
        let wall = (now, wall_offset_ns());
        control.clock(wall.1, now);
        let stream = Self {
            wall,
            shared: Arc::new(StreamShared {
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

    /// The engine lives, and what the wall clock shows is noted when it jumps: from the last
    /// look on, as nothing is looked at while a machine sleeps.
    pub(super) fn heartbeat(&mut self, now: i64) {
        self.control.heartbeat(now);
        let offset = wall_offset_ns();
        if offset.abs_diff(self.wall.1) > JUMP_NS {
            self.control.clock(offset, self.wall.0);
            self.wall.1 = offset;
        }
        self.wall.0 = now;
    }

    /// The machine slept for so many nanoseconds until about `now`.
    pub(super) fn slept(&mut self, ns: i64, now: i64) {
        let samples = self.rate().samples(ns).max(0).unsigned_abs();
        self.control.suspend(samples, now);
        self.wake_up_thread.notifier().notify();
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
