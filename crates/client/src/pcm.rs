//! Copies of a ring's samples, in the formats that programs take.

use std::str::FromStr;

use v2m_dsp::pcm;

use crate::error::{Error, ErrorKind, Result};
use crate::ring::Reader;

/// Samples converted at once.
const BLOCK: usize = 2048;

/// What samples are for a program, by NumPy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// The ring's own.
    Float32,
    /// Scaled by 32768, rounded and clipped: always a copy.
    Int16,
}

impl Dtype {
    /// `float32`, `int16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Int16 => "int16",
        }
    }

    /// Whether a program never reads the ring's own memory.
    pub fn is_copied(self) -> bool {
        self == Self::Int16
    }

    /// A copy of `count` samples from `position` on, in this machine's byte order.
    ///
    /// # Errors
    /// As [`float32`].
    pub fn bytes(self, ring: &Reader, position: u64, count: u64) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Float32 => {
                let samples = float32(ring, position, count)?;
                samples.iter().flat_map(|s| s.to_ne_bytes()).collect()
            }
            Self::Int16 => {
                let samples = int16(ring, position, count)?;
                samples.iter().flat_map(|s| s.to_ne_bytes()).collect()
            }
        })
    }
}

impl FromStr for Dtype {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Self::Float32, Self::Int16];
        let named = known.into_iter().find(|one| one.name() == text);
        named.ok_or_else(|| Error::new(ErrorKind::Invalid, "must be \"float32\" or \"int16\""))
    }
}

/// `count` samples from `position` on.
///
/// # Errors
/// [`ErrorKind::Overrun`](crate::ErrorKind::Overrun): some were overwritten;
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): some are not there yet.
pub fn float32(ring: &Reader, position: u64, count: u64) -> Result<Box<[f32]>> {
    ring.window(position, count)?;
    let mut samples = vec![0.0; count as usize];
    ring.read_samples(position, &mut samples)?;
    Ok(samples.into())
}

/// The same as 16-bit integers; see [`pcm::int16`].
///
/// # Errors
/// As [`float32`].
pub fn int16(ring: &Reader, position: u64, count: u64) -> Result<Box<[i16]>> {
    ring.window(position, count)?;
    let mut integers = vec![0; count as usize];
    let mut block = [0.0; BLOCK];
    let mut at = position;
    for out in integers.chunks_mut(BLOCK) {
        let samples = &mut block[..out.len()];
        ring.read_samples(at, samples)?;
        for (out, &sample) in out.iter_mut().zip(&*samples) {
            *out = pcm::int16(sample);
        }
        at += out.len() as u64;
    }
    Ok(integers.into())
}
