//! What each of a block's channels counts for in what is heard, faded where that changes.
//! Real-time safe throughout.

use super::{MAX_CHANNELS, Weights, only, spacing};

/// A change of what is heard takes so long: 10 ms.
const FADES_PER_SECOND: u32 = 100;

/// Before a decision, a channel must be this much more powerful (6 dB) than the one that
/// is heard to be heard in its place: two that are about alike don't alternate.
const CLEARLY_LOUDER: f32 = 4.0;

/// One block's channels, each in one piece.
#[derive(Clone, Copy, Debug)]
pub struct Planar<'a> {
    samples: &'a [f32],
    stride: usize,
    frames: usize,
    channels: usize,
}

impl<'a> Planar<'a> {
    /// `channels` of `frames` samples each in `samples`, which begin `stride` apart.
    ///
    /// # Panics
    /// If `samples` is too short for that.
    pub fn new(samples: &'a [f32], stride: usize, frames: usize, channels: usize) -> Self {
        let end = channels.saturating_sub(1) * stride + frames;
        assert!(frames <= stride && (channels == 0 || end <= samples.len()));
        Self {
            samples,
            stride,
            frames,
            channels,
        }
    }

    /// Samples of each channel.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// How many there are.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// One channel's samples.
    pub fn channel(&self, channel: usize) -> &'a [f32] {
        &self.samples[channel * self.stride..][..self.frames]
    }

    /// From frame `first` on.
    pub(super) fn from(self, first: usize) -> Self {
        Self {
            samples: &self.samples[first.min(self.samples.len())..],
            frames: self.frames - first,
            ..self
        }
    }
}

/// What is to be heard.
#[allow(
    clippy::large_enum_variant,
    reason = "copied where nothing may be allocated"
)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// Not decided yet: whichever channel is the loudest at the moment.
    Undecided,
    /// This.
    Weights(Weights),
}

/// What is heard of a block.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// This channel, as it is.
    Channel(usize),
    /// The sum of its channels, each multiplied by its [`Ramp`].
    Sum(&'a Mix),
}

/// What a channel's samples are multiplied by, from a block's first frame on.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    now: f32,
    step: f32,
    /// Frames that it takes.
    pub frames: usize,
    /// The factor of all frames after it.
    pub to: f32,
}

impl Ramp {
    /// The factor of a frame before [`frames`](Self::frames).
    #[inline]
    pub fn at(&self, frame: usize) -> f32 {
        self.now + self.step * (frame + 1) as f32
    }
}

/// Weights on their way to an aim.
#[derive(Clone, Debug)]
pub struct Mix {
    aim: Aim,
    /// Before the block that is being heard.
    now: Weights,
    to: Weights,
    /// Frames of the fade that are left, before that block.
    left: u32,
    /// Frames of that block.
    block: u32,
    /// The only channel that is heard, at its own level, once a fade is over.
    alone: Option<usize>,
    /// Channels that may count for something.
    channels: usize,
}

impl Default for Mix {
    fn default() -> Self {
        Self::new(1, Aim::Weights(only(0)))
    }
}

impl Mix {
    /// Begins at `aim`, without a fade.
    pub fn new(channels: usize, aim: Aim) -> Self {
        let to = match aim {
            Aim::Undecided => only(0),
            Aim::Weights(weights) => weights,
        };
        let mut mix = Self {
            aim,
            now: to,
            to,
            left: 0,
            block: 0,
            alone: None,
            channels: channels.min(MAX_CHANNELS),
        };
        mix.alone = mix.find_alone();
        mix
    }

    /// Fades to `aim`, beginning with the next block.
    pub fn fade_to(&mut self, aim: Aim, rate: u32) {
        self.pass();
        self.aim = aim;
        if let Aim::Weights(weights) = aim {
            self.turn_to(weights, rate);
        }
    }

    /// What is heard of the next block.
    pub fn hear(&mut self, block: Planar<'_>, rate: u32) -> Heard<'_> {
        self.pass();
        if self.aim == Aim::Undecided {
            self.follow_loudest(block, rate);
        }
        self.block = block.frames as u32;
        match self.alone.filter(|&channel| channel < block.channels) {
            Some(channel) => Heard::Channel(channel),
            None => Heard::Sum(self),
        }
    }

    /// What the channels count for in the block that is heard; those that are left out count
    /// for nothing.
    pub fn ramps(&self) -> impl Iterator<Item = (usize, Ramp)> {
        let ramp = |channel: usize| {
            let (now, to) = (self.now[channel], self.to[channel]);
            let ramp = Ramp {
                now,
                step: (to - now) / self.left.max(1) as f32,
                frames: self.left as usize,
                to,
            };
            (now != 0.0 || to != 0.0).then_some((channel, ramp))
        };
        (0..self.channels).filter_map(ramp)
    }

    /// The block that was heard has passed.
    fn pass(&mut self) {
        let passed = std::mem::take(&mut self.block).min(self.left);
        if passed == 0 {
            return;
        }
        for channel in 0..self.channels {
            let (now, to) = (self.now[channel], self.to[channel]);
            self.now[channel] = now + (to - now) / self.left as f32 * passed as f32;
        }
        self.left -= passed;
        if self.left == 0 {
            self.now = self.to;
            self.alone = self.find_alone();
        }
    }

    fn turn_to(&mut self, weights: Weights, rate: u32) {
        if weights != self.to {
            self.to = weights;
            self.left = rate / FADES_PER_SECOND;
            self.alone = None;
        }
    }

    fn follow_loudest(&mut self, block: Planar<'_>, rate: u32) {
        let spacing = spacing(rate);
        let power = |channel: usize| {
            let samples = block.channel(channel);
            let later = samples.get(spacing..).unwrap_or_default();
            let pairs = samples.iter().zip(later);
            pairs.map(|(a, b)| (b - a) * (b - a)).sum::<f32>()
        };
        let heard = (0..self.channels).find(|&c| self.to[c] == 1.0).unwrap_or(0);
        if heard >= block.channels {
            return;
        }
        let (mut loudest, mut most) = (heard, power(heard) * CLEARLY_LOUDER);
        for channel in 0..self.channels.min(block.channels) {
            let power = power(channel);
            if power > most {
                (loudest, most) = (channel, power);
            }
        }
        if loudest != heard {
            self.turn_to(only(loudest), rate);
            // From nothing there is nothing to fade: a word would lose its beginning.
            if block.channel(heard).iter().all(|sample| *sample == 0.0) {
                self.left = 0;
                self.now = self.to;
                self.alone = Some(loudest);
            }
        }
    }

    fn find_alone(&self) -> Option<usize> {
        let mut heard = (0..self.channels).filter(|&channel| self.to[channel] != 0.0);
        let first = heard.next()?;
        (heard.next().is_none() && self.to[first] == 1.0).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: u32 = 48_000;

    /// Constant channels, one value each.
    fn constant(values: &[f32], frames: usize) -> Vec<f32> {
        values.iter().flat_map(|v| vec![*v; frames]).collect()
    }

    /// What is heard of a block, frame by frame.
    fn heard(mix: &mut Mix, block: Planar<'_>) -> Vec<f32> {
        let mix = match mix.hear(block, RATE) {
            Heard::Channel(channel) => return block.channel(channel).to_vec(),
            Heard::Sum(mix) => mix,
        };
        let frame = |n: usize| {
            let factor = |ramp: Ramp| if n < ramp.frames { ramp.at(n) } else { ramp.to };
            let all = mix.ramps();
            all.map(|(channel, ramp)| factor(ramp) * block.channel(channel)[n])
                .sum()
        };
        (0..block.frames()).map(frame).collect()
    }

    fn run(mix: &mut Mix, values: &[f32], frames: usize) -> Vec<f32> {
        let samples = constant(values, frames);
        heard(mix, Planar::new(&samples, frames, frames, values.len()))
    }

    #[test]
    fn one_channel_passes_as_it_is() {
        let mut mix = Mix::default();
        let samples = [0.1, f32::NAN, -0.0, 1e-40];
        let heard = mix.hear(Planar::new(&samples, 4, 4, 1), RATE);
        assert!(matches!(heard, Heard::Channel(0)));
    }

    #[test]
    fn a_change_is_a_straight_line_of_ten_milliseconds_in_blocks_of_any_length() {
        let mut whole = Mix::new(2, Aim::Weights(only(0)));
        whole.fade_to(Aim::Weights(only(1)), RATE);
        let line = run(&mut whole, &[1.0, -1.0], 960);
        assert!(line[0] < 1.0 && line[0] > 0.99);
        assert!(line[..480].windows(2).all(|w| w[1] < w[0]));
        assert!(line[479..].iter().all(|v| *v == -1.0));
        let mut cut = Mix::new(2, Aim::Weights(only(0)));
        cut.fade_to(Aim::Weights(only(1)), RATE);
        let mut pieces = Vec::new();
        for frames in [1, 63, 64, 200, 300, 332] {
            pieces.extend(run(&mut cut, &[1.0, -1.0], frames));
        }
        for (a, b) in line.iter().zip(&pieces) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn the_mean_is_the_mean() {
        let mut weights = [0.0; MAX_CHANNELS];
        weights[..4].fill(0.25);
        let mut mix = Mix::new(4, Aim::Weights(weights));
        let out = run(&mut mix, &[1.0, 0.0, -0.5, 0.5], 64);
        assert!(out.iter().all(|v| *v == 0.25));
    }

    /// A tone in one of three channels.
    fn tone(channel: usize, level: f32, frames: usize) -> Vec<f32> {
        let mut samples = vec![0.0; 3 * frames];
        for (n, sample) in samples[channel * frames..][..frames].iter_mut().enumerate() {
            *sample = level * (n as f32 * 0.1).sin();
        }
        samples
    }

    #[test]
    fn before_a_decision_the_first_sound_is_heard_from_its_first_sample() {
        let mut mix = Mix::new(3, Aim::Undecided);
        assert!(run(&mut mix, &[0.0; 3], 256).iter().all(|v| *v == 0.0));
        let samples = tone(2, 0.5, 256);
        let first = heard(&mut mix, Planar::new(&samples, 256, 256, 3));
        assert_eq!(first, &samples[512..]);
        // One that is only a little louder doesn't take its place.
        let mut both = tone(1, 0.6, 256);
        both[512..].copy_from_slice(&samples[512..]);
        let second = heard(&mut mix, Planar::new(&both, 256, 256, 3));
        assert_eq!(second, &samples[512..]);
    }

    proptest! {
        /// Whatever is aimed at and however blocks are cut: each sample is a mixture of
        /// the channels' that never exceeds the loudest, and no step is larger than a fade's.
        #[test]
        fn nothing_is_louder_and_nothing_jumps(
            aims in prop::collection::vec((0usize..4, any::<bool>()), 1..6),
            cuts in prop::collection::vec(1usize..700, 6..12),
        ) {
            let values = [1.0, -1.0, 0.3, 0.0];
            let mut mix = Mix::new(4, Aim::Weights(only(0)));
            let mut all = Vec::new();
            let mut aims = aims.into_iter();
            for frames in cuts {
                if let Some((channel, twin)) = aims.next() {
                    let mut weights = only(channel);
                    if twin {
                        weights = [0.0; MAX_CHANNELS];
                        weights[channel] = 0.5;
                        weights[(channel + 1) % 4] = 0.5;
                    }
                    mix.fade_to(Aim::Weights(weights), RATE);
                }
                all.extend(run(&mut mix, &values, frames));
            }
            prop_assert!(all.iter().all(|v| v.abs() <= 1.0 + 1e-6));
            prop_assert!(all.windows(2).all(|w| (w[1] - w[0]).abs() <= 2.0 / 480.0 + 1e-5));
        }
    }
}
