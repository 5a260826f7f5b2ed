//! Several sources side by side: frames of a sample of each, which were captured at the same
//! time.
//!
//! One of them leads: its samples are the file's, one after the other. The others are taken
//! from beside these, where their own times of capture put them. A source that is not there is
//! silence; where it is the leading one that goes, another leads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cues::{GAP, Silence};
use super::track::{LONGEST, Track};
use super::write_queue::Stretch;
use crate::alignment::{Alignment, position_at};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::locator::Locator;
use crate::ring::{Rate, Reader, State};

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
            let Some(samples) = track.alignment.at([&ring, &track.ring], next, 1) else {
                if waits && tells {
                    return None;
                }
                places.push(track.next.map(|next| next as i64));
                continue;
            };
            count = count.min(track.alignment.holds(next, ring.rate()));
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
