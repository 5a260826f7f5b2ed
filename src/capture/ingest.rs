//! From a backend's blocks to the rings: what is heard of the channels and loss accounting
//! once for the source, then one output for each rate that somebody listens to.
//! All of it runs on the real-time thread; what is left to others stands in `upkeep.rs`.
//!
//! Lost audio becomes silence of the same length, so that a position always
//! means a time. What the resampler's filter smears at the edges of a loss is
//! flagged with it: samples outside of gaps are exactly what they would have
//! been without the loss.
//!
//! # Position and time
//! A run of audio begins at a tick, an eighth of a millisecond, which is a whole number of
//! samples at every rate: position / rate is the same moment in all outputs, whenever they
//! joined.
//!
//! The next sample stands on a line of CLOCK_MONOTONIC. Where the source's clock can't tell
//! what is missing, the line does: what is captured after it is preceded by silence, and
//! what is captured before it has been accounted for and is dropped. The line itself follows
//! the source's times by 0.2 % of what passes at most, which is more than any sound card is
//! off; whatever goes beyond is a loss.

mod mailbox;
mod output;
mod upkeep;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use self::mailbox::{Mailbox, Outputs};
use self::output::{CHUNK, Scratch};
use super::stamps::{Drift, Lag, Slip};
use super::timeline::{Timeline, Verdict};
use super::{Block, Sink};
use v2m_dsp::channels::Heard;
use v2m_dsp::preamp::Preamp;
use v2m_ring::rate::TICKS;
use v2m_ring::sync::TryCell;
use v2m_ring::time::monotonic_ns;
use v2m_ring::{Echo, GapReason};

/// The longest silence that the real-time thread writes by itself, in ticks.
/// Longer ones come from [`Ingest::fill`].
const LONGEST_GAP: i64 = TICKS as i64;

/// Nanoseconds of a tick.
const TICK_NS: i64 = 1_000_000_000 / TICKS as i64;

/// The line of time moves by one part in so many of the time that passes.
const DRIFT: i64 = 500;

/// The ingest of every backend. One thread at a time gets in; who comes second
/// loses its block, which then is a gap like any other.
pub struct Ingest {
    inner: TryCell<Inner>,
    mailbox: Mailbox,
    /// A rate that no resampler is ready for; 0 for none.
    wanted: AtomicU32,
    /// The rate beside the usual ones that was last made ready for.
    unusual: Mutex<Option<u32>>,
    /// Blocks that were written so far.
    blocks: AtomicU64,
    /// How many these were when last looked at, and since when.
    seen: Mutex<Option<(u64, Instant)>>,
    /// As [`Inner::heard_ns`], for who only looks.
    heard_ns: AtomicI64,
    /// Nothing that comes is heard.
    muted: AtomicBool,
}

struct Inner {
    outputs: Outputs,
    timeline: Timeline,
    lag: Lag,
    slip: Slip,
    /// Audio comes without a break since it began.
    run: Option<Run>,
    /// Something was written.
    begun: bool,
    /// Where the next run may begin at the earliest, while there is none.
    tick: u64,
    /// CLOCK_MONOTONIC of the next input or, without a run, of `tick`, on the line.
    next_ns: i64,
    /// When a block last came whose time has a place in the ring or had one, or when
    /// capture began again.
    heard_ns: i64,
    /// Why audio is missing, until some comes.
    missing: Missing,
    /// The run was ended by audio of another clock, or because its own had counted more samples
    /// than time has passed: a tick of silence, flagged, tells where they meet.
    cut: bool,
    scratch: Box<Scratch>,
    /// A sum of channels.
    sum: [f32; CHUNK],
    /// Where one was asked for.
    preamp: Option<Preamp>,
    amplified: [f32; CHUNK],
}

/// Why audio is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It should be there.
    Lost,
    /// Nobody has listened until just now: it was not captured, and not lost.
    Unused,
    /// The user has muted it.
    Muted,
}

impl Missing {
    fn reason(self) -> GapReason {
        match self {
            Self::Lost => GapReason::Interrupted,
            Self::Unused => GapReason::NotCaptured,
            Self::Muted => GapReason::Muted,
        }
    }
}

/// Uninterrupted audio: its input `i` and an output's sample `n` after its beginning stand
/// for the same moment when `i / rate = n / output rate`.
#[derive(Clone, Copy)]
struct Run {
    rate: u32,
    /// The tick of its first input.
    start: u64,
    inputs: u64,
}

impl Run {
    /// Nanoseconds from its beginning to the next input.
    fn input_ns(&self) -> i64 {
        let rate = u64::from(self.rate);
        let (seconds, rest) = (self.inputs / rate, self.inputs % rate);
        (seconds * 1_000_000_000 + rest * 1_000_000_000 / rate) as i64
    }

    /// Nanoseconds from the next input to a tick; negative if it lies before.
    fn until_ns(&self, tick: u64) -> i64 {
        (tick as i64 - self.start as i64) * TICK_NS - self.input_ns()
    }
}

impl Ingest {
    /// Takes a block that arrives at `now_ns`; as [`Sink::block`].
    pub fn take(&self, block: &Block<'_>, now_ns: i64) {
        if self.muted.load(Ordering::Relaxed) {
            return;
        }
        self.inner.try_with(|inner| {
            inner.take_up(&self.mailbox);
            let written = inner.take(block, now_ns, &self.wanted);
            self.heard_ns.store(inner.heard_ns, Ordering::Relaxed);
            if written {
                self.blocks.fetch_add(1, Ordering::Relaxed);
                for output in inner.outputs.iter().flatten() {
                    output.announce();
                }
            }
        });
    }

    /// What is taken off the next block's audio, for whoever reads it. Of the thread that
    /// gives the blocks.
    pub fn set_echo(&self, echo: Echo) {
        self.inner.try_with(|inner| {
            let outputs = inner.outputs.iter_mut().flatten();
            outputs.for_each(|output| output.set_echo(echo));
        });
    }
}

impl Sink for Ingest {
    fn block(&self, block: &Block<'_>) {
        self.take(block, monotonic_ns());
    }

    fn wake(&self) {
        self.inner.try_with(|inner| {
            inner
                .outputs
                .iter()
                .flatten()
                .for_each(|output| output.wake());
        });
    }

    fn expect(&self, rate: u32) {
        self.make_ready_for(rate);
    }
}

impl Inner {
    fn take_up(&mut self, mailbox: &Mailbox) {
        let Self {
            outputs,
            run,
            next_ns,
            scratch,
            ..
        } = self;
        mailbox.take_up(outputs, |output| {
            if let Some(run) = run {
                output.join(run, *next_ns, scratch);
            }
        });
    }

    /// Takes a block that arrives at `now_ns`; whether anything was written.
    fn take(&mut self, block: &Block<'_>, now_ns: i64, wanted: &AtomicU32) -> bool {
        if block.frames() == 0 || block.rate == 0 {
            return false;
        }
        let before = self.written();
        let Some(time_ns) = self.lag.capture_ns(block, now_ns) else {
            return false;
        };
        let (verdict, time_ns) = self.judge(block, time_ns);
        let ignored = match verdict {
            Verdict::Continues { repeated } => {
                if repeated > 0 {
                    for output in self.outputs.iter_mut().flatten() {
                        output.count_repeated();
                    }
                }
                repeated
            }
            Verdict::Skipped(missing) => {
                self.skip(missing);
                0
            }
            Verdict::Elsewhere => {
                let mut outputs = self.outputs.iter().flatten();
                if !outputs.all(|output| output.takes(block.rate)) {
                    wanted.store(block.rate, Ordering::Relaxed);
                    return false;
                }
                match self.restart(block, time_ns, now_ns) {
                    Some(ignored) => ignored,
                    None => return self.written() != before,
                }
            }
        };
        self.timeline.follow(block);
        self.convert(block, ignored, time_ns);
        self.heard_ns = now_ns;
        self.written() != before
    }

    /// Samples in all outputs; to be compared only.
    fn written(&self) -> u64 {
        let outputs = self.outputs.iter().flatten();
        outputs.fold(0, |sum, output| sum.wrapping_add(output.position()))
    }

    /// How a block continues the ones before, by its clock's count and, where that can't
    /// be, by its time; and when its first sample was captured.
    fn judge(&mut self, block: &Block<'_>, time_ns: i64) -> (Verdict, i64) {
        let verdict = self.timeline.judge(block);
        let (Some(_), Some(ahead)) = (self.run, self.timeline.ahead(block)) else {
            return (verdict, time_ns);
        };
        let expected_ns = self.next_ns + duration_ns(ahead, block.rate);
        let off_ns = time_ns - expected_ns;
        match self.slip.look(off_ns, time_ns, block.duration_ns()) {
            Drift::None => (verdict, time_ns),
            Drift::Suspected => (verdict, expected_ns),
            Drift::Slipped => (Verdict::Elsewhere, time_ns),
        }
    }

    /// Resamples and writes a block's frames from `first` on; `time_ns` is the time of the
    /// block's first.
    fn convert(&mut self, block: &Block<'_>, first: usize, time_ns: i64) {
        let Some(mut run) = self.run else { return };
        let (frames, rate) = (block.frames(), block.rate);
        let mut next_ns = time_ns + duration_ns(first as i64, rate);
        for first in (first..frames).step_by(CHUNK) {
            let count = (frames - first).min(CHUNK);
            let mut samples = heard(block, first, &mut self.sum[..count]);
            if let Some(preamp) = &mut self.preamp {
                samples = preamp.process(samples, &mut self.amplified[..count]);
            }
            for output in self.outputs.iter_mut().flatten() {
                let first_ns = next_ns + output.offset_ns(&run);
                let Some((resampler, writer)) = output.way(rate) else {
                    continue;
                };
                let written = resampler.process(samples, &mut self.scratch[..]);
                writer.append(&self.scratch[..written], first_ns);
            }
            run.inputs += count as u64;
            next_ns += duration_ns(count as i64, rate);
        }
        self.run = Some(run);
        let passed_ns = duration_ns((frames - first) as i64, rate);
        self.next_ns += passed_ns;
        let (off_ns, drift_ns) = (next_ns - self.next_ns, passed_ns / DRIFT);
        self.next_ns += off_ns.clamp(-drift_ns, drift_ns);
    }

    /// Audio of `rate` begins, or goes on behind a loss.
    fn begin_preamp(&mut self, rate: u32) {
        if let Some(preamp) = &mut self.preamp {
            preamp.begin(rate);
        }
    }

    /// The source's clock skipped `missing` samples.
    fn skip(&mut self, missing: u64) {
        let Some(mut run) = self.run else { return };
        self.begin_preamp(run.rate);
        for output in self.outputs.iter_mut().flatten() {
            output.skip(&run, missing, self.next_ns, &mut self.scratch);
        }
        run.inputs += missing;
        self.next_ns += duration_ns(missing as i64, run.rate);
        self.run = Some(run);
    }

    /// Another clock: what is missing, only CLOCK_MONOTONIC can tell. How many
    /// samples at the block's front were accounted for already, as audio or as silence;
    /// `None` if the block can't be used (its resampler is kept ready).
    fn restart(&mut self, block: &Block<'_>, time_ns: i64, now_ns: i64) -> Option<usize> {
        let mut ignored = 0;
        if self.begun {
            // Of what is dropped of the same clock nothing stands for, and another source's audio
            // isn't this one's: at the source's own rate no resampler smears where they meet.
            self.cut |= self.run.is_some();
            self.end_run(Some(self.missing.reason()));
            let mut gap_ns = time_ns - self.next_ns;
            let mut gap = (gap_ns + TICK_NS / 2).div_euclid(TICK_NS);
            if gap > LONGEST_GAP {
                return None;
            }
            let told = i64::from(self.cut && gap <= 0);
            gap -= told;
            gap_ns -= told * TICK_NS;
            if gap < 0 {
                let late = i128::from(gap_ns.unsigned_abs()) * i128::from(block.rate);
                let late = (late + 999_999_999) / 1_000_000_000;
                if late >= block.frames() as i128 {
                    // Its source catches up: no silence is to be put in its way.
                    self.heard_ns = now_ns;
                    return None;
                }
                ignored = late as usize;
            }
            self.silence((gap.max(0) + told) as u64, Some(block.rate));
        } else {
            self.next_ns = time_ns;
        }
        for output in self.outputs.iter_mut().flatten() {
            output.begin(block.rate);
        }
        self.begin_preamp(block.rate);
        self.begun = true;
        self.run = Some(Run {
            rate: block.rate,
            start: self.tick,
            inputs: 0,
        });
        self.slip = Slip::default();
        self.missing = Missing::Lost;
        self.cut = false;
        Some(ignored)
    }

    /// Ends the run: its last outputs, which mix the end of the audio with silence, are
    /// written and flagged, unless silence really follows.
    fn end_run(&mut self, reason: Option<GapReason>) {
        self.timeline.leave();
        let Some(run) = self.run.take() else { return };
        for output in self.outputs.iter_mut().flatten() {
            output.end(&run, self.next_ns, reason, &mut self.scratch);
            self.tick = self.tick.max(output.tick());
        }
        self.next_ns += run.until_ns(self.tick);
    }

    /// Writes so many ticks of silence and moves the line on. What a ring couldn't hold is
    /// passed over: it takes no longer than the whole ring. The samples that follow come from
    /// a resampler from `then`.
    fn silence(&mut self, ticks: u64, then: Option<u32>) {
        self.tick += ticks;
        self.next_ns += ticks as i64 * TICK_NS;
        for output in self.outputs.iter_mut().flatten() {
            output.silence(self.tick, self.next_ns, self.missing, then);
        }
    }
}

/// What is heard of a block from frame `first` on: one of its channels as it is, or `sum`,
/// which it fills.
///
/// # Panics
/// If the block is shorter than that.
pub fn heard<'a>(block: &Block<'a>, first: usize, sum: &'a mut [f32]) -> &'a [f32] {
    let frames = first..first + sum.len();
    let mix = match block.heard {
        Heard::Channel(channel) => return &block.channels.channel(channel)[frames],
        Heard::Sum(mix) => mix,
    };
    sum.fill(0.0);
    let ramps = mix.ramps();
    for (channel, ramp) in ramps.take_while(|&(channel, _)| channel < block.channels.channels()) {
        let samples = &block.channels.channel(channel)[frames.clone()];
        let fading = ramp.frames.saturating_sub(first).min(samples.len());
        let (faded, rest) = samples.split_at(fading);
        for (n, (sum, sample)) in sum.iter_mut().zip(faded).enumerate() {
            *sum += ramp.at(first + n) * sample;
        }
        for (sum, sample) in sum[fading..].iter_mut().zip(rest) {
            *sum += ramp.to * sample;
        }
    }
    sum
}

/// Nanoseconds of so many samples; short ones.
fn duration_ns(samples: i64, rate: u32) -> i64 {
    samples * 1_000_000_000 / i64::from(rate)
}
