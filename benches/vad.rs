//! What one window of VAD costs: per instruction set, in batches, through ONNX
//! Runtime, against what this machine could do at best, and in instructions.
//!
//!     cargo bench --bench vad [-- --audio FILE] [--json] [--callgrind] [--onnxruntime DIR]
//!
//! FILE is raw 16 kHz mono f32 (`tests/rig/vad_reference.py` makes one); without it
//! ten seconds of the tests' audio. DIR is the Python package `onnxruntime`.
#![allow(unsafe_code, reason = "measures the instructions themselves")]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};
use v2m_dsp::vad::hearing::Hearing;
use v2m_dsp::vad::native::{Memory, Native, Network, Part, Path, Recordings};
use v2m_dsp::vad::{Model, WINDOW};

/// Multiply-adds of one window after the STFT: taps x inputs x outputs of the
/// convolutions where they meet a frame, the LSTM's two matrices, the output.
const MULTIPLY_ADDS: u64 =
    10 * 129 * 128 + 5 * 128 * 64 + 2 * 64 * 64 + 64 * 128 + 2 * 128 * 512 + 128;

#[derive(Default)]
struct Options {
    audio: Option<String>,
    onnxruntime: Option<String>,
    json: bool,
    callgrind: bool,
    /// For the run under callgrind: so many windows on this path, and nothing else.
    steps: Option<(String, Hearing, usize)>,
}

fn options() -> Options {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--audio" => options.audio = args.next(),
            "--onnxruntime" => options.onnxruntime = args.next(),
            "--json" => options.json = true,
            "--callgrind" => options.callgrind = true,
            "--steps" => {
                let mut word = || args.next().expect("--steps PATH HEARING COUNT");
                let (path, hearing, count) = (word(), word().parse(), word().parse());
                let hearing = hearing.expect("plain or enhanced");
                options.steps = Some((path, hearing, count.expect("a number")));
            }
            // Cargo's own.
            "--bench" => {}
            other => {
                eprintln!("unknown option {other}; see the head of benches/vad.rs");
                std::process::exit(2);
            }
        }
    }
    options
}

fn windows(file: Option<&str>) -> Vec<[f32; WINDOW]> {
    let samples: Vec<f32> = match file {
        Some(file) => {
            let bytes = std::fs::read(file).expect("the audio can be read");
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect()
        }
        None => {
            let bytes = include_bytes!("../tests/data/vad_golden.i16");
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from(i16::from_le_bytes(*b)) / 32768.0)
                .collect()
        }
    };
    let windows = samples.as_chunks().0;
    windows
        .iter()
        .cycle()
        .take(windows.len().clamp(3000, 20_000))
        .copied()
        .collect()
}

/// Keeps the compiler from leaving out what made `p`.
fn sink(p: f32) {
    black_box(p);
}

/// Median and 99th percentile of `step` over the windows, in ns.
fn measure(windows: &[[f32; WINDOW]], mut step: impl FnMut(&[f32; WINDOW]) -> f32) -> (f64, f64) {
    windows
        .iter()
        .take(200)
        .for_each(|window| sink(step(window)));
    let mut times: Vec<Duration> = windows
        .iter()
        .map(|window| {
            let start = Instant::now();
            black_box(step(black_box(window)));
            start.elapsed()
        })
        .collect();
    times.sort();
    let at = |share| {
        v2m_dsp::percentile(&times, share)
            .unwrap_or_default()
            .as_nanos() as f64
    };
    (at(0.5), at(0.99))
}

/// The least time of a few tries, in s.
fn best_of(tries: usize, mut run: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..tries).map(time).fold(f64::INFINITY, f64::min)
}

const ROUNDS: usize = 20_000;

/// Multiply-adds with nothing to wait for: as many independent sums as fit the registers.
#[inline(always)]
fn multiply_add<const N: usize>(sums: &mut [[f32; 16]; N], factor: f32) {
    for _ in 0..ROUNDS {
        for sum in sums.iter_mut() {
            for s in sum {
                *s = s.mul_add(factor, factor);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[target_feature(enable = "avx2,fma")]
    pub(crate) fn avx2(sums: &mut [[f32; 16]; 6], factor: f32) {
        super::multiply_add(sums, factor);
    }
    #[target_feature(enable = "avx512f")]
    pub(crate) fn avx512(sums: &mut [[f32; 16]; 10], factor: f32) {
        super::multiply_add(sums, factor);
    }
    /// Reads it all, 64 bytes at a time.
    #[target_feature(enable = "avx2")]
    pub(crate) fn read(weights: &[[f32; 16]]) -> f32 {
        let mut sums = [[0.0f32; 16]; 4];
        for rows in weights.as_chunks::<4>().0 {
            for (sum, row) in sums.iter_mut().zip(rows) {
                for (s, w) in sum.iter_mut().zip(row) {
                    *s += w;
                }
            }
        }
        sums.as_flattened().iter().sum()
    }
}

/// Multiply-adds per second, and seconds to read `bytes` once that were read just before.
#[cfg(target_arch = "x86_64")]
fn bounds(path: Path, bytes: usize) -> Option<(f64, f64)> {
    if path == Path::Portable {
        return None;
    }
    let (mut few, mut many, factor) = ([[0.5f32; 16]; 6], [[0.5f32; 16]; 10], black_box(0.5));
    let sums = if path == Path::Avx512 {
        10 * 16
    } else {
        6 * 16
    };
    let time = best_of(9, || match path {
        // SAFETY: the path is available, so the CPU has the instructions.
        Path::Avx512 => unsafe { x86::avx512(black_box(&mut many), factor) },
        // SAFETY: as above.
        _ => unsafe { x86::avx2(black_box(&mut few), factor) },
    });
    let weights = vec![[1.0f32; 16]; bytes / 64];
    // SAFETY: both paths include AVX2.
    let read = best_of(200, || sink(unsafe { x86::read(black_box(&weights)) }));
    Some(((sums * ROUNDS) as f64 / time, read))
}

#[cfg(not(target_arch = "x86_64"))]
fn bounds(_: Path, _: usize) -> Option<(f64, f64)> {
    None
}

fn native(path: Path) -> Native {
    Native::with_path(Network::embedded(), path).expect("an available path")
}

fn heard(path: Path, hearing: Hearing) -> impl FnMut(&[f32; WINDOW]) -> f32 {
    let mut model = hearing.apply(Box::new(native(path)));
    move |window| model.probability(window).unwrap_or(f32::NAN)
}

/// Instructions per window, by two runs of this program under callgrind.
fn instructions(path: Path, hearing: Hearing) -> Result<u64, String> {
    let run = |steps: usize| {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program);
        command.args(["--steps", path.name(), hearing.name(), &steps.to_string()]);
        let output = command.output().map_err(|e| format!("valgrind: {e}"))?;
        if !output.status.success() {
            return Err("valgrind has none of these instructions".to_string());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text
            .lines()
            .find_map(|line| line.split("Collected : ").nth(1));
        let count = line.and_then(|count| count.trim().parse::<u64>().ok());
        count.ok_or_else(|| "callgrind printed no count".to_string())
    };
    Ok((run(1100)? - run(100)?) / 1000)
}

#[cfg(feature = "ort")]
fn onnxruntime(windows: &[[f32; WINDOW]], package: Option<&str>) -> Result<(f64, f64), String> {
    use v2m_engine::detect::ort::Ort;
    use v2m_engine::detect::runtime::Places;
    let places = Places {
        python: package.map(Into::into),
        ..Places::default()
    };
    let mut ort = Ort::new(&places, None).map_err(|e| e.to_string())?;
    Ok(measure(windows, |window| {
        ort.probability(window).unwrap_or(f32::NAN)
    }))
}

#[cfg(not(feature = "ort"))]
fn onnxruntime(_: &[[f32; WINDOW]], _: Option<&str>) -> Result<(f64, f64), String> {
    Err("built without the feature ort".into())
}

/// Seconds a window of recordings that are there already, so many at once.
fn recordings(path: Path, windows: &[[f32; WINDOW]], together: usize) -> f64 {
    let mut network = Recordings::with_path(Network::embedded(), path).expect("a path");
    let samples = windows.as_flattened();
    let time = best_of(3, || {
        let mut heard = vec![(Memory::new(), Vec::new()); together];
        let parts = heard.iter_mut().map(|(memory, out)| Part {
            memory,
            samples,
            out,
        });
        let mut parts: Vec<_> = parts.collect();
        network.advance(&mut parts);
        drop(parts);
        black_box(&heard);
    });
    time / (windows.len() * together) as f64
}

/// Seconds a window of live streams, each of which has one window due at a time.
fn live(path: Path, windows: &[[f32; WINDOW]], streams: usize) -> f64 {
    let mut network = Recordings::with_path(Network::embedded(), path).expect("a path");
    let mut heard = vec![(Memory::new(), Vec::with_capacity(1)); streams];
    let time = best_of(3, || {
        for windows in windows.chunks_exact(streams) {
            let parts = heard.iter_mut().zip(windows);
            let parts = parts.map(|((memory, out), window)| Part {
                memory,
                samples: window,
                out,
            });
            network.advance(&mut parts.collect::<Vec<_>>());
            heard
                .iter_mut()
                .for_each(|(_, out)| sink(out.pop().unwrap_or(0.0)));
        }
    });
    time / (windows.len() / streams * streams) as f64
}

fn main() {
    let options = options();
    if let Some((name, hearing, steps)) = options.steps {
        let Some(path) = Path::available().find(|path| path.name() == name) else {
            std::process::exit(3)
        };
        let mut step = heard(path, hearing);
        let windows = windows(None);
        windows
            .iter()
            .take(steps)
            .for_each(|window| sink(step(window)));
        return;
    }
    let windows = windows(options.audio.as_deref());
    if options.json {
        let path = Path::best();
        let mut native = native(path);
        let (median, p99) = measure(&windows, |window| native.step(window));
        println!(
            "{{\"path\":\"{}\",\"median_ns\":{median},\"p99_ns\":{p99}}}",
            path.name()
        );
        return;
    }
    let bytes = Network::embedded().bytes();
    println!(
        "{} windows of 32 ms, one thread; {MULTIPLY_ADDS} multiply-adds and {} kB of weights per window",
        windows.len(),
        bytes / 1000
    );
    for path in Path::available() {
        let mut one = native(path);
        let (median, p99) = measure(&windows, |window| one.step(window));
        println!(
            "native {:9} {:6.1} us median {:6.1} p99",
            path.name(),
            median / 1e3,
            p99 / 1e3
        );
        let bounds =
            bounds(path, bytes).map(|(rate, read)| (rate, MULTIPLY_ADDS as f64 / rate, read));
        // Recordings and live streams share the weights, so that arithmetic is what binds them.
        let of_bound = |time: f64| {
            let arithmetic = bounds.map(|(_, arithmetic, _)| arithmetic);
            arithmetic.map_or(String::new(), |bound| {
                format!(", {:.1} x the arithmetic bound", time / bound)
            })
        };
        if let Some((rate, arithmetic, read)) = bounds {
            let bound = arithmetic.max(read);
            println!(
                "  bound {:.1} us, of it {:.1} x: arithmetic {:.1} us ({:.0} G multiply-adds/s measured), reading the weights {:.1} us ({:.0} GB/s measured); the FFT is extra",
                bound * 1e6,
                median / 1e9 / bound,
                arithmetic * 1e6,
                rate / 1e9,
                read * 1e6,
                bytes as f64 / read / 1e9,
            );
        }
        let (enhanced, p99) = measure(&windows, heard(path, Hearing::Enhanced));
        println!(
            "  enhanced: {:.1} us median {:.1} p99, {:.2} x the network alone",
            enhanced / 1e3,
            p99 / 1e3,
            enhanced / median
        );
        if options.callgrind {
            for hearing in [Hearing::Plain, Hearing::Enhanced] {
                let name = hearing.name();
                match instructions(path, hearing) {
                    Ok(count) => println!("  {name}: {count} instructions per window (callgrind)"),
                    Err(why) => println!("  {name}: instructions per window: {why}"),
                }
            }
        }
        for together in [1, 4] {
            let time = recordings(path, &windows, together);
            println!(
                "  offline, {together} recordings at once: {:.1} us per window, {:.0} x real time per core{}",
                time * 1e6,
                0.032 / time,
                of_bound(time)
            );
        }
        for streams in [1, 8, 64] {
            let time = live(path, &windows, streams);
            println!(
                "  {streams:2} live at once: {:.1} us per window, {:.0} streams per core{}",
                time * 1e6,
                0.032 / time,
                of_bound(time)
            );
        }
    }
    // A window every 32 ms finds the caches used by others.
    let mut others = vec![0u8; 64 << 20];
    let mut cold = native(Path::best());
    let mut times: Vec<f64> = windows
        .iter()
        .take(200)
        .map(|window| {
            others
                .iter_mut()
                .step_by(64)
                .for_each(|b| *b = b.wrapping_add(1));
            best_of(1, || sink(cold.step(window)))
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "native {:9} {:6.1} us median with all caches cold",
        Path::best().name(),
        times[100] * 1e6
    );
    match onnxruntime(&windows, options.onnxruntime.as_deref()) {
        Ok((median, p99)) => {
            println!(
                "ort in Rust      {:6.1} us median {:6.1} p99",
                median / 1e3,
                p99 / 1e3
            );
        }
        Err(why) => println!("ort in Rust: not measured: {why}"),
    }
}
