//! What is taken from a ring.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::ring::Reader;

/// A stretch of a ring, and what is known about it.
#[derive(Clone, Debug)]
pub struct Window {
    /// Keeps the memory.
    pub ring: Arc<Reader>,
    /// Of the first sample.
    pub position: u64,
    pub count: u64,
    /// CLOCK_MONOTONIC nanoseconds at which the first sample was captured.
    pub time_ns: i64,
    /// It holds silence filled in for lost audio, or does not follow on what came before.
    pub gap: bool,
}

impl Window {
    /// That of `count` samples from `position` on.
    ///
    /// # Errors
    /// [`ErrorKind::Overrun`]: it is overwritten already.
    pub fn new(ring: &Arc<Reader>, position: u64, count: u64) -> Result<Self> {
        ring.window(position, count)?;
        // The oldest window's time goes a little before its last samples do.
        let time_ns = ring.time_ns(position).or_else(|| {
            let (rate, window) = (ring.rate(), ring.rate().window());
            let next = ring.time_ns(position.checked_add(window)?)?;
            next.checked_sub(rate.ns(window as i64))
        });
        let time_ns = time_ns.ok_or_else(|| {
            let message = format!("the time of position {position} was overwritten");
            Error::new(ErrorKind::Overrun, message)
        })?;
        Ok(Self {
            gap: ring.has_gap(position, count),
            ring: ring.clone(),
            position,
            count,
            time_ns,
        })
    }
}
