//! Follows a ring's speech track with one client's parameters: segments by
//! position, each a window of the ring. Nobody waits here, and audio is looked at only
//! where an utterance gets too long.
//!
//! The rules count at 16 kHz, at which speech is judged; what is handed out is in the
//! ring's own samples. A window has the same number at every rate.
//!
//! The track outlives the samples, so a reader that is late still learns what was
//! said: segments whose samples are gone are counted, and it goes on with those that
//! will stay readable for a while. Silence that was missed costs nothing.

use std::collections::VecDeque;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::ring::{Rate, Reader, State, WINDOW};
use crate::status::Status;
use v2m_dsp::vad::segment::{Levels, Params, Segment, Segmenter};

/// Probabilities copied at once.
const BATCH: usize = 64;

/// What [`Follower::step`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next segment; all of its samples are in the ring now.
    Segment(Segment),
    /// Nothing before more of the track is written.
    Wait,
    /// So many samples of speech were overwritten before they were asked for.
    Overrun(u64),
    /// The stream has ended and everything was handed out.
    Over,
}

/// A place in one ring's speech track.
pub struct Follower {
    rate: Rate,
    segmenter: Segmenter,
    /// The window to be taken next.
    next: u64,
    /// The one after the last that has a probability.
    heard: u64,
    /// Certain and not handed out yet; at most the last one is partial.
    found: VecDeque<Segment>,
    /// Samples to be reported by [`Step::Overrun`].
    lost: u64,
    /// What was open has been closed: nothing more is found.
    finished: bool,
}

impl Follower {
    /// Follows `ring` from `position` on; the pad before the first word may reach back
    /// further, into what the ring still holds.
    ///
    /// A segment has to stay readable for a while, so `max_s` is at most three quarters
    /// of the ring's history here.
    ///
    /// Errors: those of [`Params::validate`]; [`ErrorKind::Invalid`] if the pads leave
    /// no room in these.
    pub fn new(params: &Params, ring: &Reader, position: u64) -> Result<Self> {
        params.validate()?;
        let rate = ring.rate();
        let longest = rate.seconds(lasting(ring));
        let bounded = Params {
            max_s: params.max_s.min(longest),
            ..params.clone()
        };
        let mut segmenter = Segmenter::new(&bounded).map_err(|_| {
            let message = format!(
                "pad_ms = {}: two pads and two windows must fit into {longest} s, three quarters of what the engine keeps",
                params.pad_ms
            );
            Error::new(ErrorKind::Invalid, message)
        })?;
        let next = position / rate.window();
        let before = u64::from(params.pad_ms) * u64::from(rate.hz()) / 1000;
        // Before that nobody listened, and nothing was captured.
        let heard_from = ring.unused_until().min(position);
        let floor = position.saturating_sub(before).max(ring.oldest());
        segmenter.begin(next, at_16_khz(rate, floor.max(heard_from)));
        Ok(Self {
            rate,
            segmenter,
            next,
            heard: next,
            found: VecDeque::new(),
            lost: 0,
            finished: false,
        })
    }

    /// The next segment, or why there is none. Growing segments (`partial_ms`) that
    /// a newer one has overtaken are left out.
    pub fn step(&mut self, ring: &Reader) -> Step {
        self.advance(ring);
        self.hand_out(ring)
    }

    /// Whether there is a segment or an overrun to be had.
    pub fn is_due(&mut self, ring: &Reader) -> bool {
        self.advance(ring);
        self.lost > 0 || !self.found.is_empty()
    }

    /// Whether everything was handed out and nothing follows.
    pub fn is_over(&self) -> bool {
        self.finished && self.lost == 0 && self.found.is_empty()
    }

    fn advance(&mut self, ring: &Reader) {
        // Before the counts: once it says that no more comes, they are final.
        let state = ring.state();
        self.take(ring, ring.committed());
        let all = self.next >= ring.complete_windows();
        if state == State::Stopped || state == State::Ended && all {
            self.finish(ring);
        }
    }

    /// Nothing follows, though the ring doesn't say so: its engine is gone. What is
    /// open ends with the audio that is there.
    pub fn finish(&mut self, ring: &Reader) {
        self.finish_at(ring, ring.committed());
    }

    /// Nothing follows after `end`, with which what is open ends.
    pub fn finish_at(&mut self, ring: &Reader, end: u64) {
        if !std::mem::replace(&mut self.finished, true) {
            self.cut(ring, end);
        }
    }

    /// What is open ends with the audio that is there now, and what follows is something
    /// new; whether there was anything.
    pub fn cut_now(&mut self, ring: &Reader) -> bool {
        let end = ring.committed();
        let any = !self.finished && self.cut(ring, end);
        // Windows that nobody has judged yet belong to what ended.
        self.next = self.next.max(end / self.rate.window());
        self.segmenter.begin(self.next, at_16_khz(self.rate, end));
        any
    }

    fn cut(&mut self, ring: &Reader, end: u64) -> bool {
        self.take(ring, end);
        let mut out = Vec::new();
        let end = Rate::SPEECH.convert(end, self.rate);
        self.segmenter.finish(end, &mut out);
        let any = !out.is_empty();
        self.keep(out);
        any
    }

    /// Samples since the last window that has a probability, less than two windows' worth
    /// where the engine keeps up. Much more than that: its VAD is late, off, or fails.
    pub fn unheard(&self, ring: &Reader) -> u64 {
        ring.committed()
            .saturating_sub(self.heard * self.rate.window())
    }

    /// Up to here everything was handed out.
    pub fn reached(&self) -> u64 {
        let next = self.next * self.rate.window();
        self.found.front().map_or(next, |segment| segment.start)
    }

    /// Whether speech goes on, as of the windows taken so far.
    pub fn in_speech(&self) -> bool {
        self.segmenter.in_speech()
    }

    /// Runs what the track has gained of the audio up to `end` through the rules.
    fn take(&mut self, ring: &Reader, end: u64) {
        // Whatever an engine says, no window is judged before its samples are there.
        let there = ring.committed().min(end) / self.rate.window();
        let decided = ring.speech_committed().min(there);
        let mut probabilities = [0.0; BATCH];
        let mut out = Vec::new();
        while self.next < decided {
            let count = (decided - self.next).min(BATCH as u64) as usize;
            let batch = &mut probabilities[..count];
            if ring.read_speech(self.next, batch).is_err() {
                // Not even the track remembers: all of it may have been speech.
                let window = self.rate.window();
                let fresh = (fresh(ring) / window).clamp(self.next + 1, decided);
                self.lost = self.lost.saturating_add((fresh - self.next) * window);
                self.next = fresh;
                continue;
            }
            for (index, &p) in (self.next..).zip(&*batch) {
                if p.is_nan() {
                    // A window that nobody could judge: what was open ends there.
                    self.segmenter.finish(index * WINDOW, &mut out);
                } else {
                    let quietest = |range| quietest(ring, range);
                    self.segmenter.push_heard(index, p, quietest, &mut out);
                    self.heard = index + 1;
                }
            }
            self.next += count as u64;
            self.keep(std::mem::take(&mut out));
        }
    }

    fn keep(&mut self, segments: Vec<Segment>) {
        for segment in segments {
            let segment = Segment {
                start: self.rate.convert(segment.start, Rate::SPEECH),
                end: self.rate.convert(segment.end, Rate::SPEECH),
                ..segment
            };
            if self.found.back().is_some_and(|last| !last.is_final) {
                self.found.pop_back();
            }
            self.found.push_back(segment);
        }
    }

    fn hand_out(&mut self, ring: &Reader) -> Step {
        if self.found.front().is_some_and(|s| s.start < ring.oldest()) {
            // Far enough ahead that what comes next isn't overwritten at once.
            let fresh = fresh(ring);
            self.found.retain(|segment| {
                let kept = segment.start >= fresh;
                // The final one of a partial one is still to come, and counts.
                self.lost += u64::from(!kept && segment.is_final) * (segment.end - segment.start);
                kept
            });
        }
        match std::mem::take(&mut self.lost) {
            0 => match self.found.pop_front() {
                Some(segment) => Step::Segment(segment),
                None if self.finished => Step::Over,
                None => Step::Wait,
            },
            lost => Step::Overrun(lost),
        }
    }
}

/// Where the ring is quietest within these samples at 16 kHz; None where nothing is, or it
/// was overwritten.
fn quietest(ring: &Reader, range: Range<u64>) -> Option<u64> {
    let rate = ring.rate();
    let [start, end] = [range.start, range.end].map(|at| rate.convert(at, Rate::SPEECH));
    let mut samples = vec![0.0; usize::try_from(end - start).ok()?];
    ring.read_samples(start, &mut samples).ok()?;
    let mut levels = Levels::new(rate.hz());
    levels.push(&samples);
    Some(range.start + levels.quietest(0..range.end - range.start)?)
}

/// Says why an engine has no speech track, if it has none.
///
/// Errors: [`ErrorKind::System`], with what is missing and how to get it.
pub fn check(status: &Status) -> Result<()> {
    let vad = &status.vad;
    let why = match &vad.problem {
        Some(problem) => problem.clone(),
        None if vad.backend == "off" => {
            "it is switched off: start the engine without `--vad-backend off` (in config.toml: \
             `backend = \"native\"` under `[vad]`)"
                .into()
        }
        None => return Ok(()),
    };
    let message = format!("the engine has no speech detection: {why}");
    Err(Error::new(ErrorKind::System, message))
}

/// The first position at 16 kHz that lies at this one or behind it.
fn at_16_khz(rate: Rate, position: u64) -> u64 {
    let before = Rate::SPEECH.convert(position, rate);
    before + u64::from(rate.convert(before, Rate::SPEECH) < position)
}

/// Samples back from the newest that stay readable for at least a quarter of the history.
fn lasting(ring: &Reader) -> u64 {
    ring.layout().history() / 4 * 3
}

fn fresh(ring: &Reader) -> u64 {
    ring.committed().saturating_sub(lasting(ring))
}
