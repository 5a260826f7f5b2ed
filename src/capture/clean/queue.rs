//! From an audio thread to the canceller's: blocks, without a lock and without waiting.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use rtrb::chunks::ChunkError;

use crate::capture::ingest::heard;
use crate::capture::{Block, Sink};
use v2m_ring::sync::TryCell;
use v2m_rt as rt;

/// Samples and blocks on their way: a second at 48 kHz, more than anybody is late.
const SAMPLES: usize = 1 << 16;
const BLOCKS: usize = 1 << 12;
/// Samples that are mixed at once.
const PIECE: usize = 1024;

/// A block, as it was taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Piece {
    pub(super) samples: Vec<f32>,
    pub(super) rate: u32,
    pub(super) clock: u64,
    pub(super) position: u64,
    pub(super) time_ns: i64,
}

#[derive(Clone, Copy)]
struct Header {
    length: usize,
    rate: u32,
    clock: u64,
    position: u64,
    time_ns: i64,
}

/// The audio thread's end. What doesn't fit is a gap in the positions.
pub(super) struct Input {
    ends: TryCell<(rtrb::Producer<Header>, rtrb::Producer<f32>)>,
    canceller: OnceLock<Thread>,
}

/// The canceller's end.
pub(super) struct Output {
    headers: rtrb::Consumer<Header>,
    samples: rtrb::Consumer<f32>,
}

pub(super) fn queue() -> (Arc<Input>, Output) {
    let (mut headers, taken) = rtrb::RingBuffer::new(BLOCKS);
    let (mut samples, heard) = rtrb::RingBuffer::new(SAMPLES);
    lock("blocks", headers.write_chunk_uninit(BLOCKS));
    lock("samples", samples.write_chunk_uninit(SAMPLES));
    let input = Input {
        ends: TryCell::new((headers, samples)),
        canceller: OnceLock::new(),
    };
    let output = Output {
        headers: taken,
        samples: heard,
    };
    (Arc::new(input), output)
}

/// Keeps a queue that is empty yet, all of it, in memory.
fn lock<T>(what: &str, whole: Result<rtrb::chunks::WriteChunkUninit<'_, T>, ChunkError>) {
    if let Ok(mut whole) = whole {
        let (first, _) = whole.as_mut_slices();
        let name = format!("the canceller's {what}");
        rt::lock(&name, first.as_ptr().cast(), size_of_val(first));
    }
}

impl Input {
    /// Who is woken for what comes; the thread that calls.
    pub(super) fn wakes_me(&self) {
        let _ = self.canceller.set(std::thread::current());
    }
}

impl Sink for Input {
    fn block(&self, block: &Block<'_>) {
        self.ends.try_with(|(headers, samples)| {
            let length = block.frames();
            if headers.is_full() || samples.slots() < length {
                return;
            }
            let mut sum = [0.0; PIECE];
            for first in (0..length).step_by(PIECE) {
                let count = (length - first).min(PIECE);
                // There is room.
                let _ = samples.push_entire_slice(heard(block, first, &mut sum[..count]));
            }
            let _ = headers.push(Header {
                length,
                rate: block.rate,
                clock: block.clock,
                position: block.position,
                time_ns: block.time_ns,
            });
        });
    }

    fn wake(&self) {
        if let Some(thread) = self.canceller.get() {
            thread.unpark();
        }
    }
}

impl Output {
    /// The next block; none if there is none.
    pub(super) fn pop(&mut self) -> Option<Piece> {
        let header = self.headers.pop().ok()?;
        let mut samples = Vec::with_capacity(header.length);
        if let Ok(chunk) = self.samples.read_chunk(header.length) {
            samples.extend(chunk);
        }
        Some(Piece {
            samples,
            rate: header.rate,
            clock: header.clock,
            position: header.position,
            time_ns: header.time_ns,
        })
    }
}
