//! Several sources side by side: frames of a sample of each, which were captured at the same
//! time.
//!
//! One of them leads: its samples are the file's, one after the other. The others are taken
//! from beside these, where their own times of capture put them. A source that is not there is
//! silence; where it is the leading one that goes, another leads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cues::{self, GAP, LOST, Silence};
use super::resume::{PATIENCE, credible};
use super::write_queue::Stretch;
use crate::alignment::{Alignment, position_at};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::locator::Locator;
use crate::progress::RETRY;
use crate::ring::{Rate, Reader, State};

/// How long the others wait for a source that gives nothing. An engine fills in silence after
/// half a second.
const LONGEST: Duration = Duration::from_secs(2);
/// From one look at the engines' connections to the next, at least.
const LOOK: Duration = Duration::from_millis(200);

/// Frames that go into the file.
pub(super) struct Frames {
    /// The channels side by side.
    pub(super) samples: Vec<f32>,
    /// What of them no source has sent; its stretches begin with these frames.
    pub(super) silences: Vec<Silence>,
}

pub(super) struct Tracks {
    tracks: Vec<Track>,
    rate: Rate,
    lead: Option<usize>,
    /// CLOCK_MONOTONIC nanoseconds of the next frame, once there was one.
    next_ns: Option<i64>,
    /// How far to go back for the first.
    last: u64,
    asked: Option<Instant>,
    /// Why one of them can't be had any more.
    failed: Option<Error>,
}

struct Track {
    /// Which channel it is, for people.
    channel: Arc<str>,
    locator: Locator,
    engine: Arc<Engine>,
    ring: Arc<Reader>,
    /// What was committed when the engine was connected to, and when that was.
    begun: (u64, Instant),
    /// What was committed when that last grew, and when it did.
    grown: (u64, Instant),
    /// Position of the next frame's sample, as far as it is known.
    next: Option<u64>,
    /// How far it is ahead of the one that leads.
    alignment: Alignment,
    /// Since when its engine is gone, and the last attempt to find another.
    lost: Option<(Instant, Instant)>,
    /// Its engine stands in for one that is gone, and has to give audio yet.
    stands_in: bool,
    given_up: bool,
}

impl Track {
    fn open(locator: Locator, channel: Arc<str>) -> Result<Self> {
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

    fn is_lost(&self) -> bool {
        self.engine.is_lost() || self.ring.state() == State::Stopped
    }

    /// Nothing more comes than there is.
    fn is_over(&self) -> bool {
        self.is_lost() || self.ring.state() == State::Ended
    }

    /// Audio, or silence in its place, is likely to come.
    fn is_expected(&self) -> bool {
        !self.is_over() && self.grown.1.elapsed() < LONGEST
    }

    fn has_begun(&self) -> bool {
        self.ring.committed() > 0
    }

    /// Samples from the next on.
    fn left(&self) -> u64 {
        let next = self.next.unwrap_or_else(|| self.first());
        self.ring.committed().saturating_sub(next)
    }

    /// Where its audio begins, as far as it is there and stays so for a while.
    fn first(&self) -> u64 {
        let ring = &self.ring;
        let oldest = match ring.oldest() {
            0 => 0,
            oldest => oldest + u64::from(ring.rate().hz()) / 4,
        };
        oldest.max(ring.unused_until()).min(ring.committed())
    }

    /// Can give a frame its time.
    fn can_lead(&self) -> bool {
        self.has_begun() && (self.left() > 0 || self.is_expected())
    }

    fn look(&mut self) -> Result<()> {
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
    fn mend(&mut self) -> Result<bool> {
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
    fn read(&self, position: i64, out: &mut [f32], step: usize) -> Vec<Silence> {
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

impl Tracks {
    /// Connects to the engine that each of `locators`, which are of one rate, finds, and has one
    /// clock drive their sources where there is a choice. The first frame is of now, or of
    /// `last` ago. Blocks.
    ///
    /// # Errors
    /// Those of [`Locator::connect`].
    pub(super) fn open(locators: Vec<Locator>, last: Duration) -> Result<Self> {
        let track = |(number, locator): (usize, Locator)| {
            let source = locator.source.as_deref().unwrap_or("default");
            let channel = format!("channel {} ({source})", number + 1);
            Track::open(locator, channel.into())
        };
        let rate = locators
            .first()
            .map(|locator| locator.rate)
            .unwrap_or_default();
        let tracks = locators.into_iter().enumerate().map(track);
        let tracks: Vec<Track> = tracks.collect::<Result<_>>()?;
        for track in &tracks {
            track.engine.together()?;
        }
        Ok(Self {
            tracks,
            rate,
            lead: None,
            next_ns: None,
            last: (last.as_secs_f64() * f64::from(rate.hz())) as u64,
            asked: None,
            failed: None,
        })
    }

    pub(super) fn engines(&self) -> impl Iterator<Item = &Arc<Engine>> {
        self.tracks.iter().map(|track| &track.engine)
    }

    pub(super) fn channels(&self) -> u32 {
        self.tracks.len() as u32
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// The one that leads, or will, and where the next frame is in its ring.
    pub(super) fn lead(&self) -> (&Arc<Engine>, u64) {
        let track = &self.tracks[self.lead.unwrap_or(0)];
        (
            &track.engine,
            track.next.unwrap_or_else(|| self.start(track)),
        )
    }

    /// Why it came to an end before time, if it did.
    pub(super) fn failed(&self) -> Option<&Error> {
        self.failed.as_ref()
    }

    /// Looks after the engines: one that is gone is looked for again. May block, where it is.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`]: a ring contradicts itself.
    pub(super) fn look(&mut self) -> Result<()> {
        let is_due = self.asked.is_none_or(|asked| asked.elapsed() >= LOOK);
        for track in &mut self.tracks {
            if is_due {
                track.engine.check();
            }
            track.look()?;
            if track.is_lost() && !track.given_up && track.left() == 0 {
                if track.lost.is_none() {
                    tracing::warn!("the engine of {} is gone: it is waited for", track.channel);
                }
                match track.mend() {
                    Ok(true) => tracing::warn!("{} goes on with another engine", track.channel),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!("{}: {error}", track.channel);
                        track.given_up = true;
                        self.failed = Some(error);
                    }
                }
            }
        }
        if is_due {
            self.asked = Some(Instant::now());
        }
        Ok(())
    }

    /// Samples of the leading one that are not taken yet.
    pub(super) fn behind(&self) -> u64 {
        self.lead.map_or(0, |lead| self.tracks[lead].left())
    }

    /// Nothing more comes of any of them.
    pub(super) fn is_over(&self) -> bool {
        let is_over = |track: &Track| {
            let ended = track.ring.state() == State::Ended && !track.is_lost();
            track.left() == 0 && (ended || track.given_up)
        };
        self.tracks.iter().all(is_over)
    }

    /// The next frames, `limit` at most and not more than a window; `None`: not yet. What
    /// isn't there `now` is not waited for, if so.
    pub(super) fn take(&mut self, limit: u64, now: bool) -> Option<Frames> {
        let lead = self.elect(now)?;
        let next = match self.tracks[lead].next {
            Some(next) => next,
            None => match self.begin(lead) {
                0 => self.tracks[lead].next?,
                missing => return Some(self.silence(missing.min(limit))),
            },
        };
        let window = self.rate.window();
        let count = self.tracks[lead]
            .left()
            .min(window - next % window)
            .min(limit);
        let count = until_gap_ends(&self.tracks[lead].ring, next, count);
        if count == 0 {
            return None;
        }
        let (places, count) = self.places(lead, next, count, now)?;
        let channels = self.tracks.len();
        let mut samples = vec![0.0; count as usize * channels];
        let mut silences = Vec::new();
        for (n, place) in places.into_iter().enumerate() {
            let track = &mut self.tracks[n];
            let out = &mut samples[n..];
            silences.extend(track.read(place.unwrap_or(i64::MIN), out, channels));
            track.next = place.map(|place| {
                let end = place.saturating_add(count as i64);
                u64::try_from(end).unwrap_or(0)
            });
            if let Some(next) = track.next {
                track.engine.reached(next);
            }
        }
        self.follow_time(lead, count);
        Some(Frames { samples, silences })
    }

    /// Where each track's samples are beside the `count` of the leading one at `next`, and of
    /// how many all of them have news; a track without any is not waited for.
    fn places(
        &mut self,
        lead: usize,
        next: u64,
        mut count: u64,
        now: bool,
    ) -> Option<(Vec<Option<i64>>, u64)> {
        let ring = self.tracks[lead].ring.clone();
        // Else no more of its times than there are tell of the others' places.
        let tells = self.tracks[lead].is_expected();
        let mut places = Vec::with_capacity(self.tracks.len());
        for (n, track) in self.tracks.iter_mut().enumerate() {
            if n == lead {
                places.push(Some(next as i64));
                continue;
            }
            let waits = track.is_expected() && !now;
            let Some(samples) = track.alignment.at([&ring, &track.ring], next) else {
                if waits && tells {
                    return None;
                }
                places.push(track.next.map(|next| next as i64));
                continue;
            };
            let place = (next as i64).saturating_add(samples);
            let there = (track.ring.committed() as i64).saturating_sub(place);
            if waits && there < count as i64 {
                if there <= 0 {
                    return None;
                }
                count = there as u64;
            }
            if let Ok(place) = u64::try_from(place) {
                count = until_gap_ends(&track.ring, place, count);
            }
            places.push(Some(place));
        }
        Some((places, count))
    }

    /// Which one leads now. At first and after a loss, those that have yet to begin are
    /// given the time for it.
    fn elect(&mut self, now: bool) -> Option<usize> {
        if let Some(lead) = self.lead.filter(|lead| self.tracks[*lead].can_lead()) {
            return Some(lead);
        }
        let awaited = |track: &Track| !track.has_begun() && track.is_expected();
        if !now && self.tracks.iter().any(awaited) {
            return None;
        }
        let lead = self.tracks.iter().position(Track::can_lead)?;
        if self.lead != Some(lead) {
            self.lead = Some(lead);
            for track in &mut self.tracks {
                track.alignment = Alignment::default();
            }
        }
        Some(lead)
    }

    /// Where the first frame is in a track's ring.
    fn start(&self, track: &Track) -> u64 {
        let (begun, _) = track.begun;
        let back = begun.saturating_sub(self.last);
        back.max(track.first()).min(track.ring.committed())
    }

    /// Puts the next frame to where `lead` goes on; how many before it no source has.
    fn begin(&mut self, lead: usize) -> u64 {
        let track = &self.tracks[lead];
        let first = track.first();
        let Some((next_ns, (there, _))) = self
            .next_ns
            .and_then(|ns| position_at(&track.ring, ns).map(|at| (ns, at)))
        else {
            let start = match self.last {
                // Where all of them are there.
                0 => self.all_begin(lead),
                _ => self.start(track),
            };
            self.tracks[lead].next = Some(start);
            return 0;
        };
        let missing = (first as i64).saturating_sub(there).max(0) as u64;
        // No longer than it was waited for, whatever the clocks say.
        let waited = crate::ring::time::monotonic_ns().saturating_sub(next_ns);
        let missing = missing.min(self.rate.samples(waited.max(0)) as u64);
        if missing == 0 {
            // Nor does it begin later than anybody would wait for.
            let latest =
                track.ring.committed() + self.rate.samples(LONGEST.as_nanos() as i64) as u64;
            let there = u64::try_from(there).unwrap_or(0);
            self.tracks[lead].next = Some(there.max(first).min(latest));
        }
        missing
    }

    /// From where on, in the ring of `lead`, all that have begun have audio.
    fn all_begin(&self, lead: usize) -> u64 {
        let own = &self.tracks[lead];
        let begin = |track: &Track| {
            let begin_ns = track.ring.time_ns(self.start(track))?;
            let (there, rest) = position_at(&own.ring, begin_ns)?;
            u64::try_from(there)
                .ok()?
                .checked_add(u64::from(rest > 0.0))
        };
        let all = self.tracks.iter().filter_map(begin).max().unwrap_or(0);
        all.max(self.start(own)).min(own.ring.committed())
    }

    /// So many frames that no source has.
    fn silence(&mut self, frames: u64) -> Frames {
        let frames = frames.min(self.rate.window());
        self.next_ns = self
            .next_ns
            .map(|ns| ns.saturating_add(self.rate.ns(frames as i64)));
        let silence = Silence {
            stretch: Stretch {
                sample: 0,
                samples: frames,
            },
            what: GAP,
            channel: None,
        };
        Frames {
            samples: vec![0.0; frames as usize * self.tracks.len()],
            silences: vec![silence],
        }
    }

    fn follow_time(&mut self, lead: usize, count: u64) {
        let track = &self.tracks[lead];
        let passed = self.rate.ns(count as i64);
        let known = track.next.and_then(|next| {
            let last = track.ring.time_ns(next.checked_sub(1)?)?;
            Some(last.saturating_add(self.rate.ns(1)))
        });
        self.next_ns = known.or_else(|| Some(self.next_ns?.saturating_add(passed)));
    }
}

/// How many of `count` samples at `position` come before a gap's end: what follows may be on
/// another line of time.
fn until_gap_ends(ring: &Reader, position: u64, count: u64) -> u64 {
    let ends = ring
        .gaps_within(position, count)
        .into_iter()
        .map(|gap| gap.end() - position);
    ends.filter(|end| *end < count).min().unwrap_or(count)
}
