//! A stream read on and on: pieces of any length, one after the other.

use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::pcm::Dtype;
use crate::progress::{Poll, Source};
use crate::ring::Waited;
use crate::stream::{Stream, Window};

/// Pieces of so many samples, each from where the last one that anybody took of this stream
/// ended; the first from where the stream was entered. A shorter one is the last of an engine.
pub struct Pieces<'a> {
    stream: &'a Stream,
    count: u64,
}

impl<'a> Pieces<'a> {
    /// Of `count` samples each.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: that is none, or more than half of what the engine keeps.
    pub fn new(stream: &'a Stream, count: u64) -> Result<Self> {
        let engine = stream.engine();
        let most = engine.map_or(u64::MAX, |engine| engine.ring().layout().history() / 2);
        if !(1..=most).contains(&count) {
            let message = format!("must be 1 to {most} samples, half of what the engine keeps");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Self { stream, count })
    }

    /// The next piece as bytes of that type, as [`next_until`](Source::next_until) gives it;
    /// one that is overwritten while it is copied is an [`Overrun`](Poll::Overrun).
    ///
    /// # Errors
    /// As [`next`](Source::next).
    pub fn bytes_until<E: From<Error>>(
        &self,
        dtype: Dtype,
        deadline: Option<Instant>,
        idle: impl FnMut(Waited) -> Result<(), E>,
    ) -> Result<Poll<Vec<u8>>, E> {
        let found = self.next_until(deadline, idle)?;
        match found.try_map(|of| dtype.bytes(&of.ring, of.position, of.count)) {
            Err(error) if error.kind() == ErrorKind::Overrun => Ok(Poll::Overrun(self.count)),
            copied => Ok(copied?),
        }
    }
}

impl Source for Pieces<'_> {
    type Item = Window;

    fn poll(&self) -> Result<Poll<Window>> {
        self.stream.piece(self.count)
    }

    fn is_pending(&self) -> bool {
        self.stream.is_piece_pending(self.count)
    }

    fn stream(&self) -> &Stream {
        self.stream
    }

    fn recover(&self) -> Result<bool> {
        self.stream.recover()
    }
}
