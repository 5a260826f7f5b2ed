//! A stream read on and on: pieces of any length, one after the other.

use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Poll, Source};
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
