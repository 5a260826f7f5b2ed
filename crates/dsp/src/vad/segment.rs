//! From probabilities to segments of speech: hysteresis, padding, splitting.
//!
//! # The rules
//! Positions are samples; a window counts by the position of its first one.
//! They are those of silero-vad's `get_speech_timestamps` and give the same
//! segments for the same parameters, but as soon as they are certain.
//!
//! 1. **Start.** Speech starts with the first window whose probability is at
//!    least `threshold`.
//! 2. **Pause.** A pause begins with the first window below `neg_threshold`
//!    and ends with the next one at or above `threshold`. Windows between the
//!    two thresholds change nothing.
//! 3. **End.** A pause of `min_silence_ms` ends the speech where it began.
//!    Speech not longer than `min_speech_ms` is dropped.
//! 4. **Split.** Speech that with its pads would exceed `max_s` is cut at a
//!    pause of more than `split_silence_ms`, and goes on after that pause:
//!    at its longest finished one, or at the last ([`Split`]). Without such a
//!    pause it is cut at the window reached, or, with [`Split::Quietest`], in the
//!    five seconds before: in the middle of the longest stretch that is as quiet
//!    as any of them, if the audio is there and has one ([`Levels`]), else where
//!    speech was least likely.
//! 5. **Pad.** `pad_ms` are added on both sides. Where the silence between two
//!    segments is shorter than two pads each gets half of it, so that segments
//!    never overlap. Nothing reaches before the stream's first position (or
//!    the one after a discontinuity) nor past its end.
//!
//! A segment is certain, and comes out, once its pause lasted `min_silence_ms`
//! and two pads: if speech returns before that, its pad depends on whether that
//! new speech is long enough to count, and it waits for this to show.
//!
//! With `partial_ms` speech that is long enough to count also comes out while
//! it grows: same start as the final one, end at the newest window's. The final
//! one follows always, and may end earlier (at its last pause).

mod levels;
mod on_off;
mod params;

use std::collections::VecDeque;
use std::ops::Range;

pub use self::levels::Levels;
pub use self::on_off::{Edge, OnOff};
use self::params::decimal;
pub use self::params::{Params, Split};
use super::{SAMPLE_RATE, WINDOW};
use crate::Result;

/// Samples per millisecond.
const MS: u64 = SAMPLE_RATE as u64 / 1000;
/// How far back [`Split::Quietest`] looks, and no further than half of what is too long: 5 s.
pub const LOOK_BACK: u64 = 5 * SAMPLE_RATE as u64;
const STEP: u64 = WINDOW as u64;

/// Samples from `start` to `end`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Position of the first sample, of the pad before the speech.
    pub start: u64,
    /// Position after the last sample, of the pad after it.
    pub end: u64,
    /// False for a segment that is still growing.
    pub is_final: bool,
}

/// Speech in progress.
struct Speech {
    start: u64,
    /// Where the present pause began.
    pause: Option<u64>,
    /// The pause so far at which it would be split.
    cut: Option<Cut>,
    /// For [`Split::Quietest`]: windows of the last five seconds, each less likely speech
    /// than those after it.
    quiet: VecDeque<(u64, f64)>,
    /// The padded start, once the speech is long enough to count.
    counts_from: Option<u64>,
    /// Where the last partial ended, or would have.
    reported: u64,
}

impl Speech {
    fn new(start: u64) -> Self {
        Self {
            start,
            pause: None,
            cut: None,
            quiet: VecDeque::new(),
            counts_from: None,
            reported: start,
        }
    }
}

impl Speech {
    /// Keeps what [`Speech::quietest`] may answer.
    fn hear(&mut self, now: u64, p: f64, back: u64) {
        while self.quiet.back().is_some_and(|&(_, least)| p <= least) {
            self.quiet.pop_back();
        }
        self.quiet.push_back((now, p));
        let old = |&(at, _): &(u64, f64)| now - at >= back;
        while self.quiet.front().is_some_and(old) {
            self.quiet.pop_front();
        }
    }

    /// The window of those kept in which speech was least likely, the last of
    /// several; not the one that it began with.
    fn quietest(&self) -> Option<Cut> {
        let &(at, _) = self.quiet.iter().find(|(at, _)| *at > self.start)?;
        Some(Cut {
            begin: at,
            end: Some(at),
        })
    }
}

/// A pause that may split.
#[derive(Clone, Copy)]
struct Cut {
    begin: u64,
    /// None while it goes on.
    end: Option<u64>,
}

/// Speech that ended; its end is padded when it is known what follows.
struct Ended {
    /// Already padded.
    start: u64,
    end: u64,
}

/// Probabilities in, segments out; see the module for the rules.
pub struct Segmenter {
    threshold: f64,
    neg_threshold: f64,
    min_speech: u64,
    min_silence: u64,
    pad: u64,
    max_speech: u64,
    split_silence: u64,
    split: Split,
    partial: Option<u64>,
    /// Nothing reaches before this.
    floor: u64,
    /// The window expected, or none yet.
    next: Option<u64>,
    speech: Option<Speech>,
    ended: Option<Ended>,
}

impl Segmenter {
    /// Errors: those of [`Params::validate`].
    pub fn new(params: &Params) -> Result<Self> {
        params.validate()?;
        let longest = params.max_s * f64::from(SAMPLE_RATE);
        Ok(Self {
            threshold: decimal(params.threshold),
            neg_threshold: params.neg_threshold(),
            min_speech: u64::from(params.min_speech_ms) * MS,
            min_silence: u64::from(params.min_silence_ms) * MS,
            pad: params.pad(),
            // As infinite as positions get, where the cast saturates.
            max_speech: (longest as u64).saturating_sub(STEP + 2 * params.pad()),
            split_silence: u64::from(params.split_silence_ms) * MS,
            split: params.split,
            partial: params.partial_ms.map(|ms| u64::from(ms) * MS),
            floor: 0,
            next: None,
            speech: None,
            ended: None,
        })
    }

    /// True while speech goes on (or its closing pause is still too short).
    pub fn in_speech(&self) -> bool {
        self.speech.is_some()
    }

    /// The earliest position that a segment to come can start at, given that
    /// the next window is the one expected: audio before it is not needed any more.
    pub fn needs_from(&self) -> u64 {
        let next = self.next.unwrap_or(0) * STEP;
        let start = self
            .speech
            .as_ref()
            .map_or(next, |s| s.start)
            .saturating_sub(self.pad);
        self.ended
            .as_ref()
            .map_or(start, |e| e.start.min(start))
            .max(self.floor)
    }

    /// Takes the probability of window `index` (samples `512 * index` on); what
    /// is certain by it goes to `out`.
    ///
    /// If windows are missing before it, what was open ends where they begin
    /// and nothing later reaches before this one.
    pub fn push(&mut self, index: u64, probability: f32, out: &mut Vec<Segment>) {
        self.push_heard(index, probability, |_| None, out);
    }

    /// The same where the audio is there: `quietest` says where it is quietest in a range, as
    /// [`Levels::quietest`] does. It is asked only where [`Params::asks_for_quiet`].
    pub fn push_heard(
        &mut self,
        index: u64,
        probability: f32,
        quietest: impl FnOnce(Range<u64>) -> Option<u64>,
        out: &mut Vec<Segment>,
    ) {
        if self.next != Some(index) {
            if let Some(expected) = self.next {
                self.finish(expected * STEP, out);
            }
            self.reset(index * STEP);
        }
        self.next = Some(index + 1);
        let now = index * STEP;
        let p = f64::from(probability);
        self.advance(now, p, quietest, out);

        if let Some(speech) = &mut self.speech {
            // Speech up to here: whatever ends it now ends it later than this.
            if p >= self.threshold && now - speech.start > self.min_speech {
                self.count(out);
            }
            self.report(now + STEP, out);
        } else if let Some(ended) = &self.ended
            && now + STEP >= ended.end + 2 * self.pad
        {
            let end = ended.end + self.pad;
            self.emit(end, out);
        }
    }

    /// Rules 1 to 4 for one window.
    fn advance(
        &mut self,
        now: u64,
        p: f64,
        quietest: impl FnOnce(Range<u64>) -> Option<u64>,
        out: &mut Vec<Segment>,
    ) {
        let back = LOOK_BACK.min(self.max_speech / 2);
        let Some(speech) = &mut self.speech else {
            if p >= self.threshold {
                self.speech = Some(Speech::new(now));
            }
            return;
        };
        if p >= self.threshold
            && let Some(begin) = speech.pause.take()
        {
            let end = Some(now);
            match (self.split, &mut speech.cut) {
                (Split::Last, Some(cut)) => {
                    cut.end.get_or_insert(now);
                }
                (Split::Last, None) => {}
                (_, cut) => {
                    let length = |cut: &Cut| cut.end.map_or(0, |end| end - cut.begin);
                    if now - begin > self.split_silence.max(cut.as_ref().map_or(0, length)) {
                        *cut = Some(Cut { begin, end });
                    }
                }
            }
        }
        if now - speech.start > self.max_speech {
            let cut = match (self.split, speech.cut) {
                (Split::Quietest, None) => match quietest(now - back..now) {
                    Some(at) => Some(Cut {
                        begin: at,
                        end: Some(at),
                    }),
                    None => speech.quietest(),
                },
                (_, cut) => cut,
            };
            self.end(cut.map_or(now, |cut| cut.begin), out);
            let Some(from) = cut.and_then(|cut| cut.end) else {
                return;
            };
            self.speech = Some(Speech::new(from));
        } else if self.split == Split::Quietest {
            speech.hear(now, p, back);
        }
        let Some(speech) = &mut self.speech else {
            return;
        };
        if p < self.neg_threshold {
            let pause = *speech.pause.get_or_insert(now);
            if self.split == Split::Last && now - pause > self.split_silence {
                speech.cut = Some(Cut {
                    begin: pause,
                    end: None,
                });
            }
            if now - pause >= self.min_silence {
                if pause - speech.start > self.min_speech {
                    self.end(pause, out);
                }
                self.speech = None;
            }
        }
    }

    /// The speech in progress is a segment: settles the end of the one before and its own start.
    fn count(&mut self, out: &mut Vec<Segment>) -> u64 {
        let (pad, floor) = (self.pad, self.floor);
        let Some(speech) = &self.speech else {
            return floor;
        };
        if let Some(start) = speech.counts_from {
            return start;
        }
        let speech_start = speech.start;
        let mut start = speech_start.saturating_sub(pad).max(floor);
        if let Some(ended) = &self.ended {
            let silence = speech_start - ended.end;
            if silence < 2 * pad {
                start = speech_start - silence / 2;
            }
            let end = ended.end + (silence / 2).min(pad);
            self.emit(end, out);
        }
        if let Some(speech) = &mut self.speech {
            speech.counts_from = Some(start);
        }
        start
    }

    /// The speech in progress is a segment that ends at `end`.
    fn end(&mut self, end: u64, out: &mut Vec<Segment>) {
        let start = self.count(out);
        self.speech = None;
        self.ended = Some(Ended { start, end });
    }

    fn emit(&mut self, end: u64, out: &mut Vec<Segment>) {
        if let Some(Ended { start, .. }) = self.ended.take() {
            out.push(Segment {
                start,
                end,
                is_final: true,
            });
        }
    }

    /// A growing segment, if it is time for one.
    fn report(&mut self, now: u64, out: &mut Vec<Segment>) {
        let (Some(partial), Some(speech)) = (self.partial, &mut self.speech) else {
            return;
        };
        if let Some(start) = speech.counts_from
            && now - speech.reported >= partial
        {
            speech.reported = now;
            out.push(Segment {
                start,
                end: now,
                is_final: false,
            });
        }
    }

    /// The stream ends at `position`: what is open ends with it. Then as new, from `position` on.
    pub fn finish(&mut self, position: u64, out: &mut Vec<Segment>) {
        if let Some(speech) = &self.speech
            && position.saturating_sub(speech.start) > self.min_speech
        {
            self.end(position, out);
        }
        if let Some(ended) = &self.ended {
            let end = (ended.end + self.pad).min(position.max(ended.end));
            self.emit(end, out);
        }
        self.reset(position);
    }

    /// As new: the first window to come is `index`, and no segment reaches before `floor`,
    /// which may lie before it where the audio of the pad is there.
    pub fn begin(&mut self, index: u64, floor: u64) {
        self.reset(floor);
        self.next = Some(index);
    }

    /// Drops what is open; no segment to come reaches before `floor`.
    pub fn reset(&mut self, floor: u64) {
        self.floor = floor;
        self.next = None;
        self.speech = None;
        self.ended = None;
    }
}
