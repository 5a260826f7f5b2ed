//! From a ring to whoever records: a constant time behind what is captured, through the gate if
//! there is one.
//!
//! Both run by clocks of their own, which may be the same. As long as they are, positions go
//! on one by one. When the distance has changed by [`SLIP_MS`], as it does between two clocks
//! after minutes, the feed moves to where it should be, by a fade from one place to the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use v2m_dsp::gate::Gate;
use v2m_ring::Reader;

/// How far behind the newest sample what is given out begins, besides what the gate looks
/// ahead: two quanta of 1024 samples and the detector's turn fit in.
pub const MARGIN_MS: u64 = 50;
/// So much off, and the feed moves.
const SLIP_MS: i64 = 10;
/// How long the distance is watched before that.
const WATCH_MS: u64 = 2000;
/// Older than this the newest sample isn't what is captured now: the engine fills in what is
/// missing no sooner than 0.3 s afterwards.
const FRESH_NS: i64 = 250_000_000;
/// Samples that are read at once.
const PIECE: usize = 1024;

/// What a feed has counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Samples that weren't there in time, given as silence.
    pub missed: AtomicU64,
    /// Moves to stay at its distance.
    pub slips: AtomicU64,
}

/// The data thread's part of the microphone, for one stretch of recording.
pub struct Feed {
    reader: Reader,
    gate: Option<Gate>,
    /// Samples of a window.
    window: u64,
    /// Samples between the newest one and the next to be given, and of the gate's look-ahead.
    behind: u64,
    ahead: u64,
    /// Position of the next sample; before the stream's first one it is silence.
    next: Option<i64>,
    /// The next window that the gate hears.
    heard: u64,
    watch: Watch,
    slip: i64,
    piece: Box<[f32]>,
    other: Box<[f32]>,
    counts: Arc<Counts>,
}

impl Feed {
    /// A feed from a ring of `rate` samples per second; the gate comes with how many ms it
    /// has to look ahead.
    pub fn new(reader: Reader, rate: u32, gate: Option<(Gate, u64)>, counts: Arc<Counts>) -> Self {
        let samples = |ms: u64| ms * u64::from(rate) / 1000;
        let ahead = gate.as_ref().map_or(0, |&(_, ms)| samples(ms));
        Self {
            reader,
            gate: gate.map(|(gate, _)| gate),
            window: samples(32),
            behind: ahead + samples(MARGIN_MS),
            ahead,
            next: None,
            heard: 0,
            watch: Watch::new(samples(WATCH_MS)),
            slip: SLIP_MS * i64::from(rate) / 1000,
            piece: vec![0.0; PIECE].into(),
            other: vec![0.0; PIECE].into(),
            counts,
        }
    }

    /// Keeps what the data thread touches here in memory: not before it is where it stays.
    pub fn lock(&self) {
        let piece = |piece: &[f32]| (piece.as_ptr().cast(), size_of_val(piece));
        let own = (std::ptr::from_ref(self).cast(), size_of::<Self>());
        let parts = [own, piece(&self.piece), piece(&self.other)];
        v2m_rt::lock_all("virtual microphone", &parts);
    }

    /// Gives the samples that come next, at CLOCK_MONOTONIC nanoseconds `now_ns`. On the data
    /// thread: bounded by their number, without allocation, lock or system call.
    pub fn fill(&mut self, out: &[AtomicU32], now_ns: i64) {
        let newest = self.reader.committed() as i64;
        let Some(next) = self.next.or_else(|| self.begin(newest, now_ns)) else {
            out.iter().for_each(|out| out.store(0, Ordering::Relaxed));
            return;
        };
        let moved = self.watch.look(newest - next, out.len() as u64, self.slip);
        let mut next = next;
        let mut from = moved.map(|by| {
            self.counts.slips.fetch_add(1, Ordering::Relaxed);
            next += by;
            next - by
        });
        for out in out.chunks(PIECE) {
            let count = out.len();
            let mut piece = std::mem::take(&mut self.piece);
            self.read(next, &mut piece[..count]);
            if let Some(before) = from.take() {
                let mut other = std::mem::take(&mut self.other);
                self.read(before, &mut other[..count]);
                cross(&other[..count], &mut piece[..count]);
                self.other = other;
            }
            self.pass(next, &mut piece[..count]);
            for (out, sample) in out.iter().zip(&piece) {
                out.store(sample.to_bits(), Ordering::Relaxed);
            }
            self.piece = piece;
            next += count as i64;
        }
        self.next = Some(next);
    }

    /// Where to begin, once audio comes: until then positions stand still, or follow behind.
    fn begin(&mut self, newest: i64, now_ns: i64) -> Option<i64> {
        let time_ns = self.reader.time_ns((newest as u64).checked_sub(1)?)?;
        if now_ns - time_ns > FRESH_NS {
            return None;
        }
        let next = newest - self.behind as i64;
        self.heard = next.max(0) as u64 / self.window;
        Some(next)
    }

    /// The samples from `position` on; silence where there are none.
    fn read(&self, position: i64, samples: &mut [f32]) {
        samples.fill(0.0);
        let end = position + samples.len() as i64;
        let (oldest, newest) = (self.reader.oldest() as i64, self.reader.committed() as i64);
        let (first, last) = (position.max(oldest), end.min(newest));
        let mut there = 0;
        if first < last {
            let range = (first - position) as usize..(last - position) as usize;
            there = range.len();
            if self
                .reader
                .read_samples(first as u64, &mut samples[range])
                .is_err()
            {
                there = 0;
            }
        }
        let before = (-position).clamp(0, samples.len() as i64) as usize;
        let missed = (samples.len() - before - there) as u64;
        if missed > 0 {
            self.counts.missed.fetch_add(missed, Ordering::Relaxed);
        }
    }

    /// Through the gate, which hears before what it needs to have heard.
    fn pass(&mut self, position: i64, samples: &mut [f32]) {
        let Some(gate) = &mut self.gate else { return };
        let end = position + samples.len() as i64 + self.ahead as i64;
        let known = self.reader.speech_committed();
        while ((self.heard + 1) * self.window) as i64 <= end {
            let mut probability = [f32::NAN];
            if self.heard < known {
                // One that is overwritten is not known.
                let _ = self.reader.read_speech(self.heard, &mut probability);
            }
            gate.hear(self.heard, probability[0]);
            self.heard += 1;
        }
        let before = (-position).clamp(0, samples.len() as i64) as usize;
        gate.apply(position.max(0) as u64, &mut samples[before..]);
    }
}

/// From one to the other over their length.
fn cross(from: &[f32], to: &mut [f32]) {
    let length = to.len() as f32;
    for (index, (from, to)) in from.iter().zip(to).enumerate() {
        let share = (index + 1) as f32 / length;
        *to = from + share * (*to - from);
    }
}

/// Watches how far behind the newest sample the feed is, at most: audio that comes late for
/// once doesn't change that, a clock that runs away does.
#[derive(Debug)]
struct Watch {
    length: u64,
    seen: u64,
    most: i64,
    /// Of the first stretch.
    usual: Option<i64>,
}

impl Watch {
    fn new(length: u64) -> Self {
        Self {
            length,
            seen: 0,
            most: i64::MIN,
            usual: None,
        }
    }

    /// By how much to move now, if by more than `slip`.
    fn look(&mut self, distance: i64, count: u64, slip: i64) -> Option<i64> {
        self.most = self.most.max(distance);
        self.seen += count;
        if self.seen < self.length {
            return None;
        }
        let most = std::mem::replace(&mut self.most, i64::MIN);
        self.seen = 0;
        let off = most - *self.usual.get_or_insert(most);
        (off.abs() > slip).then_some(off)
    }
}

#[cfg(test)]
mod tests;
