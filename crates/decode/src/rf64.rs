//! RF64 (EBU Tech 3306) and BW64, WAV beyond 4 GB: a chunk `ds64` has the lengths in 64 bits.
//! The decoder knows only WAV, and reads one whose lengths are `0xFFFFFFFF` to its end; so it
//! gets such a file with another mark in front, and with an end where the audio ends.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::{MediaSource, ReadOnlySource};

/// Chunks before the audio that are passed over at most.
const CHUNKS: usize = 64;
/// Bytes that stand before the audio in a pipe, at most.
const HEAD: usize = 1 << 20;
const UNKNOWN: u32 = u32::MAX;

/// `source` as the decoder can read it, and the bytes of its audio if it was RF64 and says so.
pub(crate) fn open(
    mut source: Box<dyn MediaSource>,
) -> io::Result<(Box<dyn MediaSource>, Option<u64>)> {
    let audio = match source.is_seekable() {
        true => {
            let skip = |source: &mut Box<dyn MediaSource>, bytes: u64| {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                source.seek(SeekFrom::Current(bytes)).map(drop)
            };
            let audio = audio(&mut source, skip);
            source.seek(SeekFrom::Start(0))?;
            audio
        }
        // What can't go back is kept.
        false => {
            let mut looked = Looked {
                head: Vec::new(),
                source,
            };
            let skip = |looked: &mut Looked, bytes: u64| {
                let skipped = io::copy(&mut looked.take(bytes), &mut io::sink())?;
                match skipped == bytes {
                    true => Ok(()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            };
            let found = audio(&mut looked, skip);
            let whole = io::Cursor::new(looked.head).chain(looked.source);
            source = Box::new(ReadOnlySource::new(whole));
            // Who wrote it didn't know either.
            found.map(|(begin, bytes)| (begin, bytes.filter(|bytes| *bytes > 0)))
        }
    };
    let Some((begin, bytes)) = audio else {
        return Ok((source, None));
    };
    let end = bytes.map_or(u64::MAX, |bytes| begin.saturating_add(bytes));
    let whole = Rf64 {
        end,
        position: 0,
        source,
    };
    Ok((Box::new(whole), bytes))
}

/// Where an RF64 file's audio begins, and its length in bytes if that is known; None for
/// anything else.
fn audio<S: Read>(
    source: &mut S,
    skip: impl Fn(&mut S, u64) -> io::Result<()>,
) -> Option<(u64, Option<u64>)> {
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
            let bytes = long.unwrap_or(length.into());
            return Some((position, Some(bytes).filter(|bytes| *bytes < u64::MAX)));
        }
        let mut body = u64::from(length);
        if id == b"ds64" && length >= 24 {
            let mut lengths = [0; 16];
            source.read_exact(&mut lengths).ok()?;
            data = lengths[8..].first_chunk().map(|b| u64::from_le_bytes(*b));
            position += 16;
            body -= 16;
        }
        body += u64::from(length % 2);
        position += body;
        skip(source, body).ok()?;
    }
    None
}

/// A source that keeps what is read of it.
struct Looked {
    head: Vec<u8>,
    source: Box<dyn MediaSource>,
}

impl Read for Looked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(HEAD - self.head.len());
        let count = self.source.read(&mut out[..most])?;
        self.head.extend_from_slice(&out[..count]);
        Ok(count)
    }
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
        self.source.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.source.byte_len().map(|bytes| bytes.min(self.end))
    }
}
