//! The engine itself on a real driver: what its counters say of a loss, beside
//! what the player knows it played.

use std::fs;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use v2m_client::connection::Connection;
use v2m_ring::{EventLane, Reader, State};

use super::guest::{Other, ms, set_control};
use super::machine::ENGINE;
use crate::known::{CYCLE, sample16};

const PERIOD: u64 = 64;
/// A quarter of a second, which the emulated machine itself doesn't overrun.
const PERIODS: u64 = 64;
/// What is played: samples of the ring's own rate, which nothing converts.
const RATE: u64 = 16_000;

pub(crate) struct Engine(Child);

impl Engine {
    /// What starts it. Speech detection takes an unoptimised build on an emulated
    /// machine too long: `off`, unless it needn't keep up.
    pub(crate) fn command(source: &str, periods: u64, vad: &str) -> Command {
        let (period, periods) = (PERIOD.to_string(), periods.to_string());
        let mut command = Command::new(ENGINE);
        command
            .args(["run", "--source", source, "--history", "30"])
            .args(["--alsa-period", &period, "--alsa-periods", &periods])
            .args(["--vad-backend", vad]);
        command
    }

    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// A connection to it, once audio flows.
    pub(crate) fn capturing(&self) -> (Connection, Reader) {
        let start = Instant::now();
        let (connection, reader): (Connection, Reader) = loop {
            assert!(start.elapsed() < ms(20_000), "no engine");
            let opened = Connection::service().and_then(|mut connection| {
                let (reader, _) = connection.open(None)?;
                Ok((connection, reader))
            });
            if let Ok(opened) = opened {
                break opened;
            }
            sleep(ms(100));
        };
        while reader.state() != State::Running || reader.committed() < RATE / 4 {
            assert!(start.elapsed() < ms(30_000), "no audio");
            sleep(ms(50));
        }
        (connection, reader)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id() as i32), signal).unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Stretches of audio in the ring: position, length, and the frame played at position 0.
fn stretches(samples: &[f32]) -> Vec<(u64, u64, u64)> {
    let mut index_of = vec![0; CYCLE as usize];
    (0..CYCLE).for_each(|index| index_of[usize::from(sample16(index) as u16)] = index);
    let mut found: Vec<(u64, u64, u64)> = Vec::new();
    for (position, sample) in (0..).zip(samples) {
        let whole = sample * 32_768.0;
        assert_eq!(whole, whole.round(), "16 bits come through as they are");
        let index = index_of[usize::from(whole as i16 as u16)];
        let offset = (index + CYCLE - position % CYCLE) % CYCLE;
        match found.last_mut() {
            Some((first, length, known)) if *first + *length == position && *known == offset => {
                *length += 1;
            }
            // Silence is a sample of its own, once a cycle.
            _ if whole == 0.0 => {}
            _ => found.push((position, 1, offset)),
        }
    }
    found
}

pub(crate) fn counts_what_the_player_lost() {
    let _player = Other::play("hw:Loopback,0,6", RATE as u32, 1, 16, 1, 12.0);
    let engine = Engine::start(Engine::command("alsa:hw:Loopback,1,6", PERIODS, "off"));
    let (mut connection, reader) = engine.capturing();
    let pauses = [500, 900];
    for pause in pauses {
        engine.signal(Signal::SIGSTOP);
        sleep(ms(pause));
        engine.signal(Signal::SIGCONT);
        sleep(ms(800));
    }
    let status = connection.status().unwrap();
    for thread in &status.threads {
        println!("{} {}", thread.name, thread.got);
    }
    let audio = status
        .threads
        .iter()
        .find(|thread| thread.name == "v2m-alsa");
    assert!(audio.is_some_and(|thread| thread.got.starts_with("fifo")));
    let mut samples = vec![0.0; reader.committed() as usize];
    reader.read_samples(0, &mut samples).unwrap();
    let lost = reader.losses();
    let found = stretches(&samples);
    println!("{lost:?} {found:?}");
    // One stretch for the time before the first stop, between, and after the last;
    // the machine may have been held up besides.
    assert!(found.len() > pauses.len(), "{found:?}");
    let (mut silent, mut played) = (0, 0);
    for pair in found.windows(2) {
        let [(first, length, offset), (next, _, other)] = pair else {
            unreachable!()
        };
        let gap = next - (first + length);
        // What the player had played meanwhile.
        let missed = gap + (other + CYCLE - offset) % CYCLE;
        let missed = if missed > CYCLE {
            missed - CYCLE
        } else {
            missed
        };
        assert!(missed.abs_diff(gap) <= PERIOD, "{gap} for {missed}");
        assert!(reader.has_gap(first + length, gap), "flagged");
        (silent, played) = (silent + gap, played + missed);
    }
    let held = PERIOD * PERIODS;
    let wanted: u64 = pauses.iter().map(|pause| pause * RATE / 1000 - held).sum();
    assert!(played >= wanted, "{played} of {wanted} frames lost");
    // The last stretch of silence may not be over when the counters were read.
    let tolerance = PERIOD * found.len() as u64;
    assert!(
        lost.samples.abs_diff(played) <= tolerance,
        "{lost:?}, the player lost {played}"
    );
    assert!(
        lost.samples.abs_diff(silent) <= tolerance,
        "{lost:?}, silent {silent}"
    );
}

/// A player that had agreed on 16 kHz before capture began at 48 kHz starts to
/// play: the driver stops the capture, which has to come to the player's rate. (Once
/// both sides are prepared, the driver has neither of them take another.)
pub(crate) fn follows_the_players_rate() {
    set_control(c"PCM Notify", 7, 1);
    // A machine that is held up lets the driver's timer be late, which then doesn't tell
    // of all that it captured: that much longer is the gap, and right.
    let exact = (0..3).any(|_| change_of_rate() <= 2 * PERIOD);
    assert!(exact, "see above");
}

/// How many samples the gap differs from what the player played in it.
fn change_of_rate() -> u64 {
    let mut player = Other::play_late("hw:Loopback,0,7", RATE as u32, 4.0);
    // A buffer that lasts at 48 kHz too.
    let engine = Engine::start(Engine::command("alsa:hw:Loopback,1,7", 4 * PERIODS, "off"));
    let (mut connection, reader) = engine.capturing();
    let before = connection.status().unwrap().source;
    assert_eq!(before.rate, 48_000, "{before:?}");
    player.go();
    player.line("PLAYING");
    sleep(ms(2000));
    let after = connection.status().unwrap().source;
    println!("{after:?}");
    assert_eq!((after.rate, after.waiting), (RATE as u32, None));

    let mut samples = vec![0.0; reader.committed() as usize];
    let lost = reader.losses();
    reader.read_samples(0, &mut samples).unwrap();
    let found = stretches(&samples);
    let (first, length, offset) = found[0];
    let (from, to) = reader.gap_at(first - 1).expect("the change is a gap");
    println!("{found:?}, gap from {from} to {to}, {lost:?}");
    assert!(length > RATE, "{found:?}");
    // Silence before, and so the player's first frame belongs to where the gap begins,
    // less a period not yet captured then, the resampler's delay and a jiffy of the driver's.
    let (played, gap) = ((offset + first - 1) % CYCLE, first - from);
    println!("{gap} for {played}");
    assert!(gap + 2 * PERIOD >= played, "{gap} for {played}");
    assert!(to <= first && first - to <= PERIOD, "it ends with audio");
    // The counters have this gap and, were the machine held up, others.
    let all: u64 = (0..reader.records_committed(EventLane::Gaps))
        .filter_map(|number| reader.record(EventLane::Gaps, number))
        .map(|gap| gap.length)
        .sum();
    let edges = PERIOD * lost.gaps;
    assert!(
        lost.samples <= all && lost.samples + edges >= all,
        "{lost:?} of {all}"
    );
    gap.abs_diff(played)
}

/// Nothing of PipeWire is there, not even its modules: the default source is ALSA's
/// or, where its `dsnoop` finds no group to share with, the first card's.
pub(crate) fn stands_in_for_pipewire() {
    stood_in_by("alsa:default");
    fs::rename("/etc/group", "/etc/no-group").unwrap();
    stood_in_by("alsa:hw:CARD=Loopback,DEV=0");
    fs::rename("/etc/no-group", "/etc/group").unwrap();
}

fn stood_in_by(pcm: &str) {
    let engine = Engine::start(Engine::command("default", PERIODS, "off"));
    let source = engine.capturing().0.status().unwrap().source;
    println!("{source:?}");
    assert_eq!((&*source.asked, &*source.backend), ("default", "alsa"));
    assert_eq!(source.linked.as_deref(), Some(pcm));
    assert!(source.fallback.is_some());
}
