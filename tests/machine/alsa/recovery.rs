//! What stops a stream, and how it goes on: the machine asleep, a card that says
//! nothing, a driver that is unbound, a program that is stopped.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::sys::signal::Signal;
use v2m_engine::capture::Event;
use v2m_engine::capture::alsa::{AlsaSource, Options};

use super::guest::{
    Other, assert_right, capture, capture_as, ms, next_event, set_control, setup, whole,
};
use super::player::{play, silence};
use crate::known::{Found, apart};

/// Another process captures, and is stopped for `pause` in the middle.
fn stopped(period: u32, periods: u32, pause: Duration) -> Found {
    let _player = Other::play("hw:Loopback,0,2", 48_000, 2, 16, 0, 8.0);
    let capture = Other::capture("hw:Loopback,1,2", period, periods, 2);
    let found = stop(capture, pause);
    assert_eq!(found.len(), 1, "one life: {found:?}");
    found.into_iter().next().unwrap()
}

fn stop(mut capture: Other, pause: Duration) -> Vec<Found> {
    capture.line("CAPTURING");
    sleep(ms(700));
    capture.signal(Signal::SIGSTOP);
    sleep(pause);
    capture.signal(Signal::SIGCONT);
    serde_json::from_str(&capture.line("FOUND")).unwrap()
}

/// The process that is stopped: captures 16 bits for so long, and says what it found.
pub(crate) fn capture_alone(pcm: &str, period: u32, periods: u32, seconds: u64) {
    let options = Options {
        period: Some(period),
        periods: Some(periods),
        ..Options::default()
    };
    let source = AlsaSource::open(pcm, options).unwrap();
    // Plugins are started anew after a loss, whose length is then known by time.
    let known = if pcm.starts_with("hw:") { whole } else { apart };
    let found = capture_as(source, 16, known, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        println!("CAPTURING");
        sleep(Duration::from_secs(seconds));
    });
    println!("FOUND {}", serde_json::to_string(&found).unwrap());
}

pub(crate) fn stopped_long() {
    // Buffers that the emulated machine itself doesn't overrun when its host is busy.
    for (period, periods, pause) in [(64, 64, 500), (128, 32, 800), (1024, 8, 600)] {
        let found = stopped(period, periods, ms(pause));
        let what = format!("stopped for {pause} ms, buffer {}", period * periods);
        assert_right(&what, &found, 24_000);
        // And a jiffy of the loopback's clock.
        let held = u64::from(period * periods) + 192;
        let wanted = pause * 48 - held;
        // The machine may be held up besides; what it then loses is counted too.
        assert!(found.gaps >= 1 && found.lost >= wanted, "{what}: {found:?}");
        assert!(
            found.lost < 2 * wanted,
            "{what}: it goes on as before: {found:?}"
        );
    }
}

pub(crate) fn stopped_short() {
    let found = stopped(128, 64, ms(60));
    assert_right("stopped for 60 ms, buffer 8192", &found, 24_000);
}

/// The same behind plugins: one that shares the card, and one that changes the volume in the very
/// memory of that; and one that converts.
pub(crate) fn stopped_plugins() {
    let (softvol, dsnoop) = ("default:CARD=Loopback", "dsnoop:CARD=Loopback");
    for pcm in [softvol, softvol, dsnoop, "plughw:Loopback,0,0"] {
        let now = UNIX_EPOCH.elapsed().unwrap();
        let pause = 450 + u64::from(now.subsec_micros()) % 1000;
        let _player = Other::play("hw:Loopback,1,0", 48_000, 2, 16, 0, 8.0);
        let found = stop(Other::capture(pcm, 128, 64, 3), ms(pause));
        let what = format!("{pcm} stopped for {pause} ms");
        println!("{what}: {found:?}");
        assert!(found.len() >= 2, "{what}: nothing was lost");
        for (number, stretch) in found.iter().enumerate() {
            assert_eq!(stretch.wrong, 0, "{what}, stretch {number}");
        }
        let right: u64 = found.iter().map(|stretch| stretch.right).sum();
        assert!(right >= 48_000, "{what}: it goes on as before");
    }
}

/// Captures the dummy card while the machine sends its devices to sleep: tasks are
/// frozen, the PCM is suspended, and everything comes back.
pub(crate) fn suspended() {
    let source = AlsaSource::open("hw:Dummy", Options::default()).unwrap();
    let mut slept = Duration::ZERO;
    let found = capture(source, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        sleep(ms(500));
        // As far as the devices, for a second, then back: no alarm clock is needed.
        fs::write("/sys/module/suspend/parameters/pm_test_delay", "1").unwrap();
        fs::write("/sys/power/pm_test", "devices").unwrap();
        let start = Instant::now();
        fs::write("/sys/power/state", "freeze").unwrap();
        slept = start.elapsed();
        sleep(ms(1000));
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
pub(crate) fn stalled() {
    let timer = "/proc/asound/Loopback/timer_source";
    fs::write(timer, "Dummy.0.0").unwrap();
    let ticking = Ticking::start("hw:Dummy");
    sleep(ms(300));
    let source = AlsaSource::open("hw:Loopback,1,4", Options::default()).unwrap();
    println!("{:?}", setup(&source));
    let found = capture(source, 16, |events| {
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

pub(crate) fn unbound() {
    let driver = "/sys/bus/platform/drivers/snd_aloop";
    let player = Other::play("hw:Loopback,0,3", 48_000, 1, 16, 0, 10.0);
    let source = AlsaSource::open("hw:Loopback,1,3", Options::default()).unwrap();
    let found = capture(source, 16, |events| {
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

/// A player at another rate than the driver lets the capture have: it can't start
/// until that is gone, says so, and goes on then.
pub(crate) fn no_rate_left() {
    let name = "hw:Loopback,1,7";
    set_control(c"PCM Notify", 7, 0);
    let mut player = Other::play_late("hw:Loopback,0,7", 44_100, 2.0);
    let source = AlsaSource::open(name, Options::default()).unwrap();
    let found = capture(source, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        player.go();
        let event = next_event(events);
        let reason = format!("{name} starts at no rate that it offers (EIO");
        assert!(
            matches!(&event, Event::Waiting(why) if why.contains(&reason)),
            "{event:?}"
        );
        drop(player);
        assert!(matches!(next_event(events), Event::Linked(_)));
        sleep(ms(300));
    });
    println!("{found:?}");
    let rates: Vec<u32> = found.iter().map(|life| life.rate).collect();
    assert_eq!(rates, [48_000, 48_000]);
}
