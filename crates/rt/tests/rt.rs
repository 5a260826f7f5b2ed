//! What threads get of each kind of user: as root, as an ordinary one with and
//! without limits, by an RTKit, and when none of it is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use v2m_rt::{Grant, Means, Policy, Promotion, Role, inspect, lock, promote, thread_id};

/// Set in the processes that the tests start: which of [`child`]'s jobs to do.
const JOB: &str = "V2M_TEST_RT_JOB";
const NOBODY: &str = "65534";

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether this process has CAP_SYS_RESOURCE; root in a container may not.
fn may_raise_limits() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & 1 << 24 != 0
}

/// Runs `job` in this test program as an ordinary user with these limits.
fn as_nobody(job: &str, limits: &[&str], bus: &str) -> String {
    let exe = std::env::current_exe().unwrap();
    // Where everybody may execute it.
    static COPIES: AtomicU32 = AtomicU32::new(0);
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    let copy = std::env::temp_dir().join(format!("v2m-test-rt-{}-{number}", std::process::id()));
    fs::copy(exe, &copy).unwrap();
    let mut command = Command::new("prlimit");
    command.args(limits);
    if root() {
        let user = [
            "setpriv",
            "--clear-groups",
            "--inh-caps=-all",
            "--reuid",
            NOBODY,
            "--regid",
            NOBODY,
        ];
        command.args(user);
    }
    let output = command
        .arg(&copy)
        .args(["--exact", "child", "--nocapture"])
        .env(JOB, job)
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .stderr(Stdio::inherit())
        .output();
    let _ = fs::remove_file(&copy);
    let output = output.expect("prlimit and setpriv come with util-linux");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    let line = text
        .lines()
        .find_map(|line| line.split_once("RESULT "))
        .expect(&text);
    line.1.to_owned()
}

fn promotion_as_nobody(limits: &[&str], bus: &str) -> Promotion {
    serde_json::from_str(&as_nobody("promote", limits, bus)).unwrap()
}

/// A path where no bus listens.
const NO_BUS: &str = "unix:path=/nonexistent/bus";

/// The other side of the tests: does nothing in an ordinary run.
#[test]
fn child() {
    let Ok(job) = std::env::var(JOB) else { return };
    match job.as_str() {
        "promote" => println!(
            "RESULT {}",
            serde_json::to_string(&promote(Role::Capture)).unwrap()
        ),
        "lock" => {
            let bytes = vec![0u8; 1 << 20];
            println!(
                "RESULT {}",
                serde_json::to_string(&lock("test", bytes.as_ptr(), bytes.len())).unwrap()
            );
        }
        "outrun" => {
            // Twice: the first one must leave the second one protected.
            let outrun = || {
                let got = promote(Role::Vad);
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(700) {
                    std::hint::spin_loop();
                }
                (
                    got.got.unwrap().policy,
                    inspect(thread_id()).unwrap().policy,
                )
            };
            let all = [(); 2].map(|()| thread::spawn(outrun).join().unwrap());
            println!("RESULT {}", serde_json::to_string(&all).unwrap());
        }
        other => panic!("no job {other}"),
    }
}

#[test]
fn root_gets_fifo() {
    if !root() {
        return;
    }
    for role in [Role::Capture, Role::Wake, Role::Vad] {
        let got = thread::spawn(move || promote(role)).join().unwrap();
        assert_eq!(got.by, Means::Limits, "{got:?}");
        let scheduling = got.got.unwrap();
        assert_eq!(scheduling.policy, Policy::Fifo);
        assert_eq!(scheduling.priority, got.asked);
        assert_eq!(got.why_not, [""; 0]);
    }
}

#[test]
fn an_ordinary_user_goes_on_without() {
    let got = promotion_as_nobody(&["--rtprio=0", "--nice=0"], NO_BUS);
    assert_eq!(got.by, Means::Nothing, "{got:?}");
    assert_eq!(got.got.unwrap().policy, Policy::Other);
    assert_eq!(got.why_not.len(), 3);
    for (reason, word) in got
        .why_not
        .iter()
        .zip(["RLIMIT_RTPRIO is 0", "RTKit", "RLIMIT_NICE"])
    {
        assert!(reason.contains(word), "{reason}");
    }
}

#[test]
fn limits_give_what_they_allow() {
    if !may_raise_limits() {
        eprintln!(
            "skipped: raising a hard limit takes CAP_SYS_RESOURCE; tests/machine/alsa/users.rs has it"
        );
        return;
    }
    // The soft limit is raised to the hard one.
    let got = promotion_as_nobody(&["--rtprio=0:15"], NO_BUS);
    assert_eq!(got.by, Means::Limits, "{got:?}");
    let scheduling = got.got.unwrap();
    assert_eq!((scheduling.policy, scheduling.priority), (Policy::Fifo, 15));

    let got = promotion_as_nobody(&["--rtprio=0", "--nice=20:27"], NO_BUS);
    assert_eq!(got.by, Means::Nice, "{got:?}");
    assert_eq!(got.got.unwrap().nice, -7);
}

#[test]
fn a_silent_bus_holds_nobody_up() {
    let path = std::env::temp_dir().join(format!("v2m-test-silent-{}", std::process::id()));
    let _listens = std::os::unix::net::UnixListener::bind(&path).unwrap();
    open_to_all(&path);
    let got = promotion_as_nobody(
        &["--rtprio=0", "--nice=0"],
        &format!("unix:path={}", path.display()),
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(got.by, Means::Nothing);
    assert!(got.why_not[1].contains("no answer"), "{got:?}");
}

#[test]
fn memory_is_locked_within_the_limit() {
    if !root() {
        return;
    }
    let grant =
        |limit| -> Grant { serde_json::from_str(&as_nobody("lock", &[limit], NO_BUS)).unwrap() };
    assert!(grant("--memlock=65536:4194304").granted);
    let refused = grant("--memlock=65536:65536");
    assert!(
        !refused.granted
            && refused
                .why_not
                .unwrap()
                .contains("RLIMIT_MEMLOCK is 64 KiB")
    );
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

/// A bus of our own, open to every user.
struct Bus {
    daemon: Child,
    directory: PathBuf,
    address: String,
}

impl Bus {
    fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("v2m-test-bus-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        open_to_all(&directory);
        let address = format!("unix:path={}/bus", directory.display());
        let config = directory.join("bus.conf");
        let content = format!(
            "<busconfig><listen>{address}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/>\
             <allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>"
        );
        fs::write(&config, content).unwrap();
        let daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--nosyslog"])
            .spawn()
            .expect("the test's bus: install dbus-daemon");
        let socket = directory.join("bus");
        for _ in 0..500 {
            if socket.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        open_to_all(&socket);
        Self {
            daemon,
            directory,
            address,
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Grants what RTKit grants, under its conditions, by chrt.
struct RtKit;

#[zbus::interface(name = "org.freedesktop.RealtimeKit1")]
impl RtKit {
    #[zbus(property, name = "MaxRealtimePriority")]
    fn max_realtime_priority(&self) -> i32 {
        20
    }

    #[zbus(property, name = "RTTimeUSecMax")]
    fn rt_time_usec_max(&self) -> i64 {
        200_000
    }

    fn make_thread_realtime(&self, thread: u64, priority: u32) -> zbus::fdo::Result<()> {
        let refuse = |reason: String| Err(zbus::fdo::Error::AccessDenied(reason));
        let limits = fs::read_to_string(format!("/proc/{thread}/limits")).unwrap_or_default();
        let rttime = limits
            .lines()
            .find(|line| line.starts_with("Max realtime timeout"))
            .unwrap_or_default();
        let hard = rttime
            .split_whitespace()
            .nth(4)
            .and_then(|hard| hard.parse::<u64>().ok());
        if hard.is_none_or(|hard| hard > 200_000) || priority > 20 {
            return refuse(format!("RLIMIT_RTTIME is {rttime:?}, priority {priority}"));
        }
        let status = Command::new("chrt")
            .args([
                "--rr",
                "--reset-on-fork",
                "--pid",
                &priority.to_string(),
                &thread.to_string(),
            ])
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => refuse(format!("chrt: {other:?}")),
        }
    }
}

#[test]
fn rtkit_gives_real_time_and_outrunning_it_kills_nobody() {
    if !root() {
        return;
    }
    let bus = Bus::start();
    let got = promotion_as_nobody(&["--rtprio=0"], &bus.address);
    assert_eq!(got.by, Means::Nothing, "no RTKit on the bus yet: {got:?}");

    let _service = zbus::block_on(
        zbus::connection::Builder::address(bus.address.as_str())
            .name("org.freedesktop.RealtimeKit1")
            .serve_at("/org/freedesktop/RealtimeKit1", RtKit)
            .build(),
    )
    .unwrap();
    let got = promotion_as_nobody(&["--rtprio=0"], &bus.address);
    assert_eq!(got.by, Means::RtKit, "{got:?}");
    let scheduling = got.got.unwrap();
    assert_eq!(
        (scheduling.policy, scheduling.priority),
        (Policy::RoundRobin, 20)
    );

    let seen: [(Policy, Policy); 2] =
        serde_json::from_str(&as_nobody("outrun", &["--rtprio=0"], &bus.address)).unwrap();
    assert_eq!(seen, [(Policy::RoundRobin, Policy::Other); 2]);
}
