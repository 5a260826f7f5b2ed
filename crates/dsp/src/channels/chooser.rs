//! Listens to every channel and says what each counts for. Not for the real-time thread.

use super::ears::Ears;
use super::meter::ChannelMeter;
use super::{Aim, ChannelChoice, MAX_CHANNELS, Measure, Planar, Weights, choice};
use crate::error::Result;

/// One channel over the last 3 seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelLevel {
    /// Root mean square without DC, in dBFS; -120 is silence.
    pub level_dbfs: f32,
    /// The largest sample without DC, in dBFS.
    pub peak_dbfs: f32,
    /// What it counts for.
    pub heard: f32,
    /// No sound, DC left aside.
    pub dead: bool,
    /// The heard channel's sound, upside down.
    pub inverted: bool,
}

/// One source's channels.
pub struct Chooser {
    rate: u32,
    channels: usize,
    /// Nothing to choose.
    fixed: Option<Weights>,
    choice: ChannelChoice,
    meter: ChannelMeter,
    /// Since speech had to be looked for.
    ears: Option<Ears>,
    window: Vec<Measure>,
}

impl Chooser {
    /// Listens to so many channels at `rate`; `fixed` says what they count for, else it is
    /// to be chosen.
    pub fn new(channels: usize, rate: u32, fixed: Option<Weights>) -> Self {
        let channels = channels.min(MAX_CHANNELS);
        Self {
            rate,
            channels,
            fixed,
            choice: ChannelChoice::new(channels),
            meter: ChannelMeter::new(channels, rate),
            ears: None,
            window: Vec::with_capacity(channels),
        }
    }

    /// The rate of what it listens to.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The same channels at another rate: what was chosen stays.
    pub fn set_rate(&mut self, rate: u32) {
        if rate != self.rate {
            self.rate = rate;
            self.meter = ChannelMeter::new(self.channels, rate);
            self.ears = None;
        }
    }

    /// Takes what follows, in blocks of any length; whether what is heard changes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a rate at which speech can't be looked for.
    pub fn listen(&mut self, block: Planar<'_>) -> Result<bool> {
        let (mut changed, mut at) = (false, 0);
        while at < block.frames() {
            let (count, full) = self.meter.take(block.from(at));
            at += count;
            if full {
                changed |= self.judge()?;
            }
        }
        Ok(changed)
    }

    fn judge(&mut self) -> Result<bool> {
        let before = self.reference();
        self.meter.measure(before, &mut self.window);
        if self.fixed.is_some() {
            return Ok(false);
        }
        if self.choice.needs_speech(&self.window) {
            let ears = match &mut self.ears {
                Some(ears) => ears,
                none => none.insert(Ears::new(self.channels, self.rate)?),
            };
            ears.listen(&self.meter, &mut self.window);
        }
        let changed = self.choice.window(&self.window);
        if self.reference() != before {
            self.meter.relate_anew();
        }
        Ok(changed)
    }

    /// The channel that the others are compared with.
    fn reference(&self) -> usize {
        let loudest = |weights: &Weights| {
            let all = weights.iter().take(self.channels).enumerate();
            all.fold(
                (0, 0.0),
                |best, (n, w)| if *w > best.1 { (n, *w) } else { best },
            )
            .0
        };
        match &self.fixed {
            Some(weights) => loudest(weights),
            None => self.choice.heard().unwrap_or(0),
        }
    }

    /// What is to be heard.
    pub fn aim(&self) -> Aim {
        match self.fixed.or_else(|| self.choice.weights()) {
            Some(weights) => Aim::Weights(weights),
            None => Aim::Undecided,
        }
    }

    /// The channel that is heard, or the first of those; `None` before it is chosen.
    pub fn heard(&self) -> Option<usize> {
        match self.aim() {
            Aim::Undecided => None,
            Aim::Weights(_) => Some(self.reference()),
        }
    }

    /// How every channel is.
    pub fn levels(&self) -> impl Iterator<Item = ChannelLevel> + '_ {
        let weights = match self.aim() {
            Aim::Undecided => [0.0; MAX_CHANNELS],
            Aim::Weights(weights) => weights,
        };
        (0..self.channels).map(move |channel| {
            let levels = self.meter.levels(channel);
            let likeness = self.window.get(channel).map_or(0.0, |m| m.likeness);
            ChannelLevel {
                level_dbfs: levels.level_dbfs,
                peak_dbfs: levels.peak_dbfs,
                heard: weights[channel],
                dead: levels.dead,
                inverted: !levels.dead && likeness <= -choice::ALIKE,
            }
        })
    }
}
