//! A file as one channel for speech detection: the mean of all it has.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use symphonia::core::io::MediaSource;

use v2m_dsp::resample::Resampler;
use v2m_dsp::vad::corpus::Source;
use v2m_error::{Error, ErrorKind, Result};

use crate::decoder::open;
use crate::{Decoder, Piece};

/// Silence is handed on in pieces of this length, in samples.
const SILENCE: u64 = 1 << 15;

/// A file that is being read.
pub struct Mono {
    decoder: Decoder,
    /// Samples that are silence, before what follows.
    silence: u64,
}

impl Mono {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Those of [`Decoder::open`], with the file's name.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = guarded(|| Decoder::open(path));
        opened.map(Self::from).map_err(|e| named(path, &e))
    }

    /// The same, adding to `bytes` what was read of it.
    ///
    /// # Errors
    /// Those of [`Mono::open`].
    pub fn open_counted(path: &Path, bytes: Arc<AtomicU64>) -> Result<Self> {
        let opened = guarded(|| {
            let file = open(path)?;
            let length = file.metadata().map_or(0, |known| known.len());
            let source = Counted {
                file,
                length,
                bytes,
            };
            Decoder::read(Box::new(source), path)
        });
        opened.map(Self::from).map_err(|e| named(path, &e))
    }
}

/// A file that says how far it was read.
struct Counted {
    file: File,
    length: u64,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(out)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl MediaSource for Counted {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length)
    }
}

/// The whole file at `path` as one channel of `rate` samples per second. `idle` is called with
/// each piece of it.
///
/// # Errors
/// Those of [`Mono::open`] and of `idle`, and [`ErrorKind::Invalid`] for a rate that can't be
/// converted from or to.
pub fn read<E: From<Error>>(
    path: &Path,
    rate: u32,
    mut idle: impl FnMut() -> Result<(), E>,
) -> Result<Vec<f32>, E> {
    let mut file = Mono::open(path)?;
    let mut resampler = Resampler::new(file.rate(), rate)?;
    let (mut piece, mut out) = (Vec::new(), Vec::new());
    let mut given = 0u128;
    let mut convert = |piece: &[f32], out: &mut Vec<f32>| {
        let before = out.len();
        out.resize(before + resampler.max_output(piece.len()), 0.0);
        let made = resampler.process(piece, &mut out[before..]);
        out.truncate(before + made);
    };
    loop {
        idle()?;
        piece.clear();
        let goes_on = file.read(&mut piece)?;
        given += piece.len() as u128;
        convert(&piece, &mut out);
        if !goes_on {
            break;
        }
    }
    // What the resampler still holds back.
    let due = (given * u128::from(rate)).div_ceil(u128::from(file.rate())) as usize;
    while out.len() < due {
        convert(&[0.0; 512], &mut out);
    }
    out.truncate(due);
    Ok(out)
}

/// A decoder that panics over a file that lies costs that file, not the process.
fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    panic::catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        let message = "it is damaged in a way that the decoder doesn't expect";
        Err(Error::new(ErrorKind::Device, message))
    })
}

impl From<Decoder> for Mono {
    fn from(decoder: Decoder) -> Self {
        Self {
            decoder,
            silence: 0,
        }
    }
}

fn named(path: &Path, error: &Error) -> Error {
    Error::new(
        error.kind(),
        format!("can't read {}: {error}", path.display()),
    )
}

impl Source for Mono {
    fn named(&self, error: Error) -> Error {
        let path = self.decoder.path().display();
        Error::new(error.kind(), format!("{path}: {error}"))
    }

    fn rate(&self) -> u32 {
        self.decoder.rate()
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        if self.silence == 0 {
            let Self { decoder, silence } = self;
            let goes_on = guarded(|| {
                match decoder.next_piece()? {
                    None => return Ok(false),
                    Some(Piece::Lost(frames)) => *silence = frames,
                    Some(Piece::Frames {
                        interleaved,
                        channels,
                    }) => mix(interleaved, channels, out),
                }
                Ok(true)
            });
            if !goes_on.map_err(|e| named(self.decoder.path(), &e))? {
                return Ok(false);
            }
        }
        let count = self.silence.min(SILENCE);
        self.silence -= count;
        out.resize(out.len() + count as usize, 0.0);
        Ok(true)
    }
}

/// Appends the mean of each frame; of one channel what is there is handed over.
fn mix(interleaved: &mut Vec<f32>, channels: usize, out: &mut Vec<f32>) {
    match channels {
        1 if out.is_empty() => std::mem::swap(interleaved, out),
        1 => out.extend_from_slice(interleaved),
        2 => out.extend(
            interleaved
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[l, r]| 0.5 * (l + r)),
        ),
        _ => {
            let share = 1.0 / channels as f32;
            let mean = |frame: &[f32]| frame.iter().sum::<f32>() * share;
            out.extend(interleaved.chunks_exact(channels).map(mean));
        }
    }
}
