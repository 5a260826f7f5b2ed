//! What an ordinary user's engine gets of the kernel: with the limits that a system
//! begins with, and with those that an administrator raises in limits.d.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use v2m_client::status::{Status, ThreadStatus};
use v2m_ring::State;
use v2m_rt::{Policy, inspect};

use super::engine::Engine;
use super::guest::ms;
use super::machine::{AUDIO, ENGINE, USER};

const HOME: &str = "/tmp/listener";
const LATENCY: &str = "/dev/cpu_dma_latency";

/// A command of the engine's as the user's own.
fn own(mut command: Command) -> Command {
    command
        .uid(USER)
        .gid(AUDIO)
        .env("XDG_RUNTIME_DIR", HOME)
        .env("HOME", HOME);
    command
}

/// As udev does it: devices of the group audio.
fn give(device: &Path) {
    chown(device, Some(0), Some(AUDIO)).unwrap();
    fs::set_permissions(device, fs::Permissions::from_mode(0o660)).unwrap();
}

/// Runs the engine as the user within these limits, soft and hard; itself, and its
/// status once it captures and its threads are there.
fn within(limits: [(Resource, u64, u64); 3]) -> (Engine, Status) {
    fs::create_dir_all(HOME).unwrap();
    chown(HOME, Some(USER), Some(AUDIO)).unwrap();
    fs::set_permissions(HOME, fs::Permissions::from_mode(0o700)).unwrap();
    for device in fs::read_dir("/dev/snd").unwrap() {
        give(&device.unwrap().path());
    }
    let ours = limits.map(|(resource, ..)| getrlimit(resource).unwrap());
    for (resource, soft, hard) in limits {
        setrlimit(resource, soft, hard).unwrap();
    }
    let mut command = Engine::command("alsa:hw:Dummy", 64, "native");
    command.args(["--capture", "always"]);
    let engine = Engine::start(own(command));
    for ((resource, ..), (soft, hard)) in limits.into_iter().zip(ours) {
        setrlimit(resource, soft, hard).unwrap();
    }
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < ms(30_000), "no engine");
        let mut command = Command::new(ENGINE);
        command.args(["status", "--json"]);
        let output = own(command).output().unwrap();
        if let Ok(status) = serde_json::from_slice::<Status>(&output.stdout)
            && status.state == State::Running
            && status.threads.len() == 3
            && status
                .grants
                .iter()
                .any(|grant| grant.asked.contains(LATENCY))
        {
            for line in &status.degraded {
                println!("{line}");
            }
            return (engine, status);
        }
        sleep(ms(100));
    }
}

fn thread<'s>(status: &'s Status, name: &str) -> &'s ThreadStatus {
    let mut threads = status.threads.iter();
    threads
        .find(|thread| thread.name == name)
        .unwrap_or_else(|| panic!("{name}: {:?}", status.threads))
}

/// The kernel's own word on what is locked, in bytes.
fn locked(engine: &Engine) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", engine.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}

/// Bytes of the ring's samples alone.
fn samples(status: &Status) -> u64 {
    status.ring.history * size_of::<f32>() as u64
}

pub(crate) fn goes_on_without_limits() {
    let (engine, status) = within([
        (Resource::RLIMIT_RTPRIO, 0, 0),
        (Resource::RLIMIT_NICE, 0, 0),
        (Resource::RLIMIT_MEMLOCK, 65_536, 65_536),
    ]);
    assert!(status.ring.position > 0);
    for name in ["v2m-alsa", "v2m-wake", "v2m-vad"] {
        let thread = thread(&status, name);
        assert_eq!(inspect(thread.tid).unwrap().policy, Policy::Other);
        assert!(!thread.real_time && thread.by == "nobody", "{thread:?}");
        let why = thread.why_not.join("; ");
        for word in ["RLIMIT_RTPRIO is 0", "RTKit", "RLIMIT_NICE"] {
            assert!(why.contains(word), "{why}");
        }
        let line = format!("{name} runs without real time");
        assert!(
            status.degraded.iter().any(|said| said.starts_with(&line)),
            "{line}: {:?}",
            status.degraded
        );
    }
    assert!(locked(&engine) <= 65_536);
    let degraded = status.degraded.join("\n");
    for line in ["not granted: ring: ", "RLIMIT_MEMLOCK is 64 KiB", LATENCY] {
        assert!(degraded.contains(line), "{line}: {degraded}");
    }
}

/// Soft limits stay as they were, hard ones are raised: the engine takes what it may.
pub(crate) fn takes_what_the_limits_allow() {
    give(Path::new(LATENCY));
    let (engine, status) = within([
        (Resource::RLIMIT_RTPRIO, 0, 60),
        (Resource::RLIMIT_NICE, 0, 31),
        (Resource::RLIMIT_MEMLOCK, 65_536, 64 << 20),
    ]);
    for (name, priority) in [("v2m-alsa", 60), ("v2m-wake", 59), ("v2m-vad", 50)] {
        let thread = thread(&status, name);
        let real = inspect(thread.tid).unwrap();
        assert_eq!((real.policy, real.priority), (Policy::Fifo, priority));
        assert_eq!(thread.got, format!("fifo {priority}"), "{thread:?}");
        assert!(thread.real_time && thread.by == "limits", "{thread:?}");
        assert!(thread.why_not.is_empty(), "{thread:?}");
    }
    assert!(locked(&engine) > samples(&status), "{}", locked(&engine));
    let grants = &status.grants;
    for what in ["ring", "ALSA period", "stack of v2m-alsa", LATENCY] {
        assert!(
            grants.iter().any(|grant| grant.asked.starts_with(what)),
            "{what}: {grants:?}"
        );
    }
    assert!(grants.iter().all(|grant| grant.granted), "{grants:?}");
    // An unoptimised model may be behind.
    let unwanted = ["runs without real time", "not granted"];
    let degraded = status.degraded.join("\n");
    assert!(
        !unwanted.iter().any(|word| degraded.contains(word)),
        "{degraded}"
    );
    drop(engine);

    // Without real time, its nice value is what may be had.
    let (_engine, status) = within([
        (Resource::RLIMIT_RTPRIO, 0, 0),
        (Resource::RLIMIT_NICE, 0, 31),
        (Resource::RLIMIT_MEMLOCK, 64 << 20, 64 << 20),
    ]);
    let thread = thread(&status, "v2m-alsa");
    assert_eq!(inspect(thread.tid).unwrap().nice, -11, "{thread:?}");
    assert_eq!((&*thread.by, thread.real_time), ("nice", false));
}
