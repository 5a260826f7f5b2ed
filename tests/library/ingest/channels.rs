//! Several channels: what the ring gets is the sum that was asked for, to the frame.

use proptest::prelude::*;
use v2m_dsp::channels::{Aim, Heard, MAX_CHANNELS, Mix, Planar, Ramp};
use v2m_engine::capture::{Block, Sink};
use v2m_ring::SAMPLE_RATE;

use super::{Setup, arrive, everything, setup, sound, time_of};

/// What is to be heard, and for how many frames.
#[derive(Clone, Debug)]
struct Step {
    weights: Vec<f32>,
    frames: usize,
}

fn steps() -> impl Strategy<Value = (usize, Vec<Step>)> {
    let weight = prop_oneof![Just(0.0), Just(1.0), 0.0_f32..1.0];
    (1_usize..9).prop_flat_map(move |channels| {
        let weights = prop::collection::vec(weight.clone(), channels);
        let step = (weights, 1_usize..5000).prop_map(|(weights, frames)| Step { weights, frames });
        (Just(channels), prop::collection::vec(step, 1..8))
    })
}

fn aim(weights: &[f32]) -> Aim {
    let mut all = [0.0; MAX_CHANNELS];
    all[..weights.len()].copy_from_slice(weights);
    Aim::Weights(all)
}

/// Frame by frame.
fn expected(channels: Planar<'_>, heard: Heard<'_>) -> Vec<f32> {
    let mix = match heard {
        Heard::Channel(channel) => return channels.channel(channel).to_vec(),
        Heard::Sum(mix) => mix,
    };
    let frame = |n: usize| {
        let factor = |ramp: Ramp| if n < ramp.frames { ramp.at(n) } else { ramp.to };
        let all = mix.ramps();
        all.map(|(channel, ramp)| factor(ramp) * channels.channel(channel)[n])
            .sum::<f32>()
    };
    (0..channels.frames()).map(frame).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However long blocks are, and whatever changes between them; at the source's own rate
    /// samples pass to the bit.
    #[test]
    fn what_is_heard_of_the_channels_is_what_the_ring_gets((channels, steps) in steps()) {
        let Setup { ingest, reader, _ringer } = setup();
        ingest.expect(SAMPLE_RATE);
        let mut mix = Mix::new(channels, aim(&steps[0].weights));
        let (mut position, mut wanted) = (0, Vec::new());
        for Step { weights, frames } in steps {
            mix.fade_to(aim(&weights), SAMPLE_RATE);
            let sample = |n| sound(position * 8 + n);
            let samples: Vec<f32> = (0..(channels * frames) as u64).map(sample).collect();
            let planar = Planar::new(&samples, frames, frames, channels);
            let heard = mix.hear(planar, SAMPLE_RATE);
            wanted.extend(expected(planar, heard));
            arrive(&ingest, &Block {
                channels: planar,
                heard,
                rate: SAMPLE_RATE,
                clock: 1,
                position,
                time_ns: time_of(position, SAMPLE_RATE),
            });
            position += frames as u64;
        }
        let got = everything(&reader);
        // The resampler may hold back a little.
        prop_assert!(got.len() + 64 >= wanted.len(), "{} of {}", got.len(), wanted.len());
        for (n, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
            prop_assert!((got - wanted).abs() <= 1e-5, "{n}: {got} {wanted}");
        }
    }
}
