//! Which stretches of the ring hold speech, up to where a recording ends.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::follow::{Follower, Step};
use crate::ring::Reader;
use v2m_dsp::vad::segment::Params;

/// How long the end of a recording waits for the engine to judge its last samples.
const PATIENCE: Duration = Duration::from_secs(2);

/// What comes next.
pub(super) enum Found {
    /// Speech with its pads.
    Segment { start: u64, end: u64 },
    /// So many samples of it were overwritten.
    Lost(u64),
}

pub(super) struct Speech {
    follower: Follower,
    /// A segment that no file could be made for yet.
    put_back: Option<(u64, u64)>,
    /// Where the recording ends, and since when that is past.
    end: Option<(u64, Instant)>,
    over: bool,
}

impl Speech {
    pub(super) fn new(ring: &Reader, position: u64, params: &Params) -> Result<Self> {
        Ok(Self {
            follower: Follower::new(params, ring, position)?,
            put_back: None,
            end: None,
            over: false,
        })
    }

    /// The recording ends at `end`, which is past; with it what is open ends, once
    /// it is judged or the engine is gone.
    pub(super) fn end(&mut self, ring: &Reader, end: u64, is_gone: bool) {
        let (end, since) = *self.end.get_or_insert_with(|| (end, Instant::now()));
        let judged = ring.speech_committed() >= end / ring.rate().window();
        if judged || is_gone || since.elapsed() > PATIENCE {
            self.follower.finish(ring);
        }
    }

    pub(super) fn next(&mut self, ring: &Reader) -> Option<Found> {
        if let Some((start, end)) = self.put_back.take() {
            let kept = start.max(ring.oldest()).min(end);
            if kept > start {
                self.put_back = (kept < end).then_some((kept, end));
                return Some(Found::Lost(kept - start));
            }
            return Some(Found::Segment { start, end });
        }
        loop {
            match self.follower.step(ring) {
                Step::Segment(segment) => {
                    let limit = self
                        .end
                        .map_or(segment.end, |(end, _)| end.min(segment.end));
                    if segment.start < limit {
                        return Some(Found::Segment {
                            start: segment.start,
                            end: limit,
                        });
                    }
                }
                Step::Overrun(samples) => return Some(Found::Lost(samples)),
                Step::Wait => return None,
                Step::Over => {
                    self.over = true;
                    return None;
                }
            }
        }
    }

    /// The segment is wanted again later.
    pub(super) fn put_back(&mut self, start: u64, end: u64) {
        self.put_back = Some((start, end));
    }

    /// Everything was handed out, and nothing follows.
    pub(super) fn is_over(&self) -> bool {
        self.over && self.put_back.is_none()
    }
}
