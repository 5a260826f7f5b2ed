//! What a quantum costs the writer, and what it costs a reader.
//!
//! A quantum of 256 samples at 48 kHz is 85 or 86 samples in the ring.

use std::hint::black_box;
use std::time::Instant;

use v2m_ring::{NS_PER_SAMPLE, Reader, Ring};

const QUANTUM: usize = 86;
const ROUNDS: usize = 200_000;

fn main() {
    let (ring, mut writer, ..) = Ring::create(1 << 20).expect("a ring");
    let reader = Reader::new(ring.duplicate().expect("a descriptor")).expect("a reader");
    let samples = [0.25_f32; QUANTUM];
    let mut out = [0.0_f32; QUANTUM];

    let write = measure(|round| {
        writer.append(
            black_box(&samples),
            (round * QUANTUM) as i64 * NS_PER_SAMPLE,
        );
    });
    let window = measure(|_| {
        let position = reader.committed() - QUANTUM as u64;
        black_box(reader.window(position, QUANTUM as u64).expect("a window"));
        black_box(reader.is_valid(position));
    });
    let copy = measure(|_| {
        let position = reader.committed() - QUANTUM as u64;
        reader
            .read_samples(position, black_box(&mut out))
            .expect("samples");
    });
    println!("ring, per quantum of {QUANTUM} samples (median of {ROUNDS}):");
    for (what, ns) in [
        ("write, with clock and counters", write),
        ("read, a window without a copy", window),
        ("read, copied", copy),
    ] {
        println!("  {what:<32} {ns:>6} ns");
    }
}

/// Median duration of one call in nanoseconds, the clock's own cost included.
fn measure(mut call: impl FnMut(usize)) -> u128 {
    let mut durations: Vec<u128> = (0..ROUNDS)
        .map(|round| {
            let start = Instant::now();
            call(round);
            start.elapsed().as_nanos()
        })
        .collect();
    durations.sort_unstable();
    durations[ROUNDS / 2]
}
