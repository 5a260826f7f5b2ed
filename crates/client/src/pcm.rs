//! Copies of a ring's samples, in the formats that programs take.

use v2m_dsp::pcm;

use crate::error::Result;
use crate::ring::Reader;

/// Samples converted at once.
const BLOCK: usize = 2048;

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
