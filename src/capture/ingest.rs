//! From a backend's blocks to the ring: loss accounting, resampling, writing.
//! Everything here up to [`Ingest::fill`] runs on the real-time thread.
//!
//! Lost audio becomes silence of the same length, so that a position always
//! means a time. What the resampler's filter smears at the edges of a loss is
//! flagged with it: samples outside of gaps are exactly what they would have
//! been without the loss.
//!
//! # Position and time
//! The next position stands on a line of CLOCK_MONOTONIC, 62.5 µs for each sample. Where
//! the source's clock can't tell what is missing, the line does: what is captured after it
//! is preceded by silence, and what is captured before it has been accounted for and is
//! dropped. The line itself follows the source's times by 0.2 % of what passes at most,
//! which is more than any sound card is off; whatever goes beyond is a loss.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::stamps::{Drift, Lag, Slip};
use super::timeline::{Timeline, Verdict};
use super::{Block, Sink};
use crate::error::Result;
use crate::resample::Resampler;
use crate::ring::{CaptureWriter, GapReason, Lost, NS_PER_SAMPLE, Notifier, SAMPLE_RATE};
use crate::rt;
use crate::sync::TryCell;
use crate::time::monotonic_ns;

/// Rates that sound hardware has; ready from the start, so that a change loses nothing.
const USUAL_RATES: [u32; 6] = [44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

/// Input samples converted at once.
const CHUNK: usize = 1024;
/// Output of one chunk at the lowest rate, and the kernel's tail.
const SCRATCH: usize = 4096;

/// The longest silence that the real-time thread writes by itself, in samples.
/// Longer ones come from [`Ingest::fill`].
const LONGEST_GAP: u64 = SAMPLE_RATE as u64;

/// Samples that are wiped at once.
const PIECE: u64 = 1 << 18;

/// Without audio for so long, silence is filled in.
const IDLE_NS: i64 = 500_000_000;
/// Filling stays so far behind the time whose audio would arrive now: more than any
/// quantum, so that audio that arrives after all still finds its place.
const FILL_BEHIND_NS: i64 = 300_000_000;

/// The line of time moves by one part in so many of the time that passes.
const DRIFT: i64 = 500;

/// Where samples lie.
fn stretch(part: &[f32]) -> (*const u8, usize) {
    (part.as_ptr().cast(), size_of_val(part))
}

/// The ingest of every backend. One thread at a time gets in; who comes second
/// loses its block, which then is a gap like any other.
pub struct Ingest {
    inner: TryCell<Inner>,
    /// A rate that no resampler is ready for; 0 for none.
    wanted: AtomicU32,
    /// Blocks that were written so far.
    blocks: AtomicU64,
    notifier: Notifier,
}

struct Inner {
    writer: CaptureWriter,
    timeline: Timeline,
    lag: Lag,
    slip: Slip,
    resamplers: Resamplers,
    /// Since the resampler in use was reset.
    run: Option<Run>,
    /// CLOCK_MONOTONIC of the sample at the writer's position, on the line.
    next_ns: i64,
    /// When a block last came whose time has a place in the ring or had one, or when
    /// capture began again.
    heard_ns: i64,
    /// In the middle of a filled stretch.
    filling: bool,
    /// Nobody has listened until just now: what is missing was not lost.
    unused: bool,
    scratch: Box<[f32; SCRATCH]>,
}

/// One for each rate that may come.
struct Resamplers {
    usual: Vec<Resampler>,
    /// For a rate that is not among the usual ones.
    spare: Option<Resampler>,
}

impl Resamplers {
    fn all(&self) -> impl Iterator<Item = &Resampler> {
        self.usual.iter().chain(&self.spare)
    }

    fn at(&mut self, rate: u32) -> Option<&mut Resampler> {
        self.usual
            .iter_mut()
            .chain(self.spare.as_mut())
            .find(|resampler| resampler.input_rate() == rate)
    }
}

/// Uninterrupted work of one resampler: input `i` and output `n` stand for the
/// same moment when `i / rate = n / 16000`.
#[derive(Clone, Copy)]
struct Run {
    rate: u32,
    inputs: u64,
    outputs: u64,
}

impl Run {
    /// Nanoseconds from the next input to the next output; mostly negative.
    fn offset_ns(&self) -> i64 {
        let rate = u64::from(self.rate);
        let (seconds, rest) = (self.inputs / rate, self.inputs % rate);
        let input = seconds * 1_000_000_000 + rest * 1_000_000_000 / rate;
        self.outputs as i64 * NS_PER_SAMPLE - input as i64
    }
}

impl Ingest {
    /// Prepares resamplers for the usual rates.
    pub fn new(writer: CaptureWriter, notifier: Notifier) -> Result<Self> {
        let usual = USUAL_RATES
            .into_iter()
            .map(|rate| Resampler::new(rate, SAMPLE_RATE))
            .collect::<Result<_>>()?;
        Ok(Self {
            inner: TryCell::new(Inner {
                writer,
                timeline: Timeline::default(),
                lag: Lag::unknown(),
                slip: Slip::default(),
                resamplers: Resamplers { usual, spare: None },
                run: None,
                next_ns: 0,
                heard_ns: 0,
                filling: false,
                unused: false,
                scratch: Box::new([0.0; SCRATCH]),
            }),
            wanted: AtomicU32::new(0),
            blocks: AtomicU64::new(0),
            notifier,
        })
    }

    /// Keeps everything that the real-time thread touches here in memory.
    pub fn lock(&self) {
        self.inner.try_with(|inner| {
            let tables = inner.resamplers.all().flat_map(Resampler::memory);
            let mut parts: Vec<_> = tables.chain([&inner.scratch[..]]).map(stretch).collect();
            parts.push((std::ptr::from_ref(inner).cast(), size_of::<Inner>()));
            rt::lock_all("resamplers and scratch", &parts)
        });
    }

    /// Makes the resampler that the real-time thread asked for, if it did. Off
    /// the real-time thread, often.
    pub fn prepare(&self) {
        match self.wanted.swap(0, Ordering::Relaxed) {
            0 => {}
            rate => self.expect(rate),
        }
    }

    /// Fills in silence where no audio has come for half a second. Off the
    /// real-time thread, every 100 ms or so, while a source is expected.
    pub fn fill(&self, now_ns: i64) {
        if self.inner.try_with(|inner| inner.fill(now_ns)) == Some(true) {
            self.notifier.notify();
        }
    }

    /// Brings the ring to the present after a time in which nobody listened and
    /// nothing was captured. Off the real-time thread, before capture begins again.
    pub fn catch_up(&self, now_ns: i64) {
        if self.inner.try_with(|inner| inner.catch_up(now_ns)) == Some(true) {
            self.notifier.notify();
        }
    }

    /// Wipes some of the audio that the ring keeps. Off the real-time thread, while
    /// nothing is captured, as often as there is time until all of it is gone.
    pub fn wipe(&self) {
        self.inner.try_with(|inner| inner.writer.wipe(PIECE));
    }

    /// The source has ended: what the resampler still holds is written.
    pub fn finish(&self) {
        if self.inner.try_with(|inner| inner.flush()).is_some() {
            self.notifier.notify();
        }
    }

    /// Takes a block that arrives at `now_ns`; as [`Sink::block`].
    pub fn take(&self, block: &Block<'_>, now_ns: i64) {
        let written = self
            .inner
            .try_with(|inner| inner.take(block, now_ns, &self.wanted));
        if written == Some(true) {
            self.blocks.fetch_add(1, Ordering::Relaxed);
            self.notifier.announce();
        }
    }

    /// How many blocks were written so far: while audio arrives, it grows.
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// What was lost so far; `None` if the real-time thread is just busy.
    pub fn losses(&self) -> Option<Lost> {
        self.inner.try_with(|inner| inner.writer.losses())
    }
}

impl Sink for Ingest {
    fn block(&self, block: &Block<'_>) {
        self.take(block, monotonic_ns());
    }

    fn wake(&self) {
        self.notifier.wake();
    }

    fn expect(&self, rate: u32) {
        if self
            .inner
            .try_with(|inner| inner.resamplers.at(rate).is_some())
            == Some(true)
        {
            return;
        }
        match Resampler::new(rate, SAMPLE_RATE) {
            Ok(resampler) => {
                let parts: Vec<_> = resampler.memory().map(stretch).collect();
                rt::lock_all(&format!("resampler for {rate} Hz"), &parts);
                let mut spare = Some(resampler);
                // The one that was there leaves with `spare` and is freed here.
                if self
                    .inner
                    .try_with(|inner| std::mem::swap(&mut inner.resamplers.spare, &mut spare))
                    .is_none()
                {
                    self.wanted.store(rate, Ordering::Relaxed);
                }
            }
            Err(error) => tracing::error!("the source can't be converted: {error}"),
        }
    }
}

impl Inner {
    /// Takes a block that arrives at `now_ns`; whether anything was written.
    fn take(&mut self, block: &Block<'_>, now_ns: i64, wanted: &AtomicU32) -> bool {
        if block.samples.is_empty() || block.rate == 0 {
            return false;
        }
        let before = self.writer.position();
        let Some(time_ns) = self.lag.capture_ns(block, now_ns) else {
            return false;
        };
        let (verdict, time_ns) = self.judge(block, time_ns);
        let ignored = match verdict {
            Verdict::Continues { repeated } => {
                if repeated > 0 {
                    self.writer.count_repeated();
                }
                repeated
            }
            Verdict::Skipped(missing) => {
                self.skip(missing);
                0
            }
            Verdict::Elsewhere => {
                if self.resamplers.at(block.rate).is_none() {
                    wanted.store(block.rate, Ordering::Relaxed);
                    return false;
                }
                match self.restart(block, time_ns, now_ns) {
                    Some(ignored) => ignored,
                    None => return self.writer.position() != before,
                }
            }
        };
        self.timeline.follow(block);
        let first_ns = time_ns + duration_ns(ignored as i64, block.rate);
        self.convert(&block.samples[ignored..], block.rate, first_ns);
        self.heard_ns = now_ns;
        self.writer.position() != before
    }

    /// How a block continues the ones before, by its clock's count and, where that can't
    /// be, by its time; and when its first sample was captured.
    fn judge(&mut self, block: &Block<'_>, time_ns: i64) -> (Verdict, i64) {
        let verdict = self.timeline.judge(block);
        let (Some(run), Some(ahead)) = (self.run, self.timeline.ahead(block)) else {
            return (verdict, time_ns);
        };
        let expected_ns = self.next_ns - run.offset_ns() + duration_ns(ahead, block.rate);
        let off_ns = time_ns - expected_ns;
        match self.slip.look(off_ns, time_ns, block.duration_ns()) {
            Drift::None => (verdict, time_ns),
            Drift::Suspected => (verdict, expected_ns),
            Drift::Slipped => (Verdict::Elsewhere, time_ns),
        }
    }

    /// Resamples and writes; `time_ns` is the time of the first input sample.
    fn convert(&mut self, samples: &[f32], rate: u32, time_ns: i64) {
        let Some(mut run) = self.run else { return };
        let mut time_ns = time_ns;
        let before = self.writer.position();
        for chunk in samples.chunks(CHUNK) {
            let first_ns = time_ns + run.offset_ns();
            let Some(resampler) = self.resamplers.at(rate) else {
                return;
            };
            let written = resampler.process(chunk, &mut self.scratch[..]);
            self.writer.append(&self.scratch[..written], first_ns);
            run.inputs += chunk.len() as u64;
            run.outputs += written as u64;
            time_ns += duration_ns(chunk.len() as i64, rate);
        }
        self.run = Some(run);
        let written = (self.writer.position() - before) as i64;
        self.next_ns += written * NS_PER_SAMPLE;
        let off_ns = time_ns + run.offset_ns() - self.next_ns;
        let drift_ns = duration_ns(samples.len() as i64, rate) / DRIFT;
        self.next_ns += off_ns.clamp(-drift_ns, drift_ns);
    }

    /// The source's clock skipped `missing` samples.
    fn skip(&mut self, missing: u64) {
        let Some(mut run) = self.run else { return };
        let Some(resampler) = self.resamplers.at(run.rate) else {
            return;
        };
        let skipped = resampler.skip(missing, &mut self.scratch[..]);
        let lost = skipped.written as u64 + skipped.then_zeros;
        let smeared = lost + resampler.settling() as u64;
        self.writer.gap(smeared, GapReason::Xrun, self.next_ns);
        self.writer.count_lost(lost);
        self.writer
            .append(&self.scratch[..skipped.written], self.next_ns);
        self.next_ns += skipped.written as i64 * NS_PER_SAMPLE;
        self.silence(skipped.then_zeros);
        run.inputs += missing;
        run.outputs += lost;
        self.run = Some(run);
    }

    /// Another clock: what is missing, only CLOCK_MONOTONIC can tell. How many
    /// samples at the block's front were accounted for already, as audio or as silence;
    /// `None` if the block can't be used (its resampler is kept ready).
    fn restart(&mut self, block: &Block<'_>, time_ns: i64, now_ns: i64) -> Option<usize> {
        let mut ignored = 0;
        if self.writer.position() == 0 {
            self.next_ns = time_ns;
        } else {
            self.close_run();
            let gap_ns = time_ns - self.next_ns;
            let gap = (gap_ns + NS_PER_SAMPLE / 2).div_euclid(NS_PER_SAMPLE);
            if gap > LONGEST_GAP as i64 {
                return None;
            }
            if gap < 0 {
                let late = i128::from(gap_ns.unsigned_abs()) * i128::from(block.rate);
                let late = (late + 999_999_999) / 1_000_000_000;
                if late >= block.samples.len() as i128 {
                    // Its source catches up: no silence is to be put in its way.
                    self.heard_ns = now_ns;
                    return None;
                }
                ignored = late as usize;
            }
            let gap = gap.max(0) as u64;
            let settling = self.resamplers.at(block.rate)?.settling() as u64;
            let reason = self.reason();
            self.writer.gap(gap + settling, reason, self.next_ns);
            if reason != GapReason::NotCaptured {
                self.writer.count_lost(gap);
            }
            self.silence(gap);
        }
        self.resamplers.at(block.rate)?.reset();
        self.run = Some(Run {
            rate: block.rate,
            inputs: 0,
            outputs: 0,
        });
        self.slip = Slip::default();
        self.filling = false;
        self.unused = false;
        Some(ignored)
    }

    /// Why audio is missing between two runs.
    fn reason(&self) -> GapReason {
        match (self.unused, self.filling) {
            (true, _) => GapReason::NotCaptured,
            (false, true) => GapReason::Continued,
            (false, false) => GapReason::Interrupted,
        }
    }

    /// Ends the resampler's run: its last outputs, which mix the end of the audio
    /// with silence, are written and flagged.
    fn close_run(&mut self) {
        let start_ns = self.next_ns;
        let tail = self.tail();
        if tail > 0 {
            let reason = match self.unused {
                true => GapReason::NotCaptured,
                false => GapReason::Interrupted,
            };
            self.writer.gap(tail as u64, reason, start_ns);
            self.writer.append(&self.scratch[..tail], start_ns);
            self.filling = true;
        }
    }

    /// As [`close_run`](Self::close_run) where silence really follows.
    fn flush(&mut self) {
        let start_ns = self.next_ns;
        let tail = self.tail();
        self.writer.append(&self.scratch[..tail], start_ns);
    }

    /// Leaves the clock and puts the resampler's last outputs into the scratch;
    /// how many these are.
    fn tail(&mut self) -> usize {
        self.timeline.leave();
        let Some(run) = self.run.take() else { return 0 };
        let Some(resampler) = self.resamplers.at(run.rate) else {
            return 0;
        };
        let behind = resampler.delay_ns() * i64::from(run.rate);
        let behind = (behind as u64).div_ceil(1_000_000_000);
        let tail = resampler.skip(behind, &mut self.scratch[..]).written;
        self.next_ns += tail as i64 * NS_PER_SAMPLE;
        tail
    }

    /// See [`Ingest::fill`].
    fn fill(&mut self, now_ns: i64) -> bool {
        if self.writer.position() == 0 || now_ns - self.heard_ns < IDLE_NS {
            return false;
        }
        let until_ns = now_ns - self.lag.usual_ns() - FILL_BEHIND_NS;
        if until_ns <= self.next_ns {
            return false;
        }
        // Somebody listens, and no audio comes: from here on it is a loss.
        self.filling &= !std::mem::take(&mut self.unused);
        self.close_run();
        let count = ((until_ns - self.next_ns) / NS_PER_SAMPLE).max(0) as u64;
        self.writer.gap(count, self.reason(), self.next_ns);
        self.writer.count_lost(count);
        self.silence(count);
        self.filling = true;
        true
    }

    /// See [`Ingest::catch_up`].
    fn catch_up(&mut self, now_ns: i64) -> bool {
        self.heard_ns = now_ns;
        if self.writer.position() == 0 || now_ns <= self.next_ns {
            return false;
        }
        // What was begun is ended before anybody gets to read it.
        if self.writer.is_wiping() {
            while self.writer.wipe(PIECE) {}
        }
        self.unused = true;
        self.close_run();
        let count = ((now_ns - self.next_ns) / NS_PER_SAMPLE).max(0) as u64;
        self.writer.gap(count, GapReason::NotCaptured, self.next_ns);
        self.silence(count);
        self.filling = true;
        true
    }

    /// Writes silence and moves the line on. What the ring couldn't hold is passed over:
    /// it takes no longer than the whole ring.
    fn silence(&mut self, count: u64) {
        self.writer.append_silence(count, self.next_ns);
        self.next_ns += count as i64 * NS_PER_SAMPLE;
    }
}

/// Nanoseconds of so many samples; short ones.
fn duration_ns(samples: i64, rate: u32) -> i64 {
    samples * 1_000_000_000 / i64::from(rate)
}
