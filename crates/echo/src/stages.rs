//! WebRTC's modules from the library, each as a stage of its own: the suppressor takes both
//! sides, noise suppression and gain one. Frames are of 10 ms.

use sonora::config::{
    AdaptiveDigital, EchoCanceller, GainController2, MaxProcessingRate, NoiseSuppression,
    NoiseSuppressionLevel, Pipeline,
};
use sonora::{AudioProcessing, Config, StreamConfig};

use crate::{Gain, Noise, Options};

/// Takes the far end off the near end, and damages a voice beside it.
#[derive(Debug)]
pub(crate) struct Suppressor(AudioProcessing);

impl Suppressor {
    pub(crate) fn new(rate: u32) -> Self {
        Self(build(
            rate,
            Config {
                echo_canceller: Some(EchoCanceller {
                    // The audio is the source's own: nothing is cut below.
                    enforce_high_pass_filtering: false,
                    ..EchoCanceller::default()
                }),
                ..Config::default()
            },
        ))
    }

    /// Writes what is left of `near`, late by the suppressor's lag.
    pub(crate) fn process(&mut self, near: &[f32], far: &[f32], out: &mut [f32]) {
        // Each fails for another rate or no channels only, which `Canceller::new` has excluded;
        // the far end comes out unchanged, into what is overwritten next.
        let _ = self.0.process_render_f32(&[far], &mut [&mut *out]);
        // The sides are aligned; what the room adds the library finds by itself.
        let _ = self.0.set_stream_delay_ms(0);
        let _ = self.0.process_capture_f32(&[near], &mut [out]);
    }
}

/// Changes one side in place.
#[derive(Debug)]
pub(crate) struct Stage {
    library: AudioProcessing,
    /// A frame before it is changed.
    input: Vec<f32>,
}

impl Stage {
    fn new(rate: u32, config: Config) -> Self {
        let input = vec![0.0; rate as usize / 100];
        let library = build(rate, config);
        Self { library, input }
    }

    /// Softens steady noise, with so many samples of lag.
    pub(crate) fn noise(rate: u32, options: Options) -> Option<(Self, usize)> {
        let level = match options.noise {
            Noise::Off => return None,
            Noise::Low => NoiseSuppressionLevel::Low,
            Noise::High => NoiseSuppressionLevel::High,
        };
        let config = Config {
            noise_suppression: Some(NoiseSuppression {
                level,
                ..NoiseSuppression::default()
            }),
            ..Config::default()
        };
        // By measurement; the tests hold it.
        let lag = if rate == 16_000 { 95 } else { 333 };
        Some((Self::new(rate, config), lag))
    }

    /// Sets the level, without any lag.
    pub(crate) fn gain(rate: u32, options: Options) -> Option<Self> {
        (options.gain == Gain::Auto).then(|| {
            let config = Config {
                gain_controller2: Some(GainController2 {
                    adaptive_digital: Some(AdaptiveDigital::default()),
                    ..GainController2::default()
                }),
                ..Config::default()
            };
            Self::new(rate, config)
        })
    }

    pub(crate) fn process(&mut self, frame: &mut [f32]) {
        self.input.copy_from_slice(frame);
        // Fails for another rate or no channels only.
        let _ = self
            .library
            .process_capture_f32(&[&self.input], &mut [frame]);
    }
}

fn build(rate: u32, config: Config) -> AudioProcessing {
    let stream = StreamConfig::new(rate, 1);
    AudioProcessing::builder()
        .config(Config {
            pipeline: Pipeline {
                maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz,
                ..Pipeline::default()
            },
            ..config
        })
        .capture_config(stream)
        .render_config(stream)
        .build()
}
