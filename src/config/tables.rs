//! The configuration's tables, each with its keys, flags and defaults.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{Fallback, SourceSpec};
use crate::detect::backend::{ModelBackend, Settings};
use crate::detect::place::Cpu;
use v2m_dsp::vad::hearing::Hearing;
/// The part of a layer that is about speech detection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VadLayer {
    /// What finds speech: native (built in), ort (ONNX Runtime), or off [default: native]
    #[arg(
        long = "vad-backend",
        value_name = "BACKEND",
        hide_possible_values = true
    )]
    pub backend: Option<ModelBackend>,

    /// How it hears: enhanced (without DC and rumble, weak voices amplified, not deafened by hours
    /// of music), or plain (Silero's own probabilities of the audio as it is) [default: enhanced]
    #[arg(long = "vad-hearing", value_name = "HOW")]
    #[serde(default, deserialize_with = "hearing")]
    pub hearing: Option<Hearing>,

    /// Other weights of Silero's 16 kHz model than the built-in ones: safetensors for native,
    /// ONNX for ort
    #[arg(long = "vad-model", value_name = "PATH")]
    pub model: Option<PathBuf>,

    /// The CPU that speech detection is pinned to: auto (any but the audio thread's), a number, or
    /// off (none) [default: auto]
    #[arg(long = "vad-cpu", value_name = "CPU")]
    pub cpu: Option<Cpu>,

    /// ONNX Runtime's library, for ort; by default it is searched for
    #[arg(long = "vad-onnxruntime", value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
}

impl VadLayer {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            backend: self.backend.or(below.backend),
            hearing: self.hearing.or(below.hearing),
            model: self.model.or(below.model),
            cpu: self.cpu.or(below.cpu),
            onnxruntime: self.onnxruntime.or(below.onnxruntime),
        }
    }

    pub(super) fn settings(self) -> Settings {
        Settings {
            backend: self.backend.unwrap_or_default(),
            hearing: self.hearing.unwrap_or_default(),
            model: self.model,
            cpu: self.cpu.unwrap_or_default(),
            onnxruntime: self.onnxruntime,
            python: None,
        }
    }
}

/// One layer's table `[alsa]`; each key is a flag that begins with `--alsa-`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct AlsaLayer {
    /// What to capture for `default` while PipeWire can't be reached: auto, off, or an ALSA PCM
    /// [default: auto]
    #[arg(long = "alsa-fallback", value_name = "PCM")]
    pub fallback: Option<Fallback>,

    /// Frames in one ALSA period, 16 to 65536; the nearest that the PCM supports is taken. By
    /// default the one nearest to 2.7 ms
    #[arg(long = "alsa-period", value_name = "FRAMES", value_parser = clap::value_parser!(u32).range(16..=65536))]
    #[serde(default, deserialize_with = "period")]
    pub period: Option<u32>,

    /// Periods in ALSA's buffer, 2 to 1024; by default 64
    #[arg(long = "alsa-periods", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..=1024))]
    #[serde(default, deserialize_with = "periods")]
    pub periods: Option<u32>,
}

impl AlsaLayer {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            fallback: self.fallback.or(below.fallback),
            period: self.period.or(below.period),
            periods: self.periods.or(below.periods),
        }
    }
}

/// One layer's table `[clean]`; each key is a flag that begins with `--clean-`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct CleanLayer {
    /// How much noise the source clean removes: off, low (about 6 dB), or high (about 18 dB)
    /// [default: off]
    #[arg(long = "clean-noise", value_name = "HOW")]
    pub noise: Option<CleanNoise>,

    /// How the level of the source clean is set: off (left as it is), or auto (soft voices
    /// become louder) [default: off]
    #[arg(id = "clean_gain", long = "clean-gain", value_name = "HOW")]
    pub gain: Option<CleanGain>,
}

/// How much noise is taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CleanNoise {
    /// None.
    Off,
    /// About 6 dB.
    Low,
    /// About 18 dB.
    High,
}

/// How the level is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CleanGain {
    /// Left as it is.
    Off,
    /// By a slow control.
    Auto,
}

impl CleanLayer {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            noise: self.noise.or(below.noise),
            gain: self.gain.or(below.gain),
        }
    }

    pub(super) fn options(self) -> v2m_echo::Options {
        v2m_echo::Options {
            noise: match self.noise {
                None | Some(CleanNoise::Off) => v2m_echo::Noise::Off,
                Some(CleanNoise::Low) => v2m_echo::Noise::Low,
                Some(CleanNoise::High) => v2m_echo::Noise::High,
            },
            gain: match self.gain {
                None | Some(CleanGain::Off) => v2m_echo::Gain::Off,
                Some(CleanGain::Auto) => v2m_echo::Gain::Auto,
            },
        }
    }
}

/// One layer's table `[virtual_microphone]`; each key is a flag that begins with
/// `--virtual-microphone-`, and `enabled` is `--virtual-microphone`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct MicrophoneLayer {
    /// Offer what is captured to other programs as a microphone, NODE_NAME.microphone; it
    /// captures only while one of them records from it
    #[arg(long = "virtual-microphone", action = clap::ArgAction::SetTrue, default_value = None, default_missing_value = "true", num_args = 0)]
    pub enabled: Option<bool>,

    /// Which source it offers; by default the engine's own
    #[arg(
        id = "virtual_microphone_source",
        long = "virtual-microphone-source",
        value_name = "SOURCE"
    )]
    pub source: Option<SourceSpec>,

    /// What passes through it: off (everything), or speech (with silence in between) [default: off]
    #[arg(long = "virtual-microphone-gate", value_name = "WHAT")]
    pub gate: Option<GateWhat>,

    /// How long before the speech that is found the gate opens, in ms, up to 2000; all of the
    /// audio is later by that [default: 120]
    #[arg(long = "virtual-microphone-look-ahead", value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=2000))]
    #[serde(default, deserialize_with = "look_ahead")]
    pub look_ahead: Option<u32>,
}

/// What goes through the virtual microphone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum GateWhat {
    /// Everything.
    Off,
    /// Speech.
    Speech,
}

/// How the virtual microphone is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicrophoneOptions {
    /// What it gives; None: the engine's own source.
    pub source: Option<SourceSpec>,
    /// How long before speech the gate is open; None without a gate.
    pub look_ahead_ms: Option<u32>,
}

impl MicrophoneLayer {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            enabled: self.enabled.or(below.enabled),
            source: self.source.or(below.source),
            gate: self.gate.or(below.gate),
            look_ahead: self.look_ahead.or(below.look_ahead),
        }
    }

    pub(super) fn options(self) -> Option<MicrophoneOptions> {
        let gated = self.gate == Some(GateWhat::Speech);
        self.enabled.unwrap_or(false).then(|| MicrophoneOptions {
            source: self.source,
            look_ahead_ms: gated.then(|| self.look_ahead.unwrap_or(120)),
        })
    }
}

fn hearing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hearing>, D::Error> {
    let hearing = String::deserialize(deserializer)?.parse();
    hearing.map(Some).map_err(D::Error::custom)
}

fn period<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within(deserializer, 16..=65_536, "frames")
}

fn periods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within(deserializer, 2..=1024, "periods")
}

fn look_ahead<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within(deserializer, 0..=2000, "ms")
}

pub(super) fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<u32>,
    unit: &str,
) -> Result<Option<u32>, D::Error> {
    let value = u32::deserialize(deserializer)?;
    if range.contains(&value) {
        return Ok(Some(value));
    }
    let (least, most) = range.into_inner();
    Err(D::Error::custom(format!(
        "not between {least} and {most} {unit}"
    )))
}
