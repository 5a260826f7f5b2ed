//! How samples become a file's bytes, and what stands before and after these.

use super::flac;
use super::format::Format;
use super::head::{Cue, Head, Length, Notes, Origin};
use super::wav::{self, Sample};
use crate::dsp::pcm;
use crate::error::Result;

pub(super) enum Encoding {
    /// As they lie in the ring.
    Float,
    Integer16,
    Flac {
        bits: u32,
        encoder: Box<flac::Encoder>,
    },
}

impl Encoding {
    pub(super) fn new(format: Format) -> Result<Self> {
        let flac = |bits| {
            let encoder = Box::new(flac::Encoder::new(bits)?);
            Ok(Self::Flac { bits, encoder })
        };
        match format {
            Format::Wav => Ok(Self::Float),
            Format::Wav16 => Ok(Self::Integer16),
            Format::Flac => flac(16),
            Format::Flac24 => flac(24),
        }
    }

    /// Samples go into the file as they are.
    pub(super) fn is_verbatim(&self) -> bool {
        matches!(self, Self::Float)
    }

    /// Bytes of a sample, where zeros are silence.
    pub(super) fn silence(&self) -> Option<u64> {
        self.wav().map(Sample::bytes)
    }

    fn wav(&self) -> Option<Sample> {
        match self {
            Self::Float => Some(Sample::Float),
            Self::Integer16 => Some(Sample::Integer16),
            Self::Flac { .. } => None,
        }
    }

    /// Encodes samples; those that fill no frame yet are kept. The bytes, and how
    /// many samples are in them.
    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(Vec<u8>, u64)> {
        let count = samples.len() as u64;
        match self {
            Self::Float => Ok((bytemuck::cast_slice(samples).to_vec(), count)),
            Self::Integer16 => {
                let integers = samples.iter().copied().map(pcm::int16);
                Ok((integers.flat_map(i16::to_le_bytes).collect(), count))
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
            Self::Float | Self::Integer16 => Ok((Vec::new(), 0)),
            Self::Flac { encoder, .. } => {
                let (before, mut out) = (encoder.samples(), Vec::new());
                encoder.flush(last, &mut out)?;
                Ok((out, encoder.samples() - before))
            }
        }
    }

    pub(super) fn head(&self, length: Length, notes: &Notes) -> Head {
        match self {
            Self::Float => wav::head(Sample::Float, length, notes),
            Self::Integer16 => wav::head(Sample::Integer16, length, notes),
            Self::Flac { bits, encoder } => {
                // Only of exactly these samples is the sum known; zeros mean unknown.
                let digest = match length {
                    Length::Known { samples, .. } if samples == encoder.samples() => {
                        encoder.digest()
                    }
                    _ => [0; 16],
                };
                flac::head(*bits, length, digest, notes)
            }
        }
    }

    /// What it says of the recording.
    pub(super) fn notes(&self, origin: &Origin, cues: &[Cue]) -> Vec<u8> {
        match self.wav() {
            Some(sample) => wav::notes(sample, origin, cues),
            None => flac::notes(origin, cues),
        }
    }

    /// What stands after the audio: the cues that the head has no room for.
    pub(super) fn tail(&self, origin: &Origin, cues: &[Cue]) -> Vec<u8> {
        match self.wav() {
            Some(sample) => wav::tail(sample, origin, cues),
            None => Vec::new(),
        }
    }

    /// How many of these cues the head has room for.
    pub(super) fn room(&self, origin: &Origin, cues: &[Cue]) -> usize {
        match self.wav() {
            Some(sample) => wav::room(sample, origin, cues),
            None => flac::room(origin, cues),
        }
    }
}
