//! Silence, from a source that is always there: the least that a backend is. It is the
//! template for others, and what is captured where nothing may be.

use std::time::Duration;

use crate::capture::{Backend, Block, CaptureThread, Event, Kind, Sink, Start};
use crate::config::SourceSpec;
use v2m_client::status::SourceStatus;
use v2m_error::Result;
use v2m_ring::time::monotonic_ns;

const RATE: u32 = 48_000;
/// Samples of one block, and their nanoseconds: 10 ms.
const BLOCK: usize = 480;
const BLOCK_NS: i64 = 10_000_000;

/// The source `null:`.
pub static KIND: Kind = Kind {
    takes: |source| matches!(source, SourceSpec::Null),
    start: |start| Ok(Box::new(Null(capture(start)?))),
    sources: || Ok(Vec::new()),
};

struct Null(CaptureThread);

fn capture(
    Start {
        ingest,
        events,
        active,
        ..
    }: Start<'_>,
) -> Result<CaptureThread> {
    CaptureThread::start("v2m-null", active, move |orders, _| {
        ingest.expect(RATE);
        events(Event::Reached);
        events(Event::Linked("null:".into()));
        // Positions are those of the clock, so that a rest is no loss.
        let mut next = monotonic_ns() / BLOCK_NS;
        while !orders.is_over() {
            if orders.rest() {
                next = monotonic_ns() / BLOCK_NS;
                continue;
            }
            let left = (next + 1) * BLOCK_NS - monotonic_ns();
            std::thread::sleep(Duration::from_nanos(left.max(0) as u64));
            ingest.block(&Block {
                rate: RATE,
                clock: 0,
                position: next as u64 * BLOCK as u64,
                time_ns: next * BLOCK_NS,
                ..Block::mono(&[0.0; BLOCK])
            });
            ingest.wake();
            next += 1;
        }
    })
}

impl Backend for Null {
    fn set_active(&self, active: bool) {
        self.0.set_active(active);
    }

    fn describe(&self, status: &mut SourceStatus) {
        status.backend = "null".into();
        status.rate = RATE;
        status.quantum = BLOCK as u32;
    }

    fn stop(&mut self) {
        self.0.stop();
    }
}
