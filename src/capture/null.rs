//! Silence, from a source that is always there: the least that a backend is. It is the
//! template for others, and what is captured where nothing may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use v2m_engine::Result;
use v2m_engine::capture::{Backend, Block, Event, Kind, Sink, Start};
use v2m_engine::config::SourceSpec;
use v2m_engine::rt::bounded::Bounded;
use v2m_engine::status::SourceStatus;
use v2m_engine::time::monotonic_ns;

const RATE: u32 = 48_000;
/// Samples of one block, and their nanoseconds: 10 ms.
const BLOCK: usize = 480;
const BLOCK_NS: i64 = 10_000_000;

/// The source `null:`.
pub static KIND: Kind = Kind {
    takes: |source| matches!(source, SourceSpec::Null),
    start: |start| Ok(Box::new(Null::start(start)?)),
    sources: || Ok(Vec::new()),
};

struct Null {
    active: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Bounded,
}

impl Null {
    fn start(start: Start<'_>) -> Result<Self> {
        let active = Arc::new(AtomicBool::new(start.active));
        let stop = Arc::new(AtomicBool::new(false));
        let (wanted, stopped) = (active.clone(), stop.clone());
        let (ingest, events) = (start.ingest, start.events);
        let thread = Bounded::spawn("v2m-null", move |_| {
            ingest.expect(RATE);
            events(Event::Reached);
            events(Event::Linked("null:".into()));
            // Positions are those of the clock, so that a rest is no loss.
            let mut next = monotonic_ns() / BLOCK_NS;
            while !stopped.load(Ordering::Acquire) {
                if !wanted.load(Ordering::Acquire) {
                    thread::park();
                    next = monotonic_ns() / BLOCK_NS;
                    continue;
                }
                let left = (next + 1) * BLOCK_NS - monotonic_ns();
                thread::sleep(Duration::from_nanos(left.max(0) as u64));
                ingest.block(&Block {
                    samples: &[0.0; BLOCK],
                    rate: RATE,
                    clock: 0,
                    position: next as u64 * BLOCK as u64,
                    time_ns: next * BLOCK_NS,
                });
                ingest.wake();
                next += 1;
            }
        })?;
        Ok(Self {
            active,
            stop,
            thread,
        })
    }
}

impl Backend for Null {
    fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Release);
        self.thread.thread().map(Thread::unpark);
    }

    fn audio_thread(&self) -> Option<i32> {
        None
    }

    fn describe(&self, status: &mut SourceStatus) {
        status.backend = "null".into();
        status.rate = RATE;
        status.quantum = BLOCK as u32;
    }

    fn why_silent(&self) -> String {
        "its thread does not run".into()
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().map(Thread::unpark);
        self.thread.join();
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        self.stop();
    }
}
