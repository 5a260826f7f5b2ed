//! From one engine to the next: what the old one gave is taken first, then another is
//! looked for, and the time in between becomes silence of the same length.

use std::time::{Duration, Instant};

use super::Recorder;
use super::speech::Speech;
use super::suspend::Suspends;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::RETRY;
use crate::ring::Rate;

/// How long an engine that is gone is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// An engine that plays a file unpaced is faster than time by less than this.
const FASTEST: u64 = 10_000;

/// An engine that is gone.
pub(super) struct Lost {
    since: Instant,
    /// The last attempt to connect.
    tried: Option<Instant>,
    /// Another engine stands in, which has to give audio yet.
    stands_in: bool,
    /// CLOCK_MONOTONIC nanoseconds of the first sample that is missing.
    from_ns: Option<i64>,
}

/// Whether it goes on with another engine.
pub(super) enum Resumed {
    Now,
    NotYet,
    Never(Error),
}

impl Recorder {
    /// One step on the way to the next engine.
    pub(super) fn resume(&mut self, committed: u64) -> Result<Resumed> {
        // One that stood in, and has gone as well, may have given audio that is not taken yet: the
        // file turns to its ring before that is.
        self.bridge(committed)?;
        let from_ns = self.ring.time_ns(committed.saturating_sub(1));
        let sample_ns = self.ring.rate().ns(1);
        let lost = self.lost.get_or_insert_with(|| {
            tracing::warn!("the engine is gone: it is waited for");
            Lost {
                since: Instant::now(),
                tried: None,
                stands_in: false,
                from_ns: from_ns.map(|time| time.saturating_add(sample_ns)),
            }
        });
        let gone = |error: Error| Ok(Resumed::Never(error.context("the engine is gone")));
        if lost.stands_in && self.engine.is_private() {
            let message = "and so is the one that was started instead, before it gave any audio";
            return gone(Error::new(ErrorKind::Unavailable, message));
        }
        lost.stands_in = false;
        // All that there is of this one; with it what is open of speech ends.
        if let Some(speech) = &mut self.speech {
            speech.end(&self.ring, committed, true);
        }
        let (since, tried) = (lost.since, lost.tried);
        self.advance(committed, false, true)?;
        let taken = self.next >= committed && self.speech.as_ref().is_none_or(Speech::is_over);
        if !taken || tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return Ok(Resumed::NotYet);
        }
        let locator = self.locator.like(&self.engine);
        let engine = match locator.connect_again() {
            Ok(engine) => engine,
            Err(error) => {
                if let Some(lost) = &mut self.lost {
                    lost.tried = Some(Instant::now());
                }
                let again = error.kind() == ErrorKind::Unavailable && !self.engine.is_private();
                return match again && since.elapsed() < PATIENCE {
                    true => Ok(Resumed::NotYet),
                    false => gone(error),
                };
            }
        };
        let ring = engine.ring().clone();
        // Where its audio begins, as far as it is still there.
        let oldest = match ring.oldest() {
            0 => 0,
            oldest => oldest + u64::from(ring.rate().hz()) / 4,
        };
        let next = oldest.max(ring.unused_until()).min(ring.committed());
        if self.speech.is_some() {
            self.speech = Some(Speech::new(&ring, next, &self.options.detection)?);
        }
        self.end = self
            .end
            .map(|end| next.saturating_add(end.saturating_sub(self.next)));
        self.begun = (ring.committed(), Instant::now());
        self.suspends = Suspends::from(&ring, next);
        (self.next, self.ring, self.engine) = (next, ring, engine);
        if let Some(lost) = &mut self.lost {
            lost.stands_in = true;
        }
        tracing::warn!("another engine is there: recording goes on");
        Ok(Resumed::Now)
    }

    /// Once the next engine has given audio, up to `end`: fills in the time without any.
    pub(super) fn bridge(&mut self, end: u64) -> Result<()> {
        let Some(lost) = self.lost.take_if(|lost| lost.stands_in && end > self.next) else {
            return Ok(());
        };
        let missing = match (self.ring.time_ns(self.next), lost.from_ns) {
            (Some(now), Some(before)) => self.ring.rate().samples(now.saturating_sub(before)),
            _ => 0,
        };
        let (both, missing) = seam(missing);
        self.next = self.next.saturating_add(both).min(end);
        // No longer than it was waited for, whatever the clocks of the two say.
        let rate = u64::from(self.ring.rate().hz());
        let waited = lost.since.elapsed().as_secs() + self.ring.layout().history() / rate;
        let mut missing = missing.min(waited * rate);
        if let Some(end) = &mut self.end {
            missing = missing.min(end.saturating_sub(self.next));
            *end -= missing;
        }
        match &mut self.file {
            Some(file) if self.speech.is_none() => file.turn_to(&self.ring, missing),
            Some(file) if !self.options.split => file.turn_to(&self.ring, 0),
            _ => Ok(()),
        }
    }
}

/// Where another engine's first sample comes `missing` samples after the last one's end, or was
/// there before it: how many of its samples are passed over, as both have them, and how many of
/// silence come before the rest. Each engine has its times from the sound server, which may be
/// a cycle off where that has stood still: a sample of silence, at least, is marked, so that audio
/// of two engines never seems to be of one piece.
fn seam(missing: i64) -> (u64, u64) {
    let silence = missing.max(1);
    (
        silence.saturating_sub(missing).unsigned_abs(),
        silence.unsigned_abs(),
    )
}

/// Whether an engine can have written `committed` samples, if it had `begun` with so many then.
///
/// Errors: [`ErrorKind::Protocol`].
pub(super) fn credible(rate: Rate, begun: (u64, Instant), committed: u64) -> Result<()> {
    let (begun, since) = begun;
    let seconds = since.elapsed().as_secs() + 10;
    let most = seconds.saturating_mul(u64::from(rate.hz()) * FASTEST);
    if committed.saturating_sub(begun) > most || committed < begun {
        return Err(Error::new(
            ErrorKind::Protocol,
            format!(
                "the engine's ring contradicts itself: {committed} samples of it can't be; restart the engine"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_engines_meet_at_a_mark_and_time_goes_on(missing in -1_000_000_000_i64..1_000_000_000) {
            let (both, silence) = seam(missing);
            prop_assert!(silence > 0);
            prop_assert_eq!(silence as i64 - both as i64, missing);
            prop_assert!(both == 0 || silence == 1);
        }
    }
}
