//! One of the sources that are recorded side by side: its engine, the next one when that is gone,
//! and what its ring has of any stretch of time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cues::{self, GAP, LOST, Silence};
use super::resume::{PATIENCE, credible};
use super::write_queue::Stretch;
use crate::alignment::Alignment;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::locator::Locator;
use crate::progress::RETRY;
use crate::ring::{Reader, State};

/// How long the others wait for a source that gives nothing. An engine fills in silence after
/// half a second.
pub(super) const LONGEST: Duration = Duration::from_secs(2);

/// A channel of the file to be.
pub(super) struct Track {
    /// Which channel it is, for people.
    pub(super) channel: Arc<str>,
    locator: Locator,
    pub(super) engine: Arc<Engine>,
    pub(super) ring: Arc<Reader>,
    /// What was committed when the engine was connected to, and when that was.
    pub(super) begun: (u64, Instant),
    /// What was committed when that last grew, and when it did.
    grown: (u64, Instant),
    /// Position of the next frame's sample, as far as it is known.
    pub(super) next: Option<u64>,
    /// How far it is ahead of the one that leads.
    pub(super) alignment: Alignment,
    /// Since when its engine is gone, and the last attempt to find another.
    pub(super) lost: Option<(Instant, Instant)>,
    /// Its engine stands in for one that is gone, and has to give audio yet.
    stands_in: bool,
    pub(super) given_up: bool,
}

impl Track {
    pub(super) fn open(locator: Locator, channel: Arc<str>) -> Result<Self> {
        let engine = locator.connect()?;
        let ring = engine.ring().clone();
        let (committed, now) = (ring.committed(), Instant::now());
        Ok(Self {
            channel,
            locator,
            engine,
            ring,
            begun: (committed, now),
            grown: (committed, now),
            next: None,
            alignment: Alignment::default(),
            lost: None,
            stands_in: false,
            given_up: false,
        })
    }

    pub(super) fn is_lost(&self) -> bool {
        self.engine.is_lost() || self.ring.state() == State::Stopped
    }

    /// Nothing more comes than there is.
    fn is_over(&self) -> bool {
        self.is_lost() || self.ring.state() == State::Ended
    }

    /// Audio, or silence in its place, is likely to come.
    pub(super) fn is_expected(&self) -> bool {
        !self.is_over() && self.grown.1.elapsed() < LONGEST
    }

    pub(super) fn has_begun(&self) -> bool {
        self.ring.committed() > 0
    }

    /// Samples from the next on.
    pub(super) fn left(&self) -> u64 {
        let next = self.next.unwrap_or_else(|| self.first());
        self.ring.committed().saturating_sub(next)
    }

    /// Where its audio begins, as far as it is there and stays so for a while.
    pub(super) fn first(&self) -> u64 {
        let ring = &self.ring;
        let oldest = match ring.oldest() {
            0 => 0,
            oldest => oldest + u64::from(ring.rate().hz()) / 4,
        };
        oldest.max(ring.unused_until()).min(ring.committed())
    }

    /// Can give a frame its time.
    pub(super) fn can_lead(&self) -> bool {
        self.has_begun() && (self.left() > 0 || self.is_expected())
    }

    pub(super) fn look(&mut self) -> Result<()> {
        let committed = self.ring.committed();
        credible(self.ring.rate(), self.begun, committed)?;
        if committed != self.grown.0 {
            self.grown = (committed, Instant::now());
            self.stands_in = false;
        }
        Ok(())
    }

    /// Another engine in the place of one that is gone, of which everything was taken; false:
    /// none yet.
    pub(super) fn mend(&mut self) -> Result<bool> {
        let now = Instant::now();
        let (since, tried) = *self.lost.get_or_insert((now, now - RETRY));
        if tried + RETRY > now {
            return Ok(false);
        }
        let gone = |error: Error| Err(error.context("the engine is gone"));
        if self.stands_in && self.engine.is_private() {
            let message = "and so is the one that was started instead, before it gave any audio";
            return gone(Error::new(ErrorKind::Unavailable, message));
        }
        let found = Self::open(self.locator.like(&self.engine), self.channel.clone());
        match found.and_then(|found| found.engine.together().map(|()| found)) {
            Ok(found) => {
                let locator = self.locator.clone();
                *self = Self {
                    locator,
                    stands_in: true,
                    ..found
                };
                Ok(true)
            }
            Err(error) => {
                self.lost = Some((since, Instant::now()));
                // What a new engine can't have yet, as a card that the old one has still open, too.
                let waits = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Device);
                let again = waits && !self.engine.is_private();
                match again && since.elapsed() < PATIENCE {
                    true => Ok(false),
                    false => gone(error),
                }
            }
        }
    }

    /// Samples from `position` on, which may lie before the first, into every `step`th place of
    /// `out`. What it doesn't have stays as it is, and is told.
    pub(super) fn read(&self, position: i64, out: &mut [f32], step: usize) -> Vec<Silence> {
        let count = out.len().div_ceil(step) as u64;
        let end = position.saturating_add(count as i64);
        let there = |at: i64| u64::try_from(at).unwrap_or(0);
        let (begin, end) = (there(position), there(end).min(self.ring.committed()));
        let mut samples = vec![0.0; end.saturating_sub(begin) as usize];
        let mut missing = Vec::new();
        let mut from = begin;
        while from < end {
            match self
                .ring
                .read_samples(from, &mut samples[(from - begin) as usize..])
            {
                Ok(()) => break,
                Err(_) => from = self.ring.oldest().clamp(from + 1, end),
            }
        }
        // Before the first, what was overwritten, and behind the last.
        let before = begin
            .saturating_add_signed(position.saturating_neg())
            .min(count);
        let gone = from - begin;
        missing.push((0, before, GAP));
        missing.push((before, gone, LOST));
        let after = before + samples.len() as u64;
        missing.push((after, count - after.min(count), GAP));
        let own = cues::gaps(&self.ring, from, end.saturating_sub(from));
        missing.extend(own.map(|(at, count, what)| (before + gone + at, count, what)));
        let places = out.iter_mut().step_by(step).skip(before as usize);
        for (place, sample) in places.zip(&samples) {
            *place = *sample;
        }
        let missing = missing.into_iter().filter(|(_, count, _)| *count > 0);
        let silence = |(sample, samples, what)| Silence {
            stretch: Stretch { sample, samples },
            what,
            channel: Some(self.channel.clone()),
        };
        missing.map(silence).collect()
    }
}
