//! How samples become a file's bytes, and what stands before and after these.

use super::flac;
use super::format::Format;
use super::head::{Cue, Head, Length, Notes, Origin, Shape};
use super::wav::{self, Sample};
use crate::error::Result;

pub(super) enum Encoding {
    /// One sample after the other, in a WAV or in nothing.
    Pcm {
        sample: Sample,
        shape: Shape,
        is_raw: bool,
    },
    Flac {
        bits: u32,
        encoder: Box<flac::Encoder>,
    },
}

impl Encoding {
    pub(super) fn new(format: Format, shape: Shape) -> Result<Self> {
        let pcm = |sample, is_raw| {
            Ok(Self::Pcm {
                sample,
                shape,
                is_raw,
            })
        };
        let flac = |bits| {
            let encoder = Box::new(flac::Encoder::new(bits, shape)?);
            Ok(Self::Flac { bits, encoder })
        };
        match format {
            Format::Wav16 => pcm(Sample::Integer16, false),
            Format::Wav32 => pcm(Sample::Float, false),
            Format::S16le => pcm(Sample::Integer16, true),
            Format::F32le => pcm(Sample::Float, true),
            Format::Flac => flac(16),
            Format::Flac24 => flac(24),
        }
    }

    /// A ring's samples go into the file as they are.
    pub(super) fn is_verbatim(&self) -> bool {
        matches!(
            self,
            Self::Pcm {
                sample: Sample::Float,
                shape: Shape { channels: 1, .. },
                ..
            }
        )
    }

    /// There is nothing but samples.
    pub(super) fn is_raw(&self) -> bool {
        matches!(self, Self::Pcm { is_raw: true, .. })
    }

    /// Bytes of a sample, where zeros are silence.
    pub(super) fn silence(&self) -> Option<u64> {
        match self {
            Self::Pcm { sample, shape, .. } => Some(sample.bytes() * u64::from(shape.channels)),
            Self::Flac { .. } => None,
        }
    }

    /// Encodes samples, interleaved where there are several channels; those that fill no
    /// block yet are kept. The bytes, and how many frames are in them.
    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(Vec<u8>, u64)> {
        match self {
            Self::Pcm { sample, shape, .. } => {
                Ok((sample.encode(samples), shape.frames(samples.len())))
            }
            Self::Flac { encoder, .. } => {
                let (before, mut out) = (encoder.samples(), Vec::new());
                encoder.push(samples, &mut out)?;
                Ok((out, encoder.samples() - before))
            }
        }
    }

    /// What was kept, the `last` of it or all that may be followed by more.
    pub(super) fn flush(&mut self, last: bool) -> Result<(Vec<u8>, u64)> {
        match self {
            Self::Pcm { .. } => Ok((Vec::new(), 0)),
            Self::Flac { encoder, .. } => {
                let (before, mut out) = (encoder.samples(), Vec::new());
                encoder.flush(last, &mut out)?;
                Ok((out, encoder.samples() - before))
            }
        }
    }

    pub(super) fn head(&self, shape: Shape, length: Length, notes: &Notes) -> Head {
        match self {
            Self::Pcm { is_raw: true, .. } => Head::none(),
            Self::Pcm { sample, .. } => wav::head(*sample, shape, length, notes),
            Self::Flac { bits, encoder } => {
                // Only of exactly these samples is the sum known; zeros mean unknown.
                let digest = match length {
                    Length::Known { samples, .. } if samples == encoder.samples() => {
                        encoder.digest()
                    }
                    _ => [0; 16],
                };
                flac::head(*bits, shape, length, digest, notes)
            }
        }
    }

    /// What it says of the recording.
    pub(super) fn notes(&self, origin: &Origin, cues: &[Cue]) -> Vec<u8> {
        match self {
            Self::Pcm { is_raw: true, .. } => Vec::new(),
            Self::Pcm { sample, .. } => wav::notes(*sample, origin, cues),
            Self::Flac { .. } => flac::notes(origin, cues),
        }
    }

    /// What stands after the audio: the cues that the head has no room for.
    pub(super) fn tail(&self, origin: &Origin, cues: &[Cue]) -> Vec<u8> {
        match self {
            Self::Pcm { is_raw: true, .. } | Self::Flac { .. } => Vec::new(),
            Self::Pcm { sample, .. } => wav::tail(*sample, origin, cues),
        }
    }

    /// How many of these cues the head has room for.
    pub(super) fn room(&self, origin: &Origin, cues: &[Cue]) -> usize {
        match self {
            Self::Pcm { is_raw: true, .. } => 0,
            Self::Pcm { sample, .. } => wav::room(*sample, origin, cues),
            Self::Flac { .. } => flac::room(origin, cues),
        }
    }
}
