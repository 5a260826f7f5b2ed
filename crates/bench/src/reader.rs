//! The plain receiver: one thread, one map, one futex. In the bench's own process and, as
//! `v2m-engine bench receiver`, in another.

use std::io::{BufRead, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::recording::{Block, Recording};
use v2m_client::connection::Connection;
use v2m_client::protocol::Wanted;
use v2m_error::{Error, Result};
use v2m_ring::time::monotonic_ns;
use v2m_ring::{Rate, Reader};

/// How often a reader looks whether it should stop.
const SLICE: Duration = Duration::from_millis(100);
/// Blocks that there is room for from the start: a minute at the usual quantum.
const ROOM: usize = 1 << 15;

/// Records all that arrives until told to stop; `arrived` is set when something does.
pub fn record(reader: &Reader, arrived: &AtomicBool, stop: &AtomicBool) -> Result<Recording> {
    let rate = reader.rate().hz();
    let mut recording = Recording {
        rate,
        blocks: Vec::with_capacity(ROOM),
        samples: Vec::with_capacity(64 * rate as usize),
    };
    let mut seen = reader.committed();
    while !stop.load(Ordering::Relaxed) {
        let ticket = reader.ticket();
        let committed = reader.committed();
        if committed == seen {
            reader.wait(ticket, SLICE);
            continue;
        }
        let count = committed - seen;
        // The address is all that a reader without a copy needs.
        reader.window(seen, count)?;
        let (held_ns, written_ns) = (monotonic_ns(), reader.written_ns());
        let start = recording.samples.len();
        recording.samples.resize(start + count as usize, 0.0);
        reader.read_samples(seen, &mut recording.samples[start..])?;
        recording.blocks.push(Block {
            held_ns,
            written_ns,
            end: recording.samples.len(),
        });
        arrived.store(true, Ordering::Relaxed);
        seen = committed;
    }
    Ok(recording)
}

/// The stream of this rate of what the engine is configured for.
pub fn open(connection: &mut Connection, rate: Rate) -> Result<Reader> {
    let wanted = Wanted {
        rate: Some(rate.hz()),
        ..Wanted::default()
    };
    Ok(connection.open_stream(&wanted, None, false)?.ring)
}

/// The receiver as a process of its own: see [`recording`](super::recording).
pub fn main(rate: Rate) -> Result<()> {
    let mut connection = Connection::service()?;
    let reader = open(&mut connection, rate)?;
    let arrived = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let (watched, stopper) = (arrived.clone(), stop.clone());
    let recorder = std::thread::spawn(move || record(&reader, &watched, &stopper));
    while !arrived.load(Ordering::Relaxed) && !recorder.is_finished() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let failed = |cause| Error::system("cannot write what was received", cause);
    let mut out = std::io::stdout();
    writeln!(out, "ready {}", rate.hz()).map_err(failed)?;
    // Until its end, whatever stands in it.
    let mut line = String::new();
    while std::io::stdin()
        .lock()
        .read_line(&mut line)
        .is_ok_and(|n| n > 0)
    {}
    stop.store(true, Ordering::Relaxed);
    let recording = recorder
        .join()
        .map_err(|_| Error::system("the receiver's thread panicked", "no result"))??;
    let mut out = BufWriter::new(out);
    recording.write(&mut out).map_err(failed)?;
    out.flush().map_err(failed)
}
