//! ALSA capture against real drivers, in an emulated machine: a stock Debian
//! kernel, its loopback and dummy cards, and this very program.
//!
//! Run by `cargo test --test alsa-vm -- --ignored`. Takes the kernel's package by
//! `apt-get download` the first time; what it makes stays under `target/tmp/alsa-vm`.
#![cfg(feature = "engine")]

mod guest;
#[path = "../known/mod.rs"]
mod known;
mod machine;
mod player;

/// Set in the machine: which part to play, and its arguments.
const PART: &str = "V2M_TEST_VM_PART";

#[test]
#[ignore = "boots an emulated machine"]
fn on_real_drivers() {
    let log = machine::run();
    print!("{log}");
    for scenario in guest::SCENARIOS {
        assert!(log.contains(&format!("PASS {}", scenario.0)), "{} failed, see above", scenario.0);
    }
}

/// This program's other parts; nothing in an ordinary run.
#[test]
fn part() {
    let Ok(part) = std::env::var(PART) else { return };
    let arguments: Vec<&str> = part.split_whitespace().collect();
    match arguments[..] {
        ["guest", only] => guest::run(only),
        ["play", pcm, rate, channels, bits, from, seconds] => player::play(
            pcm,
            rate.parse().unwrap(),
            channels.parse().unwrap(),
            bits.parse().unwrap(),
            from.parse().unwrap(),
            seconds.parse().unwrap(),
        ),
        ["capture", pcm, period, periods, channels, bits, seconds] => guest::capture_alone(
            pcm,
            period.parse().unwrap(),
            periods.parse().unwrap(),
            channels.parse().unwrap(),
            bits.parse().unwrap(),
            seconds.parse().unwrap(),
        ),
        _ => panic!("no part {part}"),
    }
}
