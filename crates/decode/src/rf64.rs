//! RF64 (EBU Tech 3306) and BW64, WAV beyond 4 GB: a chunk `ds64` has the lengths in 64 bits.
//! The decoder knows only WAV, and reads one whose lengths are `0xFFFFFFFF` to its end; so it
//! gets such a file with another mark in front, and with an end where the audio ends.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// Chunks before the audio that are passed over at most.
const CHUNKS: usize = 64;
const UNKNOWN: u32 = u32::MAX;

/// `source` as the decoder can read it, and the bytes of its audio if it was RF64.
pub(crate) fn open(
    mut source: Box<dyn MediaSource>,
) -> io::Result<(Box<dyn MediaSource>, Option<u64>)> {
    // What can't go back is not looked at.
    if !source.is_seekable() {
        return Ok((source, None));
    }
    let audio = audio(&mut source);
    source.seek(SeekFrom::Start(0))?;
    match audio {
        Some((begin, bytes)) => {
            let whole = Rf64 {
                end: begin.saturating_add(bytes),
                position: 0,
                source,
            };
            Ok((Box::new(whole), Some(bytes)))
        }
        None => Ok((source, None)),
    }
}

/// Where an RF64 file's audio begins, and its length in bytes; None for anything else.
fn audio(source: &mut Box<dyn MediaSource>) -> Option<(u64, u64)> {
    let mut head = [0; 12];
    source.read_exact(&mut head).ok()?;
    if !matches!(&head[..4], b"RF64" | b"BW64") || &head[8..] != b"WAVE" {
        return None;
    }
    let (mut position, mut data) = (12u64, None);
    for _ in 0..CHUNKS {
        let mut chunk = [0; 8];
        source.read_exact(&mut chunk).ok()?;
        position += 8;
        let (id, length) = chunk.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length.first_chunk()?);
        if id == b"data" {
            let long = data.filter(|_| length == UNKNOWN);
            return Some((position, long.unwrap_or(length.into())));
        }
        let mut body = u64::from(length);
        if id == b"ds64" && length >= 24 {
            let mut lengths = [0; 16];
            source.read_exact(&mut lengths).ok()?;
            data = lengths[8..].first_chunk().map(|b| u64::from_le_bytes(*b));
            position += 16;
            body -= 16;
        }
        position += body + u64::from(length % 2);
        source.seek(SeekFrom::Start(position)).ok()?;
    }
    None
}

struct Rf64 {
    source: Box<dyn MediaSource>,
    position: u64,
    end: u64,
}

impl Read for Rf64 {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_sub(self.position);
        let most = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.source.read(&mut out[..most])?;
        let mark = b"RIFF\xFF\xFF\xFF\xFF";
        for (n, byte) in (self.position..).zip(&mut out[..count]).take(mark.len()) {
            if let Some(own) = usize::try_from(n).ok().and_then(|n| mark.get(n)) {
                *byte = *own;
            }
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Rf64 {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // The end is where the audio ends.
        let to = match to {
            SeekFrom::End(back) => SeekFrom::Start(self.end.saturating_add_signed(back)),
            other => other,
        };
        self.position = self.source.seek(to)?;
        Ok(self.position)
    }
}

impl MediaSource for Rf64 {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        self.source.byte_len().map(|bytes| bytes.min(self.end))
    }
}
