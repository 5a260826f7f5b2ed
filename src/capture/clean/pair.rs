//! The two sides by one clock: the microphone's blocks and those of what the loudspeaker plays
//! go into the canceller in the same time, and come out at the microphone's positions.

use std::collections::VecDeque;

use v2m_echo::{Canceller, Cleaned, Options, Window};

use super::queue::Piece;
use crate::capture::Block;

/// For so long the far end is waited for, in ms, before the microphone goes on alone.
const PATIENCE_MS: usize = 60;
/// The canceller tells what it did so often.
const FRAMES_PER_S: u64 = 100;
/// What was played and didn't come here.
const UNKNOWN: f32 = f32::NAN;
/// What is kept of the far end before its time has come, in ms.
const KEPT_MS: usize = 2000;

/// Both sides of one source.
pub(super) struct Pair {
    options: Options,
    /// None at a rate at which no echo can be cancelled.
    canceller: Option<Canceller>,
    cleaned: Cleaned,
    near: Side,
    far: Side,
    /// A position of the far end is so much above the near end's of the same time.
    shift: Option<i64>,
    /// Position of the next sample that comes out.
    next: u64,
    /// What the microphone lost: silence in the canceller, and nobody's audio.
    gaps: VecDeque<(u64, u64)>,
    /// Positions whose time is known.
    stamps: VecDeque<(u64, i64)>,
    /// The far end wasn't there at all.
    alone: bool,
    /// What was done up to a position, of what has not come out yet.
    windows: VecDeque<(u64, Window)>,
    /// Up to where that is known.
    judged: u64,
    /// Of what came out last.
    window: Window,
}

/// What came of one side and has not been used.
#[derive(Default)]
struct Side {
    clock: u64,
    rate: u32,
    first: u64,
    samples: VecDeque<f32>,
    /// A position and its time.
    stamp: (u64, i64),
}

impl Side {
    fn end(&self) -> u64 {
        self.first + self.samples.len() as u64
    }

    /// Appends a block, with `missing` for each sample that was lost before it, and without those
    /// that were there already. How many were lost; none if it doesn't go on from what was there.
    fn append(&mut self, piece: &Piece, missing: f32) -> Option<u64> {
        let known = self.rate > 0 && (self.clock, self.rate) == (piece.clock, piece.rate);
        let near = known && self.end().abs_diff(piece.position) <= u64::from(self.rate);
        if !near {
            self.samples.clear();
            (self.clock, self.rate, self.first) = (piece.clock, piece.rate, piece.position);
        }
        let lost = piece.position.saturating_sub(self.end());
        let repeated = self.end().saturating_sub(piece.position);
        self.samples
            .extend(std::iter::repeat_n(missing, lost as usize));
        self.samples
            .extend(piece.samples.iter().skip(repeated as usize));
        self.stamp = (piece.position, piece.time_ns);
        near.then_some(lost)
    }
}

impl Pair {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            canceller: None,
            cleaned: Cleaned::default(),
            near: Side::default(),
            far: Side::default(),
            shift: None,
            next: 0,
            gaps: VecDeque::new(),
            stamps: VecDeque::new(),
            alone: true,
            windows: VecDeque::new(),
            judged: 0,
            window: Window::default(),
        }
    }

    /// What was done to what came out last.
    pub(super) fn window(&self) -> Window {
        self.window
    }

    /// Another microphone or loudspeaker, and with it another room.
    pub(super) fn jump(&mut self) {
        if let Some(canceller) = &mut self.canceller {
            canceller.jump();
        }
    }

    /// The microphone goes on.
    pub(super) fn near(&mut self, piece: &Piece) {
        let end = self.near.end();
        match self.near.append(piece, 0.0) {
            Some(0) => {}
            Some(_) => self.gaps.push_back((end, piece.position)),
            None => {
                self.canceller = Canceller::new(piece.rate, self.options).ok();
                self.cleaned = Cleaned::default();
                self.gaps.clear();
                self.stamps.clear();
                self.windows.clear();
                self.shift = None;
                (self.next, self.judged) = (piece.position, piece.position);
            }
        }
        self.stamps.push_back((piece.position, piece.time_ns));
    }

    /// The far end goes on.
    pub(super) fn far(&mut self, piece: &Piece) {
        if self.far.append(piece, UNKNOWN).is_none() {
            self.shift = None;
            self.alone = true;
        }
        let most = KEPT_MS * self.far.rate as usize / 1000;
        let old = self.far.samples.len().saturating_sub(most);
        self.far.samples.drain(..old);
        self.far.first += old as u64;
    }

    /// Gives what can be given now, and what was done to it. `plays`: the far end's blocks come.
    pub(super) fn give(&mut self, plays: bool, mut give: impl FnMut(&Block<'_>, Window)) {
        let mut far = Vec::new();
        let count = self.ready(plays, &mut far);
        let near: Vec<f32> = self.near.samples.drain(..count).collect();
        self.near.first += count as u64;
        match &mut self.canceller {
            Some(canceller) => canceller.process(&near, &far, &mut self.cleaned),
            None => self.cleaned.samples.extend(near),
        }
        let frame = u64::from(self.near.rate) / FRAMES_PER_S;
        for window in self.cleaned.windows.drain(..) {
            self.judged += frame;
            self.windows.push_back((self.judged, window));
        }
        let samples = std::mem::take(&mut self.cleaned.samples);
        self.deliver(&samples, &mut give);
    }

    /// How many of the microphone's samples are due, and what was played in their time.
    fn ready(&mut self, plays: bool, far: &mut Vec<f32>) -> usize {
        let waiting = self.near.samples.len();
        let patience = PATIENCE_MS * self.near.rate as usize / 1000;
        let heard = plays && self.far.rate == self.near.rate && self.far.rate > 0;
        let first = if heard {
            self.near.first as i64 + self.shift()
        } else {
            0
        };
        let there = self.far.end() as i64 - first;
        let count = match there.clamp(0, waiting as i64) as usize {
            _ if !heard => waiting,
            // Rather the microphone alone than late.
            0.. if waiting > patience => waiting,
            there => there,
        };
        if self.alone
            && heard
            && let Some(canceller) = &mut self.canceller
        {
            canceller.jump();
        }
        self.alone = !heard;
        far.resize(count, if heard { UNKNOWN } else { 0.0 });
        if heard {
            let old = (first - self.far.first as i64).clamp(0, self.far.samples.len() as i64);
            self.far.samples.drain(..old as usize);
            self.far.first += old as u64;
            let lead = (self.far.first as i64 - first).clamp(0, count as i64) as usize;
            let used = self.far.samples.len().min(count - lead);
            for (to, from) in far[lead..].iter_mut().zip(self.far.samples.drain(..used)) {
                *to = from;
            }
            self.far.first += used as u64;
        }
        count
    }

    /// Both count by the same driver, or else times tell.
    fn shift(&mut self) -> i64 {
        let (near, far) = (&self.near, &self.far);
        *self.shift.get_or_insert_with(|| {
            if near.clock as u32 == far.clock as u32 {
                return 0;
            }
            let later = i128::from(far.stamp.1 - near.stamp.1) * i128::from(near.rate);
            far.stamp.0 as i64 - near.stamp.0 as i64 - (later / 1_000_000_000) as i64
        })
    }

    fn deliver(&mut self, samples: &[f32], give: &mut impl FnMut(&Block<'_>, Window)) {
        let mut rest = samples;
        while !rest.is_empty() {
            while self.gaps.front().is_some_and(|&(_, end)| end <= self.next) {
                self.gaps.pop_front();
            }
            while self.stamps.get(1).is_some_and(|&(at, _)| at <= self.next) {
                self.stamps.pop_front();
            }
            while let Some(&(end, window)) = self.windows.front()
                && end <= self.next
            {
                self.window = window;
                self.windows.pop_front();
            }
            let gap = self.gaps.front().copied().unwrap_or((u64::MAX, u64::MAX));
            let lost = gap.0 <= self.next;
            let stamp = self.stamps.get(1).map_or(u64::MAX, |&(at, _)| at);
            let (judged, window) = match self.windows.front() {
                Some(&(end, window)) => (end, window),
                None => (u64::MAX, self.window),
            };
            let until = if lost { gap.1 } else { gap.0.min(stamp) };
            let until = until.min(judged);
            let count = (until - self.next).min(rest.len() as u64) as usize;
            let (piece, after) = rest.split_at(count);
            if let Some(&(at, time_ns)) = self.stamps.front().filter(|_| !lost) {
                let since = (self.next - at) as i64 * 1_000_000_000;
                let block = Block {
                    rate: self.near.rate,
                    clock: self.near.clock,
                    position: self.next,
                    time_ns: time_ns + since / i64::from(self.near.rate.max(1)),
                    ..Block::mono(piece)
                };
                give(&block, window);
            }
            self.next += count as u64;
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests;
