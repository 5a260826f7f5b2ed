//! How bytes get to where they are kept: io_uring, plain writes where that is
//! refused, and pipes.
//!
//! A [`Chain`] of steps runs in order and ends with the first that fails; there is
//! one at a time. Starting one doesn't wait for the disk (plain writes do: they
//! have no other way).

mod pipe;
mod plain;
#[allow(unsafe_code, reason = "the kernel is given addresses to write from")]
mod uring;

use std::fs::File;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Error, Result};
use crate::files::Found;
use crate::ring::Reader;
use pipe::Pipe;
use plain::Plain;
use uring::Uring;

/// Bytes that stay where they are while a chain runs.
#[derive(Clone)]
pub(super) enum Payload {
    /// Samples of a ring, from this position on: written from the shared pages
    /// themselves. They may change meanwhile; the ring is asked about that afterwards.
    Ring(Arc<Reader>, u64),
    /// Bytes of our own, from this index on.
    Bytes(Arc<[u8]>, usize),
    /// Zeros; of [`ZEROS`] at most so many at once.
    Zeros,
}

/// How many zeros one step can write.
pub(super) const ZEROS: usize = 1 << 16;
static ZERO: [u8; ZEROS] = [0; ZEROS];

/// Bytes of a sample.
const SAMPLE: usize = size_of::<f32>();

impl Payload {
    /// Some of its bytes, copied; silence where the ring has overwritten them already.
    pub(super) fn copy(&self, bytes: Range<usize>) -> Vec<u8> {
        match self {
            Self::Ring(ring, position) => {
                let first = bytes.start / SAMPLE;
                let mut samples = vec![0.0; bytes.end.div_ceil(SAMPLE) - first];
                let mut from = *position + first as u64;
                let end = from + samples.len() as u64;
                while from < end {
                    let at = samples.len() - (end - from) as usize;
                    match ring.read_samples(from, &mut samples[at..]) {
                        Ok(()) => break,
                        Err(_) => from = ring.oldest().clamp(from + 1, end),
                    }
                }
                let start = bytes.start - first * SAMPLE;
                bytemuck::cast_slice(&samples)[start..start + bytes.len()].to_vec()
            }
            Self::Bytes(all, from) => all[*from..][bytes].to_vec(),
            Self::Zeros => vec![0; bytes.len()],
        }
    }
}

pub(super) enum Operation {
    /// Writes so many bytes at this offset; the source has as many.
    Write {
        offset: u64,
        source: Payload,
        length: usize,
    },
    /// Waits until everything written before is on the disk.
    Sync,
}

/// What became of a chain's steps, in order: bytes written (0 for a sync), or
/// why not. Steps after a failed one are [`Errno::ECANCELED`].
pub(super) type Done = Vec<std::result::Result<usize, Errno>>;

pub(super) enum Disk {
    Uring(Box<Uring>),
    Plain(Plain),
    Pipe(Pipe),
}

impl Disk {
    /// For a file: io_uring where the kernel lets us and `V2M_ENGINE_NO_IO_URING`
    /// isn't set; else plain writes.
    pub(super) fn file(file: File) -> Self {
        let refused = std::env::var_os("V2M_ENGINE_NO_IO_URING").is_some_and(|v| !v.is_empty());
        if refused {
            tracing::info!("writing by plain writes: V2M_ENGINE_NO_IO_URING is set");
            return Self::Plain(Plain::new(file));
        }
        match Uring::new(file) {
            Ok(uring) => {
                tracing::debug!("writing by io_uring");
                Self::Uring(Box::new(uring))
            }
            Err((file, cause)) => {
                tracing::info!("writing by plain writes: io_uring is refused ({cause})");
                Self::Plain(Plain::new(file))
            }
        }
    }

    /// For what can only be written on and on.
    pub(super) fn pipe(file: File) -> Self {
        Self::Pipe(Pipe::new(file))
    }

    /// For a FIFO that nobody has read yet, maybe.
    pub(super) fn fifo(fifo: Box<Found>) -> Self {
        Self::Pipe(Pipe::fifo(fifo))
    }

    /// The regular file behind it.
    pub(super) fn file_ref(&self) -> Option<&File> {
        match self {
            Self::Uring(uring) => Some(uring.file()),
            Self::Plain(plain) => Some(plain.file()),
            Self::Pipe(_) => None,
        }
    }

    /// Whether it waits for its first reader.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self, Self::Pipe(pipe) if pipe.is_unread())
    }

    /// How it writes, for people.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Uring(_) => "io_uring",
            Self::Plain(_) => "plain writes",
            Self::Pipe(_) => "a pipe",
        }
    }

    /// Starts a chain; the one before has ended.
    pub(super) fn start(&mut self, steps: Vec<Operation>) -> Result<()> {
        match self {
            Self::Uring(uring) => uring.start(steps),
            Self::Plain(plain) => {
                plain.start(steps);
                Ok(())
            }
            Self::Pipe(pipe) => {
                pipe.start(steps);
                Ok(())
            }
        }
    }

    /// What became of the chain, once it has ended.
    pub(super) fn take(&mut self) -> Option<Done> {
        match self {
            Self::Uring(uring) => uring.take(),
            Self::Plain(plain) => plain.take(),
            Self::Pipe(pipe) => pipe.take(),
        }
    }

    /// Waits until the chain has ended, `notifier` or, of a pipe, `audio` is readable, or
    /// time is up.
    pub(super) fn wait(
        &mut self,
        notifier: Option<BorrowedFd<'_>>,
        audio: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<()> {
        match self {
            Self::Uring(uring) => uring.wait(notifier, timeout),
            Self::Plain(plain) if plain.has_ended() => Ok(()),
            Self::Plain(_) => idle(notifier, timeout),
            Self::Pipe(pipe) => pipe.wait(notifier, audio, timeout),
        }
    }
}

/// Waits for `notifier` alone, as long as there is no target.
pub(super) fn idle(notifier: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<()> {
    wait_for([notifier, None], None, timeout)
}

/// Waits until one can be read from, or written to; a signal ends the wait early.
fn wait_for(
    readable: [Option<BorrowedFd<'_>>; 2],
    writable: Option<BorrowedFd<'_>>,
    timeout: Duration,
) -> Result<()> {
    let readable = readable.into_iter().flatten();
    let mut ready: Vec<PollFd<'_>> = readable
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .chain(writable.map(|fd| PollFd::new(fd, PollFlags::POLLOUT)))
        .collect();
    // Rounded up: a wait of less than a millisecond must not become none.
    let timeout = timeout + Duration::from_micros(999);
    match poll(
        &mut ready,
        PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX),
    ) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(cause) => Err(Error::system("cannot wait for the disk", cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Ring;

    #[test]
    fn a_copy_holds_what_the_ring_holds_and_silence_for_the_rest() {
        let (ring, mut writer, ..) = Ring::create(1 << 16).unwrap();
        let reader = Arc::new(Reader::new(ring.duplicate().unwrap()).unwrap());
        let length = reader.layout().history() as usize + 1000;
        let samples: Vec<f32> = (1..=length).map(|n| n as f32).collect();
        writer.append(&samples, 0);
        let oldest = reader.oldest() as usize;
        assert!(oldest > 0);
        let source = Payload::Ring(reader, oldest as u64 - 10);
        let mut expected = vec![0.0; 10];
        expected.extend(&samples[oldest..oldest + 90]);
        let expected: &[u8] = bytemuck::cast_slice(&expected);
        for range in [0..400, 0..40, 39..41, 40..400, 7..398, 5..5] {
            assert_eq!(source.copy(range.clone()), expected[range]);
        }
    }
}
