//! ALSA capture against real drivers, in an emulated machine: a stock Debian
//! kernel, its loopback and dummy cards and loudspeaker, and this very program. Its
//! root may do all that a root may, which one in a container may not: what the engine
//! gets of an ordinary user's limits is tried here too.
//!
//! Run by `cargo test --test machine -- --ignored alsa`, one scenario alone with
//! `V2M_TEST_VM_ONLY` set to its name, the long ones with `long`. Takes the kernel's package by
//! `apt-get download` the first time; what it makes stays under `target/tmp/alsa-vm`.

mod content;
mod engine;
mod guest;
mod late;
mod machine;
mod player;
mod recovery;
mod refusals;
mod switches;
mod users;

/// Set in the machine: which part to play, and its arguments.
const PART: &str = "V2M_TEST_VM_PART";

#[test]
#[ignore = "boots an emulated machine"]
fn on_real_drivers() {
    let only = std::env::var("V2M_TEST_VM_ONLY").unwrap_or_else(|_| "all".into());
    let log = machine::run(&only);
    print!("{log}");
    for (name, _) in guest::chosen(&only) {
        assert!(
            log.contains(&format!("PASS {name}")),
            "{name} failed, see above"
        );
    }
}

/// This program's other parts; nothing in an ordinary run.
#[test]
fn part() {
    let Ok(part) = std::env::var(PART) else {
        return;
    };
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
        ["play_late", pcm, rate, seconds] => {
            late::play_late(pcm, rate.parse().unwrap(), seconds.parse().unwrap());
        }
        ["capture", pcm, period, periods, seconds] => recovery::capture_alone(
            pcm,
            period.parse().unwrap(),
            periods.parse().unwrap(),
            seconds.parse().unwrap(),
        ),
        _ => panic!("no part {part}"),
    }
}
