//! One engine's ring, window by window.

use std::sync::Arc;
use std::time::Instant;

use super::window::Window;
use crate::cursor::{Advance, Cursor};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Poll;
use crate::ring::State;

/// Windows that may vanish one after the other while they are taken. A true engine needs
/// its whole history of time to overwrite the next one.
const VANISHED: u32 = 16;

/// The engine and ring that a stream reads now.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) engine: Arc<Engine>,
    pub(super) cursor: Cursor,
    /// Where the next [`Piece`](crate::reading::Pieces) begins.
    pub(super) read: u64,
    /// Where the stream was entered; forgotten once anything was taken from it.
    pub(super) entered: Option<u64>,
    /// The next window does not follow on the one before.
    pub(super) broken: bool,
    /// When the engine was lost for which this one, or the next, stands in;
    /// forgotten once audio came.
    pub(super) lost_since: Option<Instant>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.engine.count_stream(false);
    }
}

impl Session {
    pub(super) fn is_lost(&self) -> bool {
        self.engine.ring().state() == State::Stopped || self.engine.is_lost()
    }

    pub(super) fn took(&mut self) {
        self.lost_since = None;
        self.entered = None;
    }

    /// Why there is no window; None: there is one.
    pub(super) fn state<T>(&self) -> Option<Poll<T>> {
        self.state_until(self.cursor.due())
    }

    /// Why not so many samples are committed; None: they are.
    pub(super) fn state_until<T>(&self, due: u64) -> Option<Poll<T>> {
        // Before the count: once it says that no more comes, the count is final.
        let (state, is_lost) = (self.engine.ring().state(), self.is_lost());
        if self.engine.ring().committed() >= due {
            None
        } else if state == State::Ended {
            Some(Poll::Ended)
        } else if is_lost {
            Some(Poll::EngineLost)
        } else {
            Some(Poll::Pending)
        }
    }

    pub(super) fn piece(&mut self, count: u64) -> Result<Poll<Window>> {
        let ring = self.engine.ring().clone();
        let found = self.state_until::<Window>(self.read.saturating_add(count));
        let left = ring.committed().saturating_sub(self.read);
        let count = match found {
            None => count,
            // What there is of it.
            Some(Poll::Ended | Poll::EngineLost) if left > 0 => left.min(count),
            Some(found) => return Ok(found),
        };
        let position = self.read;
        match Window::new(&ring, position, count) {
            Ok(window) => {
                self.read += count;
                self.took();
                self.engine.reached(self.read);
                Ok(Poll::Ready(window))
            }
            Err(error) if error.kind() == ErrorKind::Overrun => {
                // Far enough ahead that what comes next isn't overwritten at once.
                let kept = ring.layout().history() / 4 * 3;
                let fresh = ring.committed().saturating_sub(kept);
                self.read = fresh.max(position.saturating_add(1));
                Ok(Poll::Overrun(self.read - position))
            }
            Err(error) => Err(error),
        }
    }

    /// The next window, or why there is none.
    pub(super) fn next(&mut self, size: u64) -> Result<Poll<Window>> {
        if let Some(found) = self.state() {
            return Ok(found);
        }
        let ring = self.engine.ring().clone();
        for _ in 0..VANISHED {
            let before = self.cursor.clone();
            let position = match self.cursor.step(ring.committed(), ring.oldest()) {
                Advance::Window(position) => position,
                Advance::Wait => return Ok(Poll::Pending),
                Advance::Overrun(lost) => return Ok(Poll::Overrun(lost)),
            };
            match Window::new(&ring, position, size) {
                Ok(window) => {
                    self.took();
                    self.engine.reached(self.cursor.done());
                    let gap = window.gap | std::mem::take(&mut self.broken);
                    return Ok(Poll::Ready(Window { gap, ..window }));
                }
                // Overwritten just now: the next step counts it.
                Err(error) if error.kind() == ErrorKind::Overrun => self.cursor = before,
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(
            ErrorKind::Protocol,
            "the engine's ring contradicts itself: its counters and its clock don't agree; restart the engine",
        ))
    }
}
