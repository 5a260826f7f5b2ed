//! What is marked in a file: speech, lost audio, and gaps of the ring.

use std::sync::Arc;

use super::head::{Cue, seconds};
use super::write_queue::Stretch;
use crate::ring::{GapReason, Rate, Reader};

/// What a cue calls silence in place of audio that the ring held, and the disk didn't take in
/// time.
pub(super) const LOST: &str = "lost";
/// That of audio which never came.
pub(super) const GAP: &str = "gap";

pub(super) struct Cues {
    rate: Rate,
    speech: Vec<Cue>,
    silences: Vec<Silence>,
}

/// Silence that the source didn't send.
pub(super) struct Silence {
    pub(super) stretch: Stretch,
    /// What a cue calls it.
    pub(super) what: &'static str,
    /// Which channel of the file it is in, for people; None: all of it.
    pub(super) channel: Option<Arc<str>>,
}

impl Cues {
    /// None yet, in a file of that rate.
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            speech: Vec::new(),
            silences: Vec::new(),
        }
    }

    /// A segment begins at that sample of the file.
    pub(super) fn speech(&mut self, sample: u64, label: String) {
        self.speech.push(Cue { sample, label });
    }

    /// Audio of the whole file is missing.
    pub(super) fn silence(&mut self, stretch: Stretch, what: &'static str) {
        self.add(Silence {
            stretch,
            what,
            channel: None,
        });
    }

    /// Audio is missing. What goes on where the last of its kind ended becomes part of that.
    pub(super) fn add(&mut self, silence: Silence) {
        let mut before = self.silences.iter_mut().rev();
        let last = before.find(|last| last.what == silence.what && last.channel == silence.channel);
        match last {
            Some(Silence { stretch, .. })
                if stretch.sample + stretch.samples == silence.stretch.sample =>
            {
                stretch.samples += silence.stretch.samples;
            }
            _ => self.silences.push(silence),
        }
    }

    /// The machine slept.
    pub(super) fn sleep(&mut self, slept: Stretch) {
        self.silence(slept, "suspended");
    }

    pub(super) fn lost(&self) -> u64 {
        let lost = self.silences.iter().filter(|silence| silence.what == LOST);
        lost.map(|silence| silence.stretch.samples).sum()
    }

    /// What of `count` samples at `position` of the ring, the file's from `sample` on, is
    /// silence of the ring's own.
    pub(super) fn gaps(&mut self, ring: &Reader, position: u64, count: u64, sample: u64) {
        for (from, samples, what) in gaps(ring, position, count) {
            let sample = sample + from;
            self.silence(Stretch { sample, samples }, what);
        }
    }

    /// All, in the order of the file.
    pub(super) fn all(&self) -> Vec<Cue> {
        let silences = self.silences.iter().map(|silence| silence.cue(self.rate));
        sorted(self.speech.iter().cloned().chain(silences))
    }

    /// For where not all have room: gaps are silence that anybody can see.
    pub(super) fn without_gaps(&self) -> Vec<Cue> {
        let lost = self.silences.iter().filter(|silence| silence.what == LOST);
        let lost = lost.map(|silence| silence.cue(self.rate));
        sorted(self.speech.iter().cloned().chain(lost))
    }
}

impl Silence {
    fn cue(&self, rate: Rate) -> Cue {
        let mut label = format!("{} {}", self.what, seconds(rate, self.stretch.samples));
        if let Some(channel) = &self.channel {
            label = format!("{label} {channel}");
        }
        Cue {
            sample: self.stretch.sample,
            label,
        }
    }
}

/// What of `count` samples at `position` of a ring is silence of its own: from which of them on,
/// how many, and what a cue calls that.
pub(super) fn gaps(
    ring: &Reader,
    position: u64,
    count: u64,
) -> impl Iterator<Item = (u64, u64, &'static str)> + use<> {
    let gaps = ring.gaps_within(position, count).into_iter();
    // What is said of a suspend is no silence: that has a cue of its own.
    let gaps = gaps.filter(|gap| gap.detail != GapReason::Suspended as u32);
    gaps.map(move |gap| {
        let first = gap.position.max(position);
        let what = match gap.detail {
            detail if detail == GapReason::NotCaptured as u32 => "unused",
            detail if detail == GapReason::Muted as u32 => "muted",
            _ => GAP,
        };
        (
            first - position,
            gap.end().min(position + count) - first,
            what,
        )
    })
}

fn sorted(cues: impl Iterator<Item = Cue>) -> Vec<Cue> {
    let mut cues: Vec<Cue> = cues.collect();
    cues.sort_by_key(|cue| cue.sample);
    cues
}
