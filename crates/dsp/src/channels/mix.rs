//! From a block's channels to the one that is heard. Real-time safe throughout.

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

/// Weights on their way to an aim.
#[derive(Clone, Debug)]
pub struct Mix {
    aim: Aim,
    now: Weights,
    to: Weights,
    /// Frames of the fade that are left.
    left: u32,
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
            alone: None,
            channels: channels.min(MAX_CHANNELS),
        };
        mix.alone = mix.find_alone();
        mix
    }

    /// Fades to `aim`, beginning with the next block.
    pub fn fade_to(&mut self, aim: Aim, rate: u32) {
        self.aim = aim;
        if let Aim::Weights(weights) = aim {
            self.turn_to(weights, rate);
        }
    }

    /// What is heard of `block`: `out` holds it, or it is one of the block's channels as
    /// it is.
    ///
    /// # Panics
    /// If `out` is shorter than the block.
    pub fn mix<'a>(&mut self, block: Planar<'a>, rate: u32, out: &'a mut [f32]) -> &'a [f32] {
        if self.aim == Aim::Undecided {
            self.follow_loudest(block, rate);
        }
        if let Some(channel) = self.alone.filter(|&channel| channel < block.channels) {
            return block.channel(channel);
        }
        let out = &mut out[..block.frames];
        out.fill(0.0);
        let fading = block.frames.min(self.left as usize);
        for channel in 0..self.channels.min(block.channels) {
            let (now, to) = (self.now[channel], self.to[channel]);
            if now == 0.0 && to == 0.0 {
                continue;
            }
            let (faded, rest) = block.channel(channel).split_at(fading);
            let step = (to - now) / self.left.max(1) as f32;
            for (n, (out, sample)) in out.iter_mut().zip(faded).enumerate() {
                *out += (now + step * (n + 1) as f32) * sample;
            }
            for (out, sample) in out[fading..].iter_mut().zip(rest) {
                *out += to * sample;
            }
            self.now[channel] = if fading < self.left as usize {
                now + step * fading as f32
            } else {
                to
            };
        }
        self.left -= fading as u32;
        if self.left == 0 {
            self.now = self.to;
            self.alone = self.find_alone();
        }
        out
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

    fn run(mix: &mut Mix, values: &[f32], frames: usize) -> Vec<f32> {
        let samples = constant(values, frames);
        let mut out = vec![9.0; frames];
        let block = Planar::new(&samples, frames, frames, values.len());
        mix.mix(block, RATE, &mut out).to_vec()
    }

    #[test]
    fn one_channel_passes_bit_for_bit_and_is_not_copied() {
        let mut mix = Mix::default();
        let samples = [0.1, f32::NAN, -0.0, 1e-40];
        let mut out = [0.0; 4];
        let heard = mix.mix(Planar::new(&samples, 4, 4, 1), RATE, &mut out);
        assert_eq!(heard.as_ptr(), samples.as_ptr());
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
        let mut out = [0.0; 256];
        assert!(run(&mut mix, &[0.0; 3], 256).iter().all(|v| *v == 0.0));
        let samples = tone(2, 0.5, 256);
        let heard = mix.mix(Planar::new(&samples, 256, 256, 3), RATE, &mut out);
        assert_eq!(heard, &samples[512..]);
        // One that is only a little louder doesn't take its place.
        let mut both = tone(1, 0.6, 256);
        both[512..].copy_from_slice(&samples[512..]);
        let heard = mix.mix(Planar::new(&both, 256, 256, 3), RATE, &mut out);
        assert_eq!(heard, &samples[512..]);
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
