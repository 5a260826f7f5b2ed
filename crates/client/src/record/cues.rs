//! What is marked in a file: speech, lost audio, and gaps of the ring.

use super::head::{Cue, seconds};
use super::write_queue::Stretch;
use crate::ring::{GapReason, Rate, Reader};

pub(super) struct Cues {
    rate: Rate,
    speech: Vec<Cue>,
    /// Silence in place of audio that the ring held, and the disk didn't take in time.
    lost: Vec<Stretch>,
    /// Silence of the ring's own, and what a cue calls it.
    gaps: Vec<(Stretch, &'static str)>,
}

impl Cues {
    /// None yet, in a file of that rate.
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            speech: Vec::new(),
            lost: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// A segment begins at that sample of the file.
    pub(super) fn speech(&mut self, sample: u64, label: String) {
        self.speech.push(Cue { sample, label });
    }

    /// Audio is lost.
    pub(super) fn lose(&mut self, lost: Stretch) {
        match self.lost.last_mut() {
            Some(last) if last.sample + last.samples == lost.sample => {
                last.samples += lost.samples;
            }
            _ => self.lost.push(lost),
        }
    }

    /// There was no engine.
    pub(super) fn gap(&mut self, gap: Stretch) {
        self.gaps.push((gap, "gap"));
    }

    /// The machine slept.
    pub(super) fn sleep(&mut self, slept: Stretch) {
        self.gaps.push((slept, "suspended"));
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.iter().map(|lost| lost.samples).sum()
    }

    /// What of `count` samples at `position` of the ring, the file's from `sample` on, is
    /// silence of the ring's own.
    pub(super) fn gaps(&mut self, ring: &Reader, position: u64, count: u64, sample: u64) {
        for gap in ring.gaps_within(position, count) {
            let first = gap.position.max(position);
            let stretch = Stretch {
                sample: sample + (first - position),
                samples: gap.end().min(position + count) - first,
            };
            let what = match gap.detail {
                // Its silence has a cue of its own.
                detail if detail == GapReason::Suspended as u32 => continue,
                detail if detail == GapReason::NotCaptured as u32 => "unused",
                detail if detail == GapReason::Muted as u32 => "muted",
                _ => "gap",
            };
            match self.gaps.last_mut() {
                Some((last, known))
                    if last.sample + last.samples == stretch.sample && *known == what =>
                {
                    last.samples += stretch.samples;
                }
                _ => self.gaps.push((stretch, what)),
            }
        }
    }

    /// All, in the order of the file.
    pub(super) fn all(&self) -> Vec<Cue> {
        let gaps = self.gaps.iter().map(|(gap, what)| self.silence(gap, what));
        sorted(self.without_gaps().into_iter().chain(gaps))
    }

    /// For where not all have room: gaps are silence that anybody can see.
    pub(super) fn without_gaps(&self) -> Vec<Cue> {
        let lost = self.lost.iter().map(|lost| self.silence(lost, "lost"));
        sorted(self.speech.iter().cloned().chain(lost))
    }

    fn silence(&self, stretch: &Stretch, what: &str) -> Cue {
        Cue {
            sample: stretch.sample,
            label: format!("{what} {}", seconds(self.rate, stretch.samples)),
        }
    }
}

fn sorted(cues: impl Iterator<Item = Cue>) -> Vec<Cue> {
    let mut cues: Vec<Cue> = cues.collect();
    cues.sort_by_key(|cue| cue.sample);
    cues
}
