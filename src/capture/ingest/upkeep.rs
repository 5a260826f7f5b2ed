//! What the real-time thread leaves to others.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::mailbox::{Mailbox, Outputs};
use super::output::{CHUNK, Output, SCRATCH, Scratch};
use super::{Ingest, Inner, Missing, TICK_NS};
use crate::capture::stamps::{Lag, Slip};
use crate::capture::timeline::Timeline;
use v2m_dsp::preamp::{Preamp, Settings};
use v2m_error::Result;
use v2m_ring::sync::TryCell;
use v2m_ring::time::monotonic_ns;
use v2m_ring::{CaptureWriter, GapReason, Notifier, Rate, Reader};
use v2m_rt as rt;

/// Samples that are wiped at once.
const PIECE: u64 = 1 << 18;

/// Without a block for so long, none is likely to come just now.
const QUIET: Duration = Duration::from_millis(250);

/// What is committed at 16 kHz may lie so many samples ahead of what a slower output holds
/// back.
const AHEAD: u64 = 64;

/// Without audio for so long, silence is filled in.
const IDLE_NS: i64 = 500_000_000;
/// Filling stays so far behind the time whose audio would arrive now: more than any
/// quantum, so that audio that arrives after all still finds its place.
const FILL_BEHIND_NS: i64 = 300_000_000;

impl Ingest {
    /// With one output, ready for the usual rates.
    pub fn new(writer: CaptureWriter, notifier: Notifier) -> Result<Self> {
        let output = Box::new(Output::new(writer, notifier)?);
        let mut outputs = Outputs::default();
        let place = output.rate().index();
        outputs[place] = Some(output);
        Ok(Self {
            inner: TryCell::new(Inner {
                outputs,
                timeline: Timeline::default(),
                lag: Lag::unknown(),
                slip: Slip::default(),
                run: None,
                begun: false,
                tick: 0,
                next_ns: 0,
                heard_ns: 0,
                missing: Missing::Lost,
                cut: false,
                scratch: Box::new([0.0; SCRATCH]),
                sum: [0.0; CHUNK],
                preamp: None,
                amplified: [0.0; CHUNK],
            }),
            mailbox: Mailbox::new(),
            wanted: AtomicU32::new(0),
            unusual: Mutex::default(),
            blocks: AtomicU64::new(0),
            seen: Mutex::default(),
            heard_ns: AtomicI64::new(0),
            muted: AtomicBool::new(false),
        })
    }

    /// With a preamplifier before all outputs, where `settings` ask for one.
    #[must_use]
    pub fn amplified(self, settings: Settings) -> Self {
        self.inner
            .try_with(|inner| inner.preamp = Preamp::new(settings));
        self
    }

    /// Keeps everything that the real-time thread touches here in memory.
    pub fn lock(&self) {
        self.inner.try_with(|inner| {
            inner
                .outputs
                .iter()
                .flatten()
                .for_each(|output| output.lock());
            let scratch = (inner.scratch.as_ptr().cast(), size_of::<Scratch>());
            let own = (std::ptr::from_ref(inner).cast(), size_of::<Inner>());
            rt::lock_all("scratch", &[scratch, own]);
        });
    }

    /// Adds a rate, into a new ring that nobody reads yet: from about now on it gets what
    /// `beside`, a ring of this source at 16 kHz, gets. Off the real-time thread, which takes
    /// it up with its next block and is not kept from anything.
    ///
    /// # Errors
    /// [`v2m_error::ErrorKind::Invalid`]: the source's rate can't be converted.
    pub fn add(
        &self,
        mut writer: CaptureWriter,
        notifier: Notifier,
        beside: &Reader,
    ) -> Result<()> {
        let rate = writer.rate();
        let window = beside.committed().saturating_sub(AHEAD) / beside.rate().window();
        let position = window * rate.window();
        if position > 0 {
            let time_ns = beside.time_ns(window * beside.rate().window());
            let start_ns = time_ns.unwrap_or_else(monotonic_ns) - rate.ns(position as i64);
            writer.gap(position, GapReason::NotCaptured, start_ns);
            writer.append_silence(position, start_ns);
        }
        let mut output = Box::new(Output::new(writer, notifier)?);
        let unusual = *self.unusual();
        output.spare = unusual
            .map(|input| Output::spare(input, rate))
            .transpose()?;
        output.lock();
        self.mailbox.put(output);
        Ok(())
    }

    /// Ends a rate. As [`add`](Self::add).
    pub fn remove(&self, rate: Rate) {
        self.mailbox.take(rate);
    }

    /// Does what the real-time thread leaves to others: makes the resamplers that it asked
    /// for, frees what it gave back and, where it doesn't come by, takes up what is there for
    /// it. Off the real-time thread, often.
    pub fn prepare(&self) {
        match self.wanted.swap(0, Ordering::Relaxed) {
            0 => {}
            rate => self.make_ready_for(rate),
        }
        if self.mailbox.is_pending() && self.stands_still() {
            self.inner.try_with(|inner| inner.take_up(&self.mailbox));
        }
        self.mailbox.collect();
    }

    /// Whether no block has come for so long that nobody is in the real-time thread's way.
    fn stands_still(&self) -> bool {
        let (blocks, now) = (self.blocks(), Instant::now());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some((before, since)) if before == blocks => now - since >= QUIET,
            _ => {
                *seen = Some((blocks, now));
                false
            }
        }
    }

    fn unusual(&self) -> std::sync::MutexGuard<'_, Option<u32>> {
        self.unusual.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills in silence where no audio has come for half a second. Off the
    /// real-time thread, every 100 ms or so, while a source is expected.
    pub fn fill(&self, now_ns: i64) {
        let muted = self.muted.load(Ordering::Relaxed);
        // Else nothing is to be filled in, and the real-time thread not to be disturbed.
        if muted || now_ns - self.heard_ns.load(Ordering::Relaxed) >= IDLE_NS {
            self.change(|inner| inner.fill(now_ns, muted));
        }
    }

    /// Passes over whatever comes, from the next block on; what [`fill`](Self::fill) fills in is
    /// flagged as muted. Or hears it again.
    pub fn set_muted(&self, muted: bool) {
        self.muted.store(muted, Ordering::Relaxed);
    }

    /// The machine has slept: what comes next is flagged. Off the real-time thread; whether it
    /// could be done, as another thread may be at it.
    pub fn slept(&self, now_ns: i64) -> bool {
        let flagged = self.inner.try_with(|inner| {
            for output in inner.outputs.iter_mut().flatten() {
                output.slept(now_ns);
            }
        });
        flagged.is_some()
    }

    /// Brings the rings to the present after a time in which nobody listened and
    /// nothing was captured. Off the real-time thread, before capture begins again.
    pub fn catch_up(&self, now_ns: i64) {
        self.change(|inner| inner.catch_up(now_ns));
    }

    /// Wipes some of the audio that the rings keep. Off the real-time thread, while
    /// nothing is captured, as often as there is time until all of it is gone.
    pub fn wipe(&self) {
        self.inner.try_with(|inner| {
            for output in inner.outputs.iter_mut().flatten() {
                output.wipe(PIECE);
            }
        });
    }

    /// The source has ended: what the resamplers still hold is written.
    pub fn finish(&self) {
        self.change(|inner| {
            inner.end_run(None);
            true
        });
    }

    /// Changes what is written, and wakes who waits for it if anything was.
    fn change(&self, change: impl FnOnce(&mut Inner) -> bool) {
        self.inner.try_with(|inner| {
            inner.take_up(&self.mailbox);
            if change(inner) {
                inner
                    .outputs
                    .iter()
                    .flatten()
                    .for_each(|output| output.notify());
            }
        });
    }

    /// How many blocks were written so far: while audio arrives, it grows.
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Whether nobody is in it, who then may be stuck there. Only looked at where no blocks come,
    /// as a look keeps the real-time thread out.
    pub fn is_free(&self) -> bool {
        !self.stands_still() || self.inner.try_with(|_| ()).is_some()
    }

    /// See [`expect`](crate::capture::Sink::expect).
    pub(super) fn make_ready_for(&self, rate: u32) {
        let ready = |output: &&mut Box<Output>| !output.takes(rate);
        let lacking = self.inner.try_with(|inner| {
            let lacking = inner.outputs.iter_mut().flatten().filter(ready);
            let mut rates = [None; Rate::ALL.len()];
            lacking.for_each(|output| rates[output.rate().index()] = Some(output.rate()));
            rates
        });
        let Some(lacking) = lacking else {
            self.wanted.store(rate, Ordering::Relaxed);
            return;
        };
        for output in lacking.into_iter().flatten() {
            *self.unusual() = Some(rate);
            let mut spare = match Output::spare(rate, output) {
                Ok(spare) => Some(spare),
                Err(error) => return tracing::error!("the source can't be converted: {error}"),
            };
            // The one that was there leaves with `spare` and is freed here.
            let swapped = self.inner.try_with(|inner| {
                if let Some(output) = &mut inner.outputs[output.index()] {
                    std::mem::swap(&mut output.spare, &mut spare);
                }
            });
            if swapped.is_none() {
                self.wanted.store(rate, Ordering::Relaxed);
            }
        }
    }
}

impl Inner {
    /// See [`Ingest::fill`].
    fn fill(&mut self, now_ns: i64, muted: bool) -> bool {
        let until_ns = now_ns - self.lag.usual_ns() - FILL_BEHIND_NS;
        if !self.begun && muted {
            self.begun = true;
            self.next_ns = until_ns;
        }
        if !self.begun || (now_ns - self.heard_ns < IDLE_NS && !muted) {
            return false;
        }
        if until_ns <= self.next_ns {
            return false;
        }
        // Somebody listens, and no audio comes: from here on it is a loss, or muted.
        let why = match muted {
            true => Missing::Muted,
            false => Missing::Lost,
        };
        if std::mem::replace(&mut self.missing, why) != why {
            for output in self.outputs.iter_mut().flatten() {
                output.break_off();
            }
        }
        self.end_run(Some(why.reason()));
        let count = ((until_ns - self.next_ns) / TICK_NS).max(0) as u64;
        self.silence(count, None);
        true
    }

    /// See [`Ingest::catch_up`].
    fn catch_up(&mut self, now_ns: i64) -> bool {
        self.heard_ns = now_ns;
        if !self.begun || now_ns <= self.next_ns {
            return false;
        }
        // What was begun is ended before anybody gets to read it.
        for output in self.outputs.iter_mut().flatten() {
            if output.is_wiping() {
                while output.wipe(PIECE) {}
            }
        }
        self.missing = Missing::Unused;
        self.end_run(Some(self.missing.reason()));
        let count = ((now_ns - self.next_ns) / TICK_NS).max(0) as u64;
        self.silence(count, None);
        true
    }
}
