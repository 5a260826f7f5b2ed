//! Receives by cpal and records as `v2m-engine bench latency` wants it (see the README
//! beside this directory). Usage: with-cpal alsa|pipewire default|best

use std::error::Error;
use std::io::{BufWriter, Read, Write};
use std::sync::{Arc, Mutex};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{BufferSize, HostId, StreamConfig};

type Blocks = Arc<Mutex<(Vec<(i64, usize)>, Vec<f32>)>>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, form] = arguments.as_slice() else {
        return Err("usage: with-cpal alsa|pipewire default|best".into());
    };
    let quantum: u32 = std::env::var("PEER_QUANTUM")?.parse()?;
    let host = match host.as_str() {
        "alsa" => cpal::host_from_id(HostId::Alsa)?,
        _ => cpal::host_from_id(HostId::PipeWire)?,
    };
    let device = host.default_input_device().ok_or("no input device")?;
    let best = form == "best";
    let rate = if best { 48_000 } else { 16_000 };
    let config = StreamConfig {
        channels: 1,
        sample_rate: rate,
        buffer_size: match best {
            true => BufferSize::Fixed(quantum),
            false => BufferSize::Default,
        },
    };
    let room = (Vec::with_capacity(1 << 16), Vec::with_capacity(1 << 23));
    let blocks: Blocks = Arc::new(Mutex::new(room));
    let kept = blocks.clone();
    let stream = device.build_input_stream(
        config,
        move |samples: &[f32], _| {
            let held = monotonic_ns();
            let mut kept = kept.lock().expect("nobody panics with it");
            kept.1.extend_from_slice(samples);
            kept.0.push((held, samples.len()));
            if kept.0.len() == 1 {
                println!("ready {rate}");
            }
        },
        |error| eprintln!("{error}"),
        None,
    )?;
    stream.play()?;

    // Until its end.
    while std::io::stdin().read(&mut [0; 64])? > 0 {}
    drop(stream);
    let blocks = blocks.lock().expect("nobody panics with it");
    let mut out = BufWriter::new(std::io::stdout());
    let mut samples = blocks.1.as_slice();
    for (held, count) in &blocks.0 {
        out.write_all(&held.to_le_bytes())?;
        out.write_all(&0_i64.to_le_bytes())?;
        out.write_all(&(*count as u32).to_le_bytes())?;
        let (block, rest) = samples.split_at(*count);
        for sample in block {
            out.write_all(&sample.to_le_bytes())?;
        }
        samples = rest;
    }
    Ok(out.flush()?)
}

/// CLOCK_MONOTONIC in nanoseconds.
fn monotonic_ns() -> i64 {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the time is written into a timespec of this very layout on 64-bit Linux.
    unsafe { clock_gettime(1, &mut now) };
    now.seconds * 1_000_000_000 + now.nanoseconds
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
}
