//! What sources of one engine cost each other, on one thread: each takes a quantum of 256 samples
//! at 48 kHz in its turn, as from the graph. What their threads and the cores add, `scaling.py`
//! measures.

use std::sync::Arc;
use std::time::Instant;

use v2m_dsp::channels::{Planar, names_for};
use v2m_engine::capture::Block;
use v2m_engine::capture::channels::{Channels, Mixer};
use v2m_engine::capture::ingest::Ingest;
use v2m_ring::Ring;
use v2m_ring::notifier::WakeUpThread;

const RATE: u32 = 48_000;
const QUANTUM: usize = 256;
const CYCLES: u64 = 4000;
/// Of the machine, which has moods.
const ROUNDS: usize = 5;

fn main() {
    let counts = [1, 8, 16];
    let mut found = counts.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (found, count) in found.iter_mut().zip(counts) {
            found.push(slowest(count));
        }
    }
    println!("sources in turn on one thread, the slowest's median cycle:");
    for (mut rounds, count) in found.into_iter().zip(counts) {
        rounds.sort_unstable();
        println!("  {count:>2}: {:>5} ns", rounds[ROUNDS / 2]);
    }
}

/// Median of the source that takes longest, in nanoseconds.
fn slowest(count: usize) -> u128 {
    let samples: [f32; QUANTUM] = std::array::from_fn(|n| (n as f32 * 0.1).sin() * 0.3);
    let mut sources: Vec<_> = (0..count).map(|_| Source::new()).collect();
    let mut took = vec![Vec::with_capacity(CYCLES as usize); count];
    for cycle in 0..CYCLES {
        for (source, took) in sources.iter_mut().zip(&mut took) {
            source.input.copy_from_slice(&samples);
            let begin = Instant::now();
            source.take(cycle);
            took.push(begin.elapsed().as_nanos());
        }
    }
    let median = |took: &mut Vec<u128>| {
        took.sort_unstable();
        took[took.len() / 2]
    };
    took.iter_mut().map(median).max().unwrap_or(0)
}

struct Source {
    /// The graph's buffer.
    input: [f32; QUANTUM],
    scratch: Box<[f32]>,
    mixer: Mixer,
    ingest: Ingest,
    _channels: Arc<Channels>,
    _wake_up_thread: WakeUpThread,
}

impl Source {
    fn new() -> Self {
        let (ring, capture, ..) = Ring::create(1 << 20).expect("a ring");
        let wake_up_thread = WakeUpThread::start(Arc::new(ring), || {}).expect("a thread");
        let ingest = Ingest::new(capture, wake_up_thread.notifier()).expect("resamplers");
        let channels = Channels::new("auto".parse().expect("a choice"), Box::new(drop));
        channels.arrange(&names_for(1)).expect("a channel");
        let mixer = channels.mixer(1).expect("a mixer");
        Self {
            input: [0.0; QUANTUM],
            scratch: vec![0.0; QUANTUM].into(),
            mixer,
            ingest,
            _channels: channels,
            _wake_up_thread: wake_up_thread,
        }
    }

    fn take(&mut self, cycle: u64) {
        self.scratch.copy_from_slice(&self.input);
        let channels = Planar::new(&self.scratch, QUANTUM, QUANTUM, 1);
        let position = cycle * QUANTUM as u64;
        let block = Block {
            channels,
            heard: self.mixer.hear(channels, RATE),
            rate: RATE,
            clock: 1,
            position,
            time_ns: (position * 1_000_000_000 / u64::from(RATE)) as i64,
        };
        self.ingest.take(&block, block.end_ns());
    }
}
