//! What is tried in the machine. Every scenario plays known content into one
//! side of a loopback and captures the other.

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use alsa::ctl::{Ctl, ElemId, ElemIface, ElemType, ElemValue};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use v2m_engine::capture::alsa::{Access, AlsaSource, Options, Setup, Stop, sources};
use v2m_engine::capture::{Block, Event, Intake};

use crate::known::{Found, Kept, check};
use crate::player::{play, silence};
use crate::{PART, allocations, engine};

/// Which run in `make test`: everything within two minutes.
pub(crate) const SCENARIOS: [(&str, fn()); 14] = [
    ("exact", exact),
    ("engine", engine::counts_what_the_player_lost),
    ("standby", engine::stands_in_for_pipewire),
    ("suspended", suspended),
    ("stalled", stalled),
    ("planar", planar),
    ("stopped_long", stopped_long),
    ("stopped_short", stopped_short),
    ("rate_shift", rate_shift),
    ("unbound", unbound),
    ("busy", busy),
    ("dummy", dummy),
    ("listed", listed),
    ("steady", steady),
];

/// Which run in `make test-vm` besides.
pub(crate) const LONG: [(&str, fn()); 1] = [("exact_all", exact_all)];

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
            .args(["--exact", "part", "--nocapture"])
            .env(PART, part)
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

    /// The rest of the next line that begins so.
    fn line(&mut self, start: &str) -> String {
        for line in self.lines.by_ref() {
            // The test harness may have begun the line.
            if let Some((_, rest)) = line.unwrap().split_once(start) {
                return rest.trim().to_owned();
            }
        }
        panic!("the other process ended without saying {start}");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
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

fn next_event(events: &Receiver<Event>) -> Event {
    events.recv_timeout(ms(15_000)).expect("an event")
}

/// Captures while `meanwhile` runs.
fn capture(
    mut source: AlsaSource,
    channels: u32,
    bits: u32,
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
    check(&kept.0.into_inner().unwrap(), channels, bits)
}

fn setup(source: &AlsaSource) -> Setup {
    source.setup().lock().unwrap().clone().unwrap()
}

fn assert_right(what: &str, found: &Found, at_least: u64) {
    println!("{what}: {found:?}");
    assert_eq!(found.wrong, 0, "{what}: {found:?}");
    assert!(found.right >= at_least, "{what}: {found:?}");
}

fn exact() {
    recorded(&[
        (48_000, 1, 16, 64),
        (48_000, 2, 16, 128),
        (44_100, 1, 32, 256),
        (44_100, 2, 32, 512),
        (48_000, 2, 32, 1024),
    ]);
}

/// Every combination.
fn exact_all() {
    let mut cases = Vec::new();
    for (rate, bits) in [(48_000, 16), (44_100, 32)] {
        for channels in [1, 2] {
            for period in [64, 128, 256, 512, 1024] {
                cases.push((rate, channels, bits, period));
            }
        }
    }
    recorded(&cases);
}

/// Records what is played, with this rate, channels, bits and period.
fn recorded(cases: &[(u32, u32, u32, u32)]) {
    for &(rate, channels, bits, period) in cases {
        let what = format!("{rate} Hz, {channels} channels, {bits} bits, period {period}");
        let _player = Other::play("hw:Loopback,0,0", rate, channels, bits, 7, 4.0);
        let options = Options {
            period: Some(period),
            ..Options::default()
        };
        let source = AlsaSource::open("hw:Loopback,1,0", options).unwrap();
        let got = setup(&source);
        let format = if bits == 16 { "S16_LE" } else { "S32_LE" };
        assert_eq!(
            (got.rate, got.channels, got.format.as_str()),
            (rate, channels, format),
            "{what}"
        );
        assert_eq!(
            (got.period, got.access.as_str()),
            (period as usize, "MMAP_INTERLEAVED")
        );
        let found = capture(source, channels, bits, |events| {
            assert!(matches!(next_event(events), Event::Linked(_)));
            sleep(ms(1200));
        });
        assert_eq!(found.len(), 1, "{what}: one life: {found:?}");
        assert_right(&what, &found[0], u64::from(rate) / 2);
    }
}

fn planar() {
    for access in [
        Access::MMapNonInterleaved,
        Access::RWInterleaved,
        Access::RWNonInterleaved,
    ] {
        let _player = Other::play("hw:Loopback,0,1", 48_000, 2, 16, 0, 3.0);
        let options = Options {
            access: Some(access),
            ..Options::default()
        };
        let mut source = AlsaSource::open("plughw:Loopback,1,1", options).unwrap();
        let got = setup(&source);
        assert_eq!(got.rate, 48_000);
        // A plug can make mono of it; it takes the average too.
        let bits = if got.format == "S16_LE" { 16 } else { 32 };
        println!("{got:?}");
        let (kept, stop) = (Kept::default(), Stop::new().unwrap());
        let (events, received) = channel();
        thread::scope(|scope| {
            scope.spawn(|| source.capture(&kept, &|event| drop(events.send(event)), &stop));
            assert!(matches!(next_event(&received), Event::Linked(_)));
            sleep(ms(1000));
            stop.stop();
        });
        let pieces = kept.0.into_inner().unwrap();
        let frames: usize = pieces.iter().map(|piece| piece.samples.len()).sum();
        assert!(frames > 24_000, "{frames} frames of {bits} bits");
        assert!(
            pieces
                .windows(2)
                .all(|pair| pair[0].position + pair[0].samples.len() as u64 <= pair[1].position)
        );
    }
}

/// Another process captures, and is stopped for `pause` in the middle.
fn stopped(period: u32, periods: u32, pause: Duration) -> Found {
    let _player = Other::play("hw:Loopback,0,2", 48_000, 2, 16, 0, 8.0);
    let mut capture = Other::start(format!("capture hw:Loopback,1,2 {period} {periods} 2 16 3"));
    capture.line("CAPTURING");
    sleep(ms(700));
    capture.signal(Signal::SIGSTOP);
    sleep(pause);
    capture.signal(Signal::SIGCONT);
    let found: Vec<Found> = serde_json::from_str(&capture.line("FOUND")).unwrap();
    assert_eq!(found.len(), 1, "one life: {found:?}");
    found.into_iter().next().unwrap()
}

/// The process that is stopped.
pub(crate) fn capture_alone(
    pcm: &str,
    period: u32,
    periods: u32,
    channels: u32,
    bits: u32,
    seconds: u64,
) {
    let options = Options {
        period: Some(period),
        periods: Some(periods),
        ..Options::default()
    };
    let source = AlsaSource::open(pcm, options).unwrap();
    let found = capture(source, channels, bits, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        println!("CAPTURING");
        sleep(Duration::from_secs(seconds));
    });
    println!("FOUND {}", serde_json::to_string(&found).unwrap());
}

fn stopped_long() {
    // Buffers that the emulated machine itself doesn't overrun when its host is busy.
    for (period, periods, pause) in [(64, 64, 500), (128, 32, 800), (1024, 8, 600)] {
        let found = stopped(period, periods, ms(pause));
        let what = format!("stopped for {pause} ms, buffer {}", period * periods);
        assert_right(&what, &found, 48_000);
        let held = u64::from(period * periods);
        let wanted = pause * 48 - held;
        // The machine may be held up besides; what it then loses is counted too.
        assert!(found.gaps >= 1 && found.lost >= wanted, "{what}: {found:?}");
        assert!(
            found.lost < 2 * wanted,
            "{what}: it goes on as before: {found:?}"
        );
    }
}

fn stopped_short() {
    let found = stopped(128, 64, ms(60));
    assert_right("stopped for 60 ms, buffer 8192", &found, 48_000);
}

/// The player's clock runs 5 % faster, then 5 % slower than it says. (Its nominal rate
/// it can't change while the other side is open; `unbound` comes back at another.)
fn rate_shift() {
    let set = |shift: i32| {
        let control = Ctl::new("hw:Loopback", false).unwrap();
        let mut id = ElemId::new(ElemIface::PCM);
        id.set_name(c"PCM Rate Shift 100000");
        id.set_device(1);
        id.set_subdevice(5);
        let mut value = ElemValue::new(ElemType::Integer).unwrap();
        value.set_id(&id);
        value.set_integer(0, shift).unwrap();
        control.elem_write(&value).unwrap();
    };
    let _player = Other::play("hw:Loopback,0,5", 48_000, 2, 16, 0, 10.0);
    let source = AlsaSource::open("hw:Loopback,1,5", Options::default()).unwrap();
    let found = capture(source, 2, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        for shift in [100_000, 105_000, 95_000] {
            set(shift);
            sleep(ms(1000));
        }
        set(100_000);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert_right("at 5 % more and less", &found[0], 96_000);
}

/// Captures the dummy card while the machine sends its devices to sleep: tasks are
/// frozen, the PCM is suspended, and everything comes back.
fn suspended() {
    let source = AlsaSource::open("hw:Dummy", Options::default()).unwrap();
    let mut slept = Duration::ZERO;
    let found = capture(source, 1, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        sleep(ms(500));
        // As far as the devices, for a second, then back: no alarm clock is needed.
        fs::write("/sys/module/suspend/parameters/pm_test_delay", "1").unwrap();
        fs::write("/sys/power/pm_test", "devices").unwrap();
        let start = Instant::now();
        fs::write("/sys/power/state", "freeze").unwrap();
        slept = start.elapsed();
        sleep(ms(1500));
        assert!(events.try_recv().is_err(), "nobody need know");
    });
    assert_eq!(found.len(), 1, "one life: {found:?}");
    let found = &found[0];
    println!("asleep for {slept:?}: {found:?}");
    // A second by the kernel's loops, which run as they please under emulation.
    assert!(slept >= ms(300), "it did not sleep");
    assert!(found.lost >= 4_800, "the loss is counted: {found:?}");
    // Position and time have gone on together, to a period and some jitter.
    assert!(found.off_us < 20_000, "{found:?}");
}

/// Plays silence for as long as it lives.
struct Ticking {
    go: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticking {
    fn start(pcm: &'static str) -> Self {
        let go = Arc::new(AtomicBool::new(true));
        let going = go.clone();
        let thread = thread::spawn(move || silence(pcm, &going));
        Self {
            go,
            thread: Some(thread),
        }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.go.store(false, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// The loopback takes its time from the dummy card, which stops: a stream that runs
/// and says nothing.
fn stalled() {
    let timer = "/proc/asound/Loopback/timer_source";
    fs::write(timer, "Dummy.0.0").unwrap();
    let ticking = Ticking::start("hw:Dummy");
    sleep(ms(300));
    let source = AlsaSource::open("hw:Loopback,1,4", Options::default()).unwrap();
    println!("{:?}", setup(&source));
    let found = capture(source, 1, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        sleep(ms(500));
        drop(ticking);
        let stopped = Instant::now();
        let event = next_event(events);
        println!("{event:?} after {:?}", stopped.elapsed());
        assert!(
            matches!(&event, Event::Waiting(reason) if reason.contains("hw:Loopback,1,4")),
            "{event:?}"
        );
        let _ticking = Ticking::start("hw:Dummy");
        assert!(matches!(next_event(events), Event::Linked(_)));
        sleep(ms(500));
    });
    fs::write(timer, "\n").unwrap();
    println!("{found:?}");
    assert!(found.len() >= 2 && found.last().unwrap().frames > 4_800);
}

fn unbound() {
    let driver = "/sys/bus/platform/drivers/snd_aloop";
    let player = Other::play("hw:Loopback,0,3", 48_000, 1, 16, 0, 10.0);
    let source = AlsaSource::open("hw:Loopback,1,3", Options::default()).unwrap();
    let found = capture(source, 1, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        sleep(ms(500));
        // Under the player too: had it ended before, silence would come last.
        fs::write(format!("{driver}/unbind"), "snd_aloop.0").unwrap();
        drop(player);
        let event = next_event(events);
        assert!(
            matches!(&event, Event::Waiting(reason) if reason.contains("hw:Loopback,1,3 is gone")),
            "{event:?}"
        );
        sleep(ms(500));
        assert!(events.try_recv().is_err(), "said once");
        fs::write(format!("{driver}/bind"), "snd_aloop.0").unwrap();
        let bound = Instant::now();
        // Quicker than the capture, which so finds another rate than before.
        thread::spawn(|| play("hw:Loopback,0,3", 44_100, 1, 16, 500, 4.0));
        assert!(matches!(next_event(events), Event::Linked(_)));
        println!("back after {} ms", bound.elapsed().as_millis());
        sleep(ms(1000));
    });
    println!("{found:?}");
    assert_eq!(found.len(), 2);
    assert_right("before it was unbound", &found[0], 12_000);
    assert_eq!(found[1].rate, 44_100);
    assert_right("after it was bound again", &found[1], 22_050);
}

fn busy() {
    let (keep, options) = (
        AlsaSource::open("hw:Loopback,1,4", Options::default()).unwrap(),
        Options::default(),
    );
    let error = AlsaSource::open("hw:Loopback,1,4", options)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("hw:Loopback,1,4 is in use"), "{error}");
    // Let go of while another one waits for it.
    drop(keep);
    let source = AlsaSource::open("hw:Loopback,1,4", options).unwrap();
    drop(source);
    for name in ["hw:Loopback,7", "hw:Nothing"] {
        let error = AlsaSource::open(name, options).err().unwrap().to_string();
        assert!(
            error.contains(&format!("there is no ALSA PCM {name}")),
            "{error}"
        );
    }
}

fn dummy() {
    let source = AlsaSource::open("hw:Dummy", Options::default()).unwrap();
    println!("{:?}", setup(&source));
    let found = capture(source, 1, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        sleep(ms(1000));
    });
    let found = &found[0];
    println!("{found:?}");
    let all = found.frames + found.lost;
    assert!((40_000..72_000).contains(&all), "about a second: {found:?}");
}

fn listed() {
    let names: Vec<String> = sources().into_iter().map(|source| source.name).collect();
    println!("{names:?}");
    for card in ["hw:CARD=Loopback,DEV=1", "hw:CARD=Dummy,DEV=0"] {
        assert!(
            names.iter().any(|name| name == &format!("alsa:{card}")),
            "{card}"
        );
    }
}

/// Notes how much its thread had allocated at its first block but four and now.
#[derive(Default)]
struct Allocated {
    blocks: AtomicU64,
    first: AtomicU64,
    last: AtomicU64,
}

impl Intake for Allocated {
    fn block(&self, _: &Block<'_>) {
        if self.blocks.fetch_add(1, Ordering::Relaxed) == 4 {
            self.first.store(allocations(), Ordering::Relaxed);
        }
        self.last.store(allocations(), Ordering::Relaxed);
    }
}

fn steady() {
    let _player = Other::play("hw:Loopback,0,6", 48_000, 2, 16, 0, 4.0);
    let mut source = AlsaSource::open("hw:Loopback,1,6", Options::default()).unwrap();
    let (intake, stop) = (Allocated::default(), Stop::new().unwrap());
    let (events, _received) = channel();
    thread::scope(|scope| {
        scope.spawn(|| source.capture(&intake, &|event| drop(events.send(event)), &stop));
        sleep(ms(1000));
        stop.stop();
    });
    let [blocks, first, last] =
        [intake.blocks, intake.first, intake.last].map(AtomicU64::into_inner);
    println!("{blocks} blocks, {first} allocations before the fifth, {last} in all");
    assert!(
        blocks > 20 && first > 0 && first == last,
        "the loop allocates"
    );
}
