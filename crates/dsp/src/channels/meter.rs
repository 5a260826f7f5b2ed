//! Every channel's level, window by window of 32 ms, and how each relates to the one
//! that is heard.

use std::collections::VecDeque;

use super::choice::{ALIVE, Measure};
use super::{MAX_CHANNELS, Planar, spacing};

/// Windows per second.
const WINDOWS: f32 = 31.25;
/// Levels are told of so many windows: the last 3 s.
const TOLD: usize = 94;
/// What relates channels fades by this with each window: a time constant of 2 s.
const KEEP: f32 = 1.0 - 1.0 / (2.0 * WINDOWS);

/// A level that can't be told from silence, in dBFS.
pub(super) const SILENCE_DBFS: f32 = -120.0;

/// One channel's newest window and last seconds.
#[derive(Clone, Debug)]
struct ChannelHistory {
    samples: Vec<f32>,
    /// The differences of its samples; as long as the window.
    differences: Vec<f32>,
    /// The last samples of the window before; empty before the first, whose DC is no step.
    before: Vec<f32>,
    spacing: usize,
    power: f32,
    told: VecDeque<Told>,
    sums: Sums,
}

/// One window's level.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Mean square and largest sample, both without DC.
    square: f32,
    peak: f32,
    alive: bool,
}

/// Fading sums over a channel's differences and the heard one's.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    own: f32,
    heard: f32,
    product: f32,
    /// Of the squared difference between the two: small numbers that the three above
    /// can't tell.
    apart: f32,
}

/// A channel's last seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ChannelLevels {
    pub(super) level_dbfs: f32,
    pub(super) peak_dbfs: f32,
    pub(super) dead: bool,
}

/// Takes all channels of a source.
#[derive(Clone, Debug)]
pub(super) struct ChannelMeter {
    channels: Vec<ChannelHistory>,
    window: usize,
    filled: usize,
}

impl ChannelMeter {
    pub(super) fn new(channels: usize, rate: u32) -> Self {
        let window = (rate as f32 / WINDOWS).round().max(1.0) as usize;
        let channel = ChannelHistory {
            samples: vec![0.0; window],
            differences: vec![0.0; window],
            before: Vec::new(),
            spacing: spacing(rate),
            power: 0.0,
            told: VecDeque::with_capacity(TOLD),
            sums: Sums::default(),
        };
        Self {
            channels: vec![channel; channels.min(MAX_CHANNELS)],
            window,
            filled: 0,
        }
    }

    /// Takes up to the end of the window; how many frames that were, and whether it is full.
    pub(super) fn take(&mut self, block: Planar<'_>) -> (usize, bool) {
        let count = block.frames().min(self.window - self.filled);
        for (n, channel) in self.channels.iter_mut().enumerate() {
            let into = &mut channel.samples[self.filled..][..count];
            match n < block.channels() {
                true => into.copy_from_slice(&block.channel(n)[..count]),
                false => into.fill(0.0),
            }
        }
        self.filled += count;
        (count, self.filled == self.window)
    }

    /// The full window's samples of one channel.
    pub(super) fn samples(&self, channel: usize) -> &[f32] {
        &self.channels[channel].samples
    }

    /// The full window, in relation to the channel that is heard; begins the next.
    pub(super) fn measure(&mut self, heard: usize, window: &mut Vec<Measure>) {
        self.filled = 0;
        for channel in &mut self.channels {
            channel.differ();
            channel.tell();
        }
        let reference = self.channels.get(heard);
        let reference = reference.map_or_else(Vec::new, |heard| heard.differences.clone());
        window.clear();
        for channel in &mut self.channels {
            channel.sums.add(&channel.differences, &reference);
            window.push(channel.sums.measure(channel.power));
        }
    }

    /// Another channel is heard: what related to the one before is forgotten.
    pub(super) fn relate_anew(&mut self) {
        for channel in &mut self.channels {
            channel.sums = Sums::default();
        }
    }

    pub(super) fn levels(&self, channel: usize) -> ChannelLevels {
        let told = &self.channels[channel].told;
        let mean = told.iter().map(|t| t.square).sum::<f32>() / told.len().max(1) as f32;
        let peak = told.iter().map(|t| t.peak).fold(0.0, f32::max);
        ChannelLevels {
            level_dbfs: dbfs(mean.sqrt()),
            peak_dbfs: dbfs(peak),
            dead: !told.is_empty() && !told.iter().any(|t| t.alive),
        }
    }
}

impl ChannelHistory {
    fn differ(&mut self) {
        if self.before.is_empty() {
            self.before.resize(self.spacing, self.samples[0]);
        }
        let earlier = self.before.iter().chain(&self.samples);
        let pairs = self.samples.iter().zip(earlier);
        let mut power = 0.0;
        for (difference, (now, earlier)) in self.differences.iter_mut().zip(pairs) {
            // What is no number is no sound.
            let value = now - earlier;
            *difference = if value.abs() < 1e6 { value } else { 0.0 };
            power += *difference * *difference;
        }
        self.power = power / self.samples.len() as f32;
        let end = self.samples.len().saturating_sub(self.spacing);
        self.before.clear();
        self.before.extend_from_slice(&self.samples[end..]);
    }

    fn tell(&mut self) {
        let usable = |sample: &f32| if sample.abs() < 1e6 { *sample } else { 0.0 };
        let count = self.samples.len() as f32;
        let mean = self.samples.iter().map(usable).sum::<f32>() / count;
        let (mut square, mut peak) = (0.0, 0.0f32);
        for sample in self.samples.iter().map(usable) {
            let swing = sample - mean;
            square += swing * swing;
            peak = peak.max(swing.abs());
        }
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        self.told.push_back(Told {
            square: square / count,
            peak,
            alive: self.power > ALIVE,
        });
    }
}

impl Sums {
    fn add(&mut self, own: &[f32], heard: &[f32]) {
        let mut new = Self::default();
        for (own, heard) in own.iter().zip(heard) {
            new.own += own * own;
            new.heard += heard * heard;
            new.product += own * heard;
            new.apart += (own - heard) * (own - heard);
        }
        self.own = self.own * KEEP + new.own;
        self.heard = self.heard * KEEP + new.heard;
        self.product = self.product * KEEP + new.product;
        self.apart = self.apart * KEEP + new.apart;
    }

    fn measure(&self, power: f32) -> Measure {
        let nothing = 1e-12;
        if self.heard < nothing {
            return Measure {
                power,
                deviation: f32::MAX,
                ..Measure::default()
            };
        }
        let both = (self.own * self.heard).sqrt();
        Measure {
            power,
            likeness: if both > nothing {
                self.product / both
            } else {
                0.0
            },
            gain: self.own / self.heard,
            deviation: self.apart / self.heard,
            speech: None,
        }
    }
}

fn dbfs(amplitude: f32) -> f32 {
    (20.0 * amplitude.log10()).max(SILENCE_DBFS)
}
