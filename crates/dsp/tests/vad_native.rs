//! The native model against the reference, on every path that this CPU can run.
//!
//! Long audio comes from `python -m rig.vad_reference DIRECTORY --test`, which
//! runs the ignored tests here with the directory in `V2M_VAD_REFERENCE`.
#![allow(unsafe_code, reason = "counts allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use v2m_dsp::vad::native::{Memory, Native, Network, Part, Path, Recordings};
use v2m_dsp::vad::{Model, WINDOW};

const TOLERANCE: f32 = 1e-4;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all of it is System's; counting a thread's calls allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promises are System's demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Recording {
    windows: Vec<[f32; WINDOW]>,
    probabilities: Vec<f32>,
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

/// Ten seconds of everything.
fn golden() -> Recording {
    let samples = include_bytes!("../../../tests/data/vad_golden.i16")
        .as_chunks()
        .0
        .iter();
    let samples: Vec<f32> = samples
        .map(|b| f32::from(i16::from_le_bytes(*b)) / 32768.0)
        .collect();
    Recording {
        windows: samples.as_chunks().0.to_vec(),
        probabilities: floats(include_bytes!("../../../tests/data/vad_golden.f32")),
    }
}

/// Half an hour and more.
fn reference() -> Recording {
    let place = std::env::var("V2M_VAD_REFERENCE").expect("V2M_VAD_REFERENCE names a directory");
    let read = |file| std::fs::read(format!("{place}/{file}")).expect("made by vad_reference.py");
    Recording {
        windows: floats(&read("audio.f32")).as_chunks().0.to_vec(),
        probabilities: floats(&read("probabilities.f32")),
    }
}

fn native(path: Path) -> Native {
    Native::with_path(Network::embedded(), path).expect("an available path")
}

fn recordings(path: Path) -> Recordings {
    Recordings::with_path(Network::embedded(), path).expect("an available path")
}

fn part<'a>(
    ((memory, out), windows): ((&'a mut Memory, &'a mut Vec<f32>), &&'a [[f32; WINDOW]]),
) -> Part<'a> {
    Part {
        memory,
        samples: windows.as_flattened(),
        out,
    }
}

fn at_once(
    network: &mut Recordings,
    memory: &mut Memory,
    windows: &[[f32; WINDOW]],
    out: &mut Vec<f32>,
) {
    network.advance(&mut [part(((memory, out), &windows))]);
}

/// Panics at the first window that differs, or is no number.
fn assert_equal(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let mut worst = 0.0f32;
    for (window, (a, b)) in found.iter().zip(expected).enumerate() {
        let difference = (a - b).abs();
        assert!(
            difference <= TOLERANCE,
            "{what}: window {window}: {a}, not {b}"
        );
        worst = worst.max(difference);
    }
    println!("{what}: {} windows, worst {worst:e}", found.len());
}

fn stepped(path: Path, recording: &Recording) -> Vec<f32> {
    let mut native = native(path);
    recording
        .windows
        .iter()
        .map(|window| native.step(window))
        .collect()
}

#[test]
fn equals_the_reference_on_every_path() {
    let golden = golden();
    for path in Path::available() {
        assert_equal(path.name(), &stepped(path, &golden), &golden.probabilities);
    }
}

/// Every second sample of the ten seconds, aliases and all.
#[test]
fn the_network_for_8_khz_equals_the_reference_on_every_path() {
    let golden = golden();
    let samples = golden.windows.as_flattened().iter().step_by(2);
    let samples: Vec<f32> = samples.copied().collect();
    let expected = floats(include_bytes!("../../../tests/data/vad_golden_8k.f32"));
    for path in Path::available() {
        let mut network = Recordings::with_path(Network::embedded_8k(), path).expect("a path");
        let (mut memory, mut found) = (Memory::new(), Vec::new());
        for piece in samples.chunks(256 * 21) {
            network.advance(&mut [Part {
                memory: &mut memory,
                samples: piece,
                out: &mut found,
            }]);
        }
        assert_equal(path.name(), &found, &expected);
    }
    assert!(Native::with_path(Network::embedded_8k(), Path::best()).is_err());
}

#[test]
fn a_recording_at_once_equals_its_windows_one_by_one() {
    let golden = golden();
    for path in Path::available() {
        // In pieces of lengths that fill no tile, the state going on between them.
        let (mut network, mut memory) = (recordings(path), Memory::new());
        let mut found = Vec::new();
        let mut length = 1;
        while found.len() < golden.windows.len() {
            let rest = &golden.windows[found.len()..];
            let piece = &rest[..length.min(rest.len())];
            at_once(&mut network, &mut memory, piece, &mut found);
            length = length * 2 + 1;
        }
        assert_equal(path.name(), &found, &golden.probabilities);
    }
}

#[test]
fn recordings_that_share_the_weights_do_not_concern_each_other() {
    let golden = golden();
    for path in Path::available() {
        // Nine recordings: two groups of four and one alone. They begin at different windows
        // of the audio, give pieces of different lengths, and end at different times.
        for count in [1, 2, 3, 4, 9] {
            let mut network = recordings(path);
            let length = |n: usize| golden.windows.len() - 13 * n;
            let mut memories = vec![Memory::new(); count];
            let mut found = vec![Vec::new(); count];
            for round in 0.. {
                let pieces = (0..count).map(|n| {
                    let rest = &golden.windows[found[n].len()..length(n)];
                    &rest[..rest.len().min((7 * round + 5 * n) % 40)]
                });
                let pieces: Vec<_> = pieces.collect();
                let state = memories.iter_mut().zip(&mut found);
                let mut parts: Vec<_> = state.zip(&pieces).map(part).collect();
                network.advance(&mut parts);
                if (0..count).all(|n| found[n].len() == length(n)) {
                    break;
                }
            }
            for found in &found {
                assert_equal(path.name(), found, &golden.probabilities[..found.len()]);
            }
        }
    }
}

#[test]
fn live_streams_judged_together_do_not_concern_each_other() {
    let (golden, windows) = (golden(), 90usize);
    for path in Path::available() {
        // Stream s is s windows late, silence before that, and starts afresh with the audio.
        for streams in [1, 2, 3, 4, 18] {
            let mut network = recordings(path);
            let mut memories = vec![Memory::new(); streams];
            let mut found = vec![Vec::new(); streams];
            for step in 0..windows {
                if let Some(memory) = memories.get_mut(step) {
                    memory.reset();
                }
                let state = memories.iter_mut().zip(&mut found).enumerate();
                let parts = state.map(|(s, (memory, out))| Part {
                    memory,
                    samples: step
                        .checked_sub(s)
                        .map_or(&[0.0; WINDOW], |n| &golden.windows[n]),
                    out,
                });
                network.advance(&mut parts.collect::<Vec<_>>());
            }
            let mut alone = native(path);
            for (s, found) in found.iter().enumerate() {
                let found = &found[s..];
                assert_equal(path.name(), found, &golden.probabilities[..found.len()]);
                // One alone is the same to the bit.
                if streams == 1 {
                    let windows = golden.windows[..found.len()].iter();
                    let alone: Vec<_> = windows.map(|window| alone.step(window)).collect();
                    assert_eq!(found, alone);
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_counts_as_silence_and_poisons_nothing() {
    let golden = golden();
    for path in Path::available() {
        let (mut wronged, mut silent) = (native(path), native(path));
        let mut bad = 0;
        for (n, window) in golden.windows.iter().enumerate() {
            let (mut a, mut b) = (*window, *window);
            if n % 5 == 0 {
                let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1e30];
                for (k, value) in values.into_iter().cycle().take(n % 512).enumerate() {
                    // Also where the next window sees them as context.
                    (a[511 - k], b[511 - k]) = (value, 0.0);
                    bad += 1;
                }
            }
            let (a, b) = (wronged.step(&a), silent.step(&b));
            assert!(
                a.is_finite() && a == b,
                "{}: window {n}: {a}, not {b}",
                path.name()
            );
        }
        assert_eq!(
            (wronged.unusable_samples(), silent.unusable_samples()),
            (bad, 0)
        );
        // All 1e12, the largest that is taken, overflows nothing either.
        for _ in 0..50 {
            assert!(wronged.step(&[1e12; WINDOW]).is_finite());
            assert!(
                wronged
                    .step(&std::array::from_fn(|n| [1e12, -1e12][n % 2]))
                    .is_finite()
            );
        }
        assert!(wronged.step(&[0.0; WINDOW]).is_finite());
        assert_eq!(wronged.unusable_samples(), bad);
    }
}

#[test]
fn subnormal_samples_are_silence() {
    for path in Path::available() {
        let (mut tiny, mut silent) = (native(path), native(path));
        for n in 0..50 {
            let window = std::array::from_fn(|k| f32::from_bits((n * 512 + k as u32) % 8_000_000));
            assert_eq!(tiny.step(&window), silent.step(&[0.0; WINDOW]));
        }
        assert_eq!(tiny.unusable_samples(), 0);
    }
}

#[test]
fn reset_forgets_all_but_the_count() {
    let golden = golden();
    let mut native = Native::new();
    native.step(&[f32::NAN; WINDOW]);
    golden
        .windows
        .iter()
        .take(100)
        .for_each(|window| assert!(native.step(window) < 1.0));
    native.reset();
    let found: Vec<_> = golden
        .windows
        .iter()
        .map(|w| native.probability(w).expect("it can't fail"))
        .collect();
    assert_equal("after a reset", &found, &golden.probabilities);
    assert_eq!(native.unusable_samples(), 512);
}

#[test]
fn no_window_allocates() {
    let golden = golden();
    for path in Path::available() {
        let mut native = native(path);
        let (mut network, mut memory) = (recordings(path), Memory::new());
        let mut found = Vec::with_capacity(golden.windows.len());
        let before = ALLOCATIONS.get();
        golden
            .windows
            .iter()
            .for_each(|window| assert!(native.step(window) < 1.0));
        at_once(&mut network, &mut memory, &golden.windows, &mut found);
        native.reset();
        assert_eq!(ALLOCATIONS.get(), before, "{}", path.name());
    }
}

#[test]
#[ignore = "needs audio from rig.vad_reference --test"]
fn half_an_hour_equals_the_reference_on_every_path() {
    let reference = reference();
    assert!(
        reference.windows.len() >= 30 * 60 * 16000 / WINDOW,
        "less than 30 minutes"
    );
    for path in Path::available() {
        assert_equal(
            path.name(),
            &stepped(path, &reference),
            &reference.probabilities,
        );
        let (mut network, mut memory, mut found) = (recordings(path), Memory::new(), Vec::new());
        at_once(&mut network, &mut memory, &reference.windows, &mut found);
        assert_equal(path.name(), &found, &reference.probabilities);
    }
}

/// Ten hours of one stream: the recording over and over. What could drift is the state, and
/// the LSTM forgets; so the reference need not run for as long. Its state is that of the
/// recording's start, and five minutes later both must agree on the last round as on the first.
#[test]
#[ignore = "needs audio from rig.vad_reference --test"]
fn ten_hours_do_not_drift() {
    let reference = reference();
    let settle = 300 * 16000 / WINDOW;
    for path in Path::available() {
        let (mut network, mut memory, mut out) = (recordings(path), Memory::new(), Vec::new());
        let rounds = (10 * 3600 * 16000 / WINDOW).div_ceil(reference.windows.len());
        for _ in 0..rounds {
            out.clear();
            at_once(&mut network, &mut memory, &reference.windows, &mut out);
        }
        let what = format!("{} after {rounds} rounds", path.name());
        assert_equal(&what, &out[settle..], &reference.probabilities[settle..]);
    }
}
