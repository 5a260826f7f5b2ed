//! What is tried in the machine, and what its scenarios share. Most play known
//! content into one side of a loopback and capture the other.

use std::ffi::CStr;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use alsa::ctl::{Ctl, ElemId, ElemIface, ElemType, ElemValue};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use v2m_engine::capture::Event;
use v2m_engine::capture::alsa::{AlsaSource, Setup, Stop};

use super::{PART, content, engine, recovery, refusals, switches, users};
use crate::known::{Found, Kept, Piece, check};

/// Which run in `make test`: everything within two minutes.
pub(crate) const SCENARIOS: [(&str, fn()); 23] = [
    ("exact", content::exact),
    ("planar", content::planar),
    ("rate_shift", content::rate_shift),
    ("dummy", content::dummy),
    ("listed", content::listed),
    ("steady", content::steady),
    ("stopped_long", recovery::stopped_long),
    ("stopped_short", recovery::stopped_short),
    ("stopped_plugins", recovery::stopped_plugins),
    ("suspended", recovery::suspended),
    ("stalled", recovery::stalled),
    ("unbound", recovery::unbound),
    ("engine", engine::counts_what_the_player_lost),
    ("rate_change", engine::follows_the_players_rate),
    ("no_rate_left", recovery::no_rate_left),
    ("muted", switches::muted_and_heard_again),
    ("standby", engine::stands_in_for_pipewire),
    ("no_limits", users::goes_on_without_limits),
    ("limits", users::takes_what_the_limits_allow),
    ("busy", refusals::busy),
    ("shared", refusals::shared),
    ("only_plays", refusals::only_plays),
    ("absent", refusals::absent),
];

/// Which run in `make test-vm` besides.
pub(crate) const LONG: [(&str, fn()); 1] = [("exact_all", content::exact_all)];

/// What is meant by the name of a scenario, by `all` and by `long`.
pub(crate) fn chosen(only: &str) -> impl Iterator<Item = (&'static str, fn())> {
    let long = LONG
        .into_iter()
        .filter(move |(name, _)| only == "long" || only == *name);
    let short = SCENARIOS.into_iter();
    short
        .filter(move |(name, _)| only == "all" || only == *name)
        .chain(long)
}

pub(crate) fn run(only: &str) {
    for (name, scenario) in chosen(only) {
        let start = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(scenario)).is_ok();
        println!(
            "{} {name} ({:.1} s)",
            if passed { "PASS" } else { "FAIL" },
            start.elapsed().as_secs_f32()
        );
    }
}

/// This program in another part.
pub(crate) struct Other {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Other {
    fn start(part: String) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "alsa::part", "--nocapture"])
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Plays from now on; returns when it does.
    pub(crate) fn play(
        pcm: &str,
        rate: u32,
        channels: u32,
        bits: u32,
        from: u64,
        seconds: f64,
    ) -> Self {
        let mut player = Self::start(format!(
            "play {pcm} {rate} {channels} {bits} {from} {seconds}"
        ));
        player.line("PLAYING");
        player
    }

    /// Agrees on 16 bits of one channel, and plays when told to [`go`](Self::go).
    pub(crate) fn play_late(pcm: &str, rate: u32, seconds: f64) -> Self {
        let mut player = Self::start(format!("play_late {pcm} {rate} {seconds}"));
        player.line("AGREED");
        player
    }

    /// Captures 16 bits from now on; returns before it does.
    pub(crate) fn capture(pcm: &str, period: u32, periods: u32, seconds: u64) -> Self {
        Self::start(format!("capture {pcm} {period} {periods} {seconds}"))
    }

    /// What it waits for.
    pub(crate) fn go(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The rest of the next line that begins so.
    pub(crate) fn line(&mut self, start: &str) -> String {
        for line in self.lines.by_ref() {
            // The test harness may have begun the line.
            if let Some((_, rest)) = line.unwrap().split_once(start) {
                return rest.trim().to_owned();
            }
        }
        panic!("the other process ended without saying {start}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id() as i32), signal).unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn next_event(events: &Receiver<Event>) -> Event {
    events.recv_timeout(ms(15_000)).expect("an event")
}

/// Captures while `meanwhile` runs.
pub(crate) fn capture(
    source: AlsaSource,
    bits: u32,
    meanwhile: impl FnOnce(&Receiver<Event>),
) -> Vec<Found> {
    capture_as(source, bits, whole, meanwhile)
}

/// Takes each clock's pieces as they are.
pub(crate) fn whole(pieces: Vec<Piece>) -> Vec<Piece> {
    pieces
}

/// The same, with the pieces divided before they are looked at.
pub(crate) fn capture_as(
    mut source: AlsaSource,
    bits: u32,
    divide: fn(Vec<Piece>) -> Vec<Piece>,
    meanwhile: impl FnOnce(&Receiver<Event>),
) -> Vec<Found> {
    let (kept, stop) = (Kept::default(), Stop::new().unwrap());
    let (events, received) = channel();
    thread::scope(|scope| {
        let thread =
            scope.spawn(|| source.capture(&kept, &|event| drop(events.send(event)), &stop));
        let result = catch_unwind(AssertUnwindSafe(|| meanwhile(&received)));
        stop.stop();
        thread.join().unwrap();
        result.unwrap();
    });
    check(&divide(kept.0.into_inner().unwrap()), bits)
}

pub(crate) fn setup(source: &AlsaSource) -> Setup {
    source.setup().lock().unwrap().clone().unwrap()
}

pub(crate) fn assert_right(what: &str, found: &Found, at_least: u64) {
    println!("{what}: {found:?}");
    assert_eq!(found.wrong, 0, "{what}: {found:?}");
    assert!(found.right >= at_least, "{what}: {found:?}");
}

/// Sets a number (or, with 0 and 1, a switch) of the loopback, for who plays into
/// this subdevice of its first device.
pub(crate) fn set_control(name: &CStr, subdevice: u32, value: i32) {
    let control = Ctl::new("hw:Loopback", false).unwrap();
    let mut id = ElemId::new(ElemIface::PCM);
    id.set_name(name);
    id.set_device(1);
    id.set_subdevice(subdevice);
    let mut set = ElemValue::new(ElemType::Integer).unwrap();
    set.set_id(&id);
    set.set_integer(0, value).unwrap();
    control.elem_write(&set).unwrap();
}
