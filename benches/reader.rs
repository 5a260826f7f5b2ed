//! The plain reader that others are compared with: no language runtime, one
//! thread, one map, one futex.
//!
//! `reader latency COUNT`: nanoseconds from the writing of samples to this
//! process holding them, for COUNT wake-ups, one a line.
//! `reader crowd WAITING STUCK`: so many readers that wait for every quantum and
//! so many that hold the ring and do nothing, until standard input ends.
//! `reader timers COUNT`: so many threads that a clock wakes as often, for nothing.

use std::io::Read;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use v2m_client::connection::Connection;
use v2m_error::{ErrorKind, Result};
use v2m_ring::time::monotonic_ns;

/// 256 samples at 48 kHz.
const QUANTUM_NS: i64 = 256 * 1_000_000_000 / 48_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |at: usize| {
        arguments
            .get(at)
            .and_then(|text| text.parse::<usize>().ok())
    };
    match (arguments.first().map(String::as_str), number(1), number(2)) {
        (Some("latency"), Some(count), _) => latency(count),
        (Some("crowd"), Some(waiting), Some(stuck)) => crowd(waiting, stuck),
        (Some("timers"), Some(count), _) => {
            timers(count);
            Ok(())
        }
        // `cargo bench` runs every bench; this one is a tool of scaling.py.
        (None, ..) => Ok(()),
        _ => Err(v2m_error::Error::new(
            ErrorKind::Invalid,
            "usage: reader latency COUNT | crowd WAITING STUCK | timers COUNT",
        )),
    }
}

fn latency(count: usize) -> Result<()> {
    let (reader, _) = {
        let mut connection = Connection::service()?;
        let opened = connection.open(None)?;
        // Counted as listening until the process ends.
        std::mem::forget(connection);
        opened
    };
    let mut latencies = Vec::with_capacity(count);
    let mut seen = reader.committed();
    while latencies.len() < count {
        let ticket = reader.ticket();
        let committed = reader.committed();
        if committed == seen {
            reader.wait(ticket, Duration::from_secs(1));
            continue;
        }
        reader.window(committed - 1, 1)?;
        latencies.push(monotonic_ns() - reader.written_ns());
        seen = committed;
    }
    for latency in latencies {
        println!("{latency}");
    }
    Ok(())
}

fn crowd(waiting: usize, stuck: usize) -> Result<()> {
    let mut holding = Vec::new();
    for index in 0..waiting + stuck {
        let mut connection = Connection::service()?;
        let (reader, _) = connection.open(None)?;
        holding.push(connection);
        std::thread::spawn(move || {
            loop {
                if index < waiting {
                    let ticket = reader.ticket();
                    std::hint::black_box(reader.committed());
                    reader.wait(ticket, Duration::from_secs(1));
                } else {
                    std::thread::park();
                }
            }
        });
    }
    until_input_ends();
    Ok(())
}

fn timers(count: usize) {
    for _ in 0..count {
        std::thread::spawn(|| {
            loop {
                let next = (monotonic_ns() / QUANTUM_NS + 1) * QUANTUM_NS;
                let next = TimeSpec::new(next / 1_000_000_000, next % 1_000_000_000);
                let at = ClockNanosleepFlags::TIMER_ABSTIME;
                let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, at, &next);
            }
        });
    }
    until_input_ends();
}

fn until_input_ends() {
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
}
