//! What the canceller takes off an echo in generated rooms, second by second, and what it leaves
//! of a voice beside it: the table of docs/echo.md.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/room/mod.rs"]
mod room;

use room::{Room, correlation, reduction_db, voice};
use v2m_echo::{Canceller, Cleaned, Options};

const SECONDS: usize = 8;

fn main() {
    println!("| Hz | delay, reverberation, ms | else | 1st s | 2nd s | after | voice |");
    println!("|---|---|---|---|---|---|---|");
    let usual = Room::default();
    for rate in [16_000, 48_000] {
        for (delay_ms, reverberation_ms) in [
            (5.0, 0.0),
            (5.0, 350.0),
            (45.0, 200.0),
            (150.0, 350.0),
            (300.0, 100.0),
            (300.0, 500.0),
        ] {
            let room = Room {
                delay_ms,
                reverberation_ms,
                ..usual
            };
            row(rate, room, "");
        }
        let quiet = Room {
            gain_db: -30.0,
            ..usual
        };
        row(rate, quiet, "24 dB softer");
        let driven = Room {
            drive: 3.0,
            ..usual
        };
        row(rate, driven, "overdriven");
        let drifting = Room {
            drift_ppm: 100.0,
            ..usual
        };
        row(rate, drifting, "100 ppm");
    }
}

fn row(rate: u32, room: Room, what: &str) {
    let second = rate as usize;
    let seeds = 1..=4_u64;
    let (mut echoes, mut left) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
    let mut likeness = 0.0;
    for seed in seeds.clone() {
        let far = voice(seed, rate, SECONDS as f64, -20.0);
        let near = voice(seed + 100, rate, SECONDS as f64, -20.0);
        let echo = Room { seed, ..room }.echo(rate, &far);
        let cleaned = clean(rate, &echo, &far);
        let parts = [0..second, second..2 * second, 2 * second..cleaned.len()];
        for (at, part) in parts.into_iter().enumerate() {
            echoes[at].extend_from_slice(&echo[part.clone()]);
            left[at].extend_from_slice(&cleaned[part]);
        }
        let both: Vec<f32> = near.iter().zip(&echo).map(|(a, b)| a + b).collect();
        let cleaned = clean(rate, &both, &far);
        likeness += correlation(&near[2 * second..cleaned.len()], &cleaned[2 * second..]);
    }
    let count = seeds.count() as f64;
    let lost: Vec<String> = echoes
        .iter()
        .zip(&left)
        .map(|(echo, left)| format!("{:.0}", reduction_db(echo, left)))
        .collect();
    println!(
        "| {rate} | {}, {} | {what} | {} | {:.2} |",
        room.delay_ms,
        room.reverberation_ms,
        lost.join(" | "),
        likeness / count
    );
}

fn clean(rate: u32, near: &[f32], far: &[f32]) -> Vec<f32> {
    let mut canceller = Canceller::new(rate, Options::default()).expect("a rate it takes");
    let mut cleaned = Cleaned::default();
    canceller.process(near, far, &mut cleaned);
    cleaned.samples
}
