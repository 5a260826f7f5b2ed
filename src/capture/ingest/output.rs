//! One rate of a source: the way into its ring, and what is written where audio begins, ends
//! or is missing. Everything but [`Output::new`] is for the
//! real-time thread.

use super::Missing;
use super::Run;
use v2m_dsp::resample::Resampler;
use v2m_error::Result;
use v2m_ring::{CaptureWriter, Echo, GapReason, Notifier, Rate};
use v2m_rt as rt;

/// Rates that sound hardware has; ready from the start, so that a change loses nothing.
const USUAL_RATES: [u32; 6] = [44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

/// Input samples converted at once.
pub(super) const CHUNK: usize = 1024;
/// Output of one chunk at the lowest rate, and the kernel's tail.
pub(super) const SCRATCH: usize = 8192;

/// Where what is converted lies until it is written.
pub(super) type Scratch = [f32; SCRATCH];

/// Where samples lie.
fn stretch(part: &[f32]) -> (*const u8, usize) {
    (part.as_ptr().cast(), size_of_val(part))
}

/// A ring's writer, and the resamplers from each rate that may come.
pub(super) struct Output {
    writer: CaptureWriter,
    notifier: Notifier,
    usual: Vec<Resampler>,
    /// For a rate that is not among the usual ones.
    pub(super) spare: Option<Resampler>,
    /// It has joined just now: what was before was not captured for it.
    fresh: bool,
    /// In the middle of a filled stretch.
    filling: bool,
}

impl Output {
    pub(super) fn new(writer: CaptureWriter, notifier: Notifier) -> Result<Self> {
        let usual = USUAL_RATES
            .into_iter()
            .map(|rate| Resampler::new(rate, writer.rate().hz()))
            .collect::<Result<_>>()?;
        Ok(Self {
            fresh: writer.position() > 0,
            writer,
            notifier,
            usual,
            spare: None,
            filling: false,
        })
    }

    /// A resampler for a rate that is not a usual one, in locked memory.
    pub(super) fn spare(input: u32, output: Rate) -> Result<Resampler> {
        let resampler = Resampler::new(input, output.hz())?;
        let parts: Vec<_> = resampler.memory().map(stretch).collect();
        rt::lock_all(&format!("resampler from {input} to {output} Hz"), &parts);
        Ok(resampler)
    }

    /// Keeps everything that the real-time thread touches here in memory.
    pub(super) fn lock(&self) {
        let all = self.usual.iter().chain(&self.spare);
        let mut parts: Vec<_> = all.flat_map(Resampler::memory).map(stretch).collect();
        parts.push((std::ptr::from_ref(self).cast(), size_of::<Self>()));
        rt::lock_all(&format!("resamplers to {} Hz", self.rate()), &parts);
    }

    pub(super) fn rate(&self) -> Rate {
        self.writer.rate()
    }

    pub(super) fn position(&self) -> u64 {
        self.writer.position()
    }

    /// The first tick that lies at its position or behind it.
    pub(super) fn tick(&self) -> u64 {
        self.position().div_ceil(self.rate().per_tick())
    }

    pub(super) fn announce(&self) {
        self.notifier.announce();
    }

    pub(super) fn wake(&self) {
        self.notifier.wake();
    }

    pub(super) fn notify(&self) {
        self.notifier.notify();
    }

    pub(super) fn count_repeated(&mut self) {
        self.writer.count_repeated();
    }

    /// Whether it can take audio of this rate.
    pub(super) fn takes(&self, rate: u32) -> bool {
        let mut all = self.usual.iter().chain(&self.spare);
        all.any(|resampler| resampler.input_rate() == rate)
    }

    fn resampler(&mut self, rate: u32) -> Option<&mut Resampler> {
        let mut all = self.usual.iter_mut().chain(&mut self.spare);
        all.find(|resampler| resampler.input_rate() == rate)
    }

    /// What is taken off the audio that comes.
    pub(super) fn set_echo(&mut self, echo: Echo) {
        self.writer.set_echo(echo);
    }

    /// What audio of this rate passes through.
    #[inline]
    pub(super) fn way(&mut self, rate: u32) -> Option<(&mut Resampler, &mut CaptureWriter)> {
        let mut all = self.usual.iter_mut().chain(&mut self.spare);
        let resampler = all.find(|resampler| resampler.input_rate() == rate)?;
        Some((resampler, &mut self.writer))
    }

    /// Nanoseconds from the run's next input to its own next sample; mostly negative.
    pub(super) fn offset_ns(&self, run: &Run) -> i64 {
        let rate = self.rate();
        // Negative for who joins the run and has not been told of its begin.
        let outputs = self.position() as i64 - (run.start * rate.per_tick()) as i64;
        rate.ns(outputs) - run.input_ns()
    }

    /// Begins a run whose first input lies at its position.
    pub(super) fn begin(&mut self, rate: u32) {
        if let Some(resampler) = self.resampler(rate) {
            resampler.reset();
        }
        self.fresh = false;
        self.filling = false;
    }

    /// Joins a run that has been going on; its next input was captured at `next_ns`.
    pub(super) fn join(&mut self, run: &Run, next_ns: i64, scratch: &mut Scratch) {
        let Some(resampler) = self.resampler(run.rate) else {
            return;
        };
        // As if it had heard silence so far.
        resampler.reset();
        let skipped = resampler.skip(run.inputs, scratch);
        let settling = resampler.settling() as u64;
        let outputs = skipped.written as u64 + skipped.then_zeros;
        let target = run.start * self.rate().per_tick() + outputs;
        let missing = target.saturating_sub(self.position());
        let time_ns = next_ns + self.offset_ns(run);
        self.writer
            .gap(missing + settling, GapReason::NotCaptured, time_ns);
        self.writer.append_silence(missing, time_ns);
        self.fresh = false;
    }

    /// `missing` of a run's samples were lost, the first of which was captured at `time_ns`.
    pub(super) fn skip(&mut self, run: &Run, missing: u64, time_ns: i64, scratch: &mut Scratch) {
        let first_ns = time_ns + self.offset_ns(run);
        let Some(resampler) = self.resampler(run.rate) else {
            return;
        };
        let skipped = resampler.skip(missing, scratch);
        let lost = skipped.written as u64 + skipped.then_zeros;
        let smeared = lost + resampler.settling() as u64;
        self.writer.gap(smeared, GapReason::Xrun, first_ns);
        self.writer.count_lost(lost);
        self.writer.append(&scratch[..skipped.written], first_ns);
        let written_ns = self.rate().ns(skipped.written as i64);
        self.writer
            .append_silence(skipped.then_zeros, first_ns + written_ns);
    }

    /// Writes a run's last outputs, which mix the end of the audio with silence; flagged,
    /// with that reason, unless silence really follows.
    pub(super) fn end(
        &mut self,
        run: &Run,
        time_ns: i64,
        reason: Option<GapReason>,
        scratch: &mut Scratch,
    ) {
        let first_ns = time_ns + self.offset_ns(run);
        let Some(resampler) = self.resampler(run.rate) else {
            return;
        };
        let behind = resampler.delay_ns() * i64::from(run.rate);
        let behind = (behind as u64).div_ceil(1_000_000_000);
        let tail = resampler.skip(behind, scratch).written;
        if let Some(reason) = reason.filter(|_| tail > 0) {
            self.writer.gap(tail as u64, reason, first_ns);
            self.filling = true;
        }
        self.writer.append(&scratch[..tail], first_ns);
    }

    /// Writes silence up to a tick, whose moment is `time_ns`; of the audio that follows so
    /// much is flagged, too, as a resampler from `then` smears.
    pub(super) fn silence(&mut self, tick: u64, time_ns: i64, why: Missing, then: Option<u32>) {
        let rate = self.rate();
        let count = (tick * rate.per_tick()).saturating_sub(self.position());
        let first_ns = time_ns - rate.ns(count as i64);
        let settling = then.and_then(|then| self.resampler(then));
        let settling = settling.map_or(0, |resampler| resampler.settling() as u64);
        if count + settling == 0 {
            return;
        }
        let reason = match (why, self.filling) {
            _ if self.fresh => GapReason::NotCaptured,
            (Missing::Unused, _) => GapReason::NotCaptured,
            (_, true) => GapReason::Continued,
            (why, false) => why.reason(),
        };
        self.writer.gap(count + settling, reason, first_ns);
        if why == Missing::Lost && reason != GapReason::NotCaptured {
            self.writer.count_lost(count);
        }
        self.writer.append_silence(count, first_ns);
        self.filling = !self.fresh;
        self.fresh = false;
    }

    /// The machine has slept: flags the samples of the next window, the first of which comes at
    /// `time_ns`.
    pub(super) fn slept(&mut self, time_ns: i64) {
        let window = self.rate().window();
        self.writer.gap(window, GapReason::Suspended, time_ns);
        self.filling = false;
    }

    /// What is missing from here on is a gap of its own.
    pub(super) fn break_off(&mut self) {
        self.filling = false;
    }

    /// Wipes some of what is kept; whether some is left.
    pub(super) fn wipe(&mut self, count: u64) -> bool {
        self.writer.wipe(count)
    }

    pub(super) fn is_wiping(&self) -> bool {
        self.writer.is_wiping()
    }
}
