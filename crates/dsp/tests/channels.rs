//! Drawn devices: which of their channels are heard, and at which level.

use proptest::prelude::*;
use v2m_dsp::channels::{Aim, Chooser, Heard, Mix, Planar, Ramp};

/// One channel of a device, in relation to one sound that they share.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The sound, so loud; upside down if negative.
    Copy(f32),
    /// Nothing but DC.
    Dead(f32),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (0.05f32..1.0, any::<bool>()).prop_map(|(gain, up)| Kind::Copy(if up {
            gain
        } else {
            -gain
        })),
        prop_oneof![Just(0.0f32), -0.5f32..0.5].prop_map(Kind::Dead),
    ]
}

/// White noise, half a second of it.
fn sound(rate: u32, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next)
        .take(rate as usize / 2)
        .collect()
}

fn device(kinds: &[Kind], sound: &[f32]) -> Vec<f32> {
    let channel = |kind: &Kind| -> Vec<f32> {
        match *kind {
            Kind::Copy(gain) => sound.iter().map(|s| 0.5 * gain * s).collect(),
            Kind::Dead(dc) => vec![dc; sound.len()],
        }
    };
    kinds.iter().flat_map(channel).collect()
}

/// What is heard, handed over in pieces of these lengths, and decided after each piece.
fn hear(planar: &[f32], channels: usize, rate: u32, cuts: &[usize]) -> (Vec<f32>, Aim) {
    let frames = planar.len() / channels;
    let mut chooser = Chooser::new(channels, rate, None);
    let mut mix = Mix::new(channels, chooser.aim());
    let (mut at, mut heard) = (0, Vec::new());
    for cut in cuts.iter().cycle() {
        if at == frames {
            break;
        }
        let length = (*cut).min(frames - at);
        let block = Planar::new(&planar[at..], frames, length, channels);
        match mix.hear(block, rate) {
            Heard::Channel(channel) => heard.extend_from_slice(block.channel(channel)),
            Heard::Sum(mix) => heard.extend((0..length).map(|n| {
                let factor = |ramp: Ramp| if n < ramp.frames { ramp.at(n) } else { ramp.to };
                let all = mix.ramps();
                all.map(|(channel, ramp)| factor(ramp) * block.channel(channel)[n])
                    .sum::<f32>()
            })),
        }
        if chooser.listen(block).unwrap() {
            mix.fade_to(chooser.aim(), rate);
        }
        at += length;
    }
    (heard, chooser.aim())
}

fn gain(weights: &[f32], kinds: &[Kind]) -> f32 {
    let heard = kinds.iter().zip(weights).map(|(kind, weight)| match kind {
        Kind::Copy(gain) => gain * weight,
        Kind::Dead(_) => 0.0,
    });
    heard.sum::<f32>().abs()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However many copies there are, at whatever levels and either way up, beside however
    /// many dead channels: the loudest is heard at its own level, and DC never.
    #[test]
    fn the_sound_comes_at_its_own_level(
        kinds in prop::collection::vec(kind(), 2..19),
        rate in prop::sample::select(vec![8_000u32, 16_000, 44_100, 48_000, 96_000]),
        cuts in prop::collection::vec(1usize..2000, 1..8),
        seed in any::<u32>(),
    ) {
        let loudest = kinds.iter().map(|kind| match kind {
            Kind::Copy(gain) => gain.abs(),
            Kind::Dead(_) => 0.0,
        });
        let loudest = loudest.fold(0.0, f32::max);
        let planar = device(&kinds, &sound(rate, seed));
        let (heard, aim) = hear(&planar, kinds.len(), rate, &cuts);
        match aim {
            Aim::Undecided => prop_assert_eq!(loudest, 0.0),
            Aim::Weights(_) if loudest == 0.0 => {}
            Aim::Weights(weights) => {
                prop_assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                let level = 20.0 * (gain(&weights, &kinds) / loudest).log10();
                prop_assert!(level.abs() < 0.11, "{level} dB");
                for (kind, weight) in kinds.iter().zip(weights) {
                    prop_assert!(matches!(kind, Kind::Copy(_)) || weight == 0.0);
                }
                // Never louder, not for a sample; and the end is all of it.
                let most = 0.5 * loudest + 1e-5;
                let dc = kinds.iter().any(|kind| matches!(kind, Kind::Dead(dc) if *dc != 0.0));
                prop_assert!(dc || heard.iter().all(|s| s.abs() <= most));
                let end = &heard[heard.len() - heard.len() / 8..];
                let power = end.iter().map(|s| s * s).sum::<f32>() / end.len() as f32;
                prop_assert!(power.sqrt() > 0.25 * loudest, "{}", power.sqrt());
            }
        }
    }

    /// What is decided depends on the sound alone, not on how it is cut.
    #[test]
    fn cuts_decide_nothing(
        kinds in prop::collection::vec(kind(), 2..9),
        cuts in prop::collection::vec(1usize..2000, 1..8),
        seed in any::<u32>(),
    ) {
        let rate = 48_000;
        let planar = device(&kinds, &sound(rate, seed));
        let (_, whole) = hear(&planar, kinds.len(), rate, &[usize::MAX]);
        let (_, pieces) = hear(&planar, kinds.len(), rate, &cuts);
        prop_assert_eq!(whole, pieces);
    }
}
