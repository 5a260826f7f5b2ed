//! What the machine and the session are like.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::utsname::uname;
use nix::unistd::{AccessFlags, Group, access, getegid, geteuid, getgroups};

use super::Sandbox;
use super::listen::{Heard, listen};
use crate::capture::pipewire::{Source, Survey, survey};
use crate::config::{Config, SourceSpec};
use crate::detect::detector::Detector;
use v2m_client::connection::Connection;
use v2m_client::quantum::Quantum;
use v2m_client::status::{EchoStatus, MicrophoneStatus, StreamStatus};
use v2m_error::{Error, ErrorKind};
use v2m_pw_filter::Version;
use v2m_rt as rt;

/// Everything that [`super::judge`] goes by.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What PipeWire says, or why it can't be reached.
    pub pipewire: Result<Survey, String>,
    /// Whether the session says where its sockets are: `XDG_RUNTIME_DIR`.
    pub runtime_directory: bool,
    /// The user's systemd runs.
    pub systemd: bool,
    /// What is around the engine, unless the user's systemd runs in it, too.
    pub sandbox: Option<Sandbox>,
    /// The distribution's release, such as `debian bookworm`.
    pub release: String,
    /// PipeWire's daemon is installed.
    pub has_pipewire: bool,
    /// WirePlumber is.
    pub has_session_manager: bool,
    /// Of libpipewire, as it is loaded.
    pub library: Version,
    /// What some seconds of listening gave, or why nothing; `None` where the source is a file.
    pub heard: Option<Result<Heard, String>>,
    /// What the running service does, or why it doesn't say; `None` if none runs.
    pub service: Option<Result<Service, String>>,
    /// The quantum that the engine asks the graph for.
    pub latency: Quantum,
    /// The highest SCHED_FIFO priority that the limits allow; 99 with CAP_SYS_NICE.
    pub rtprio: u64,
    /// The highest priority that RTKit gives, or why none.
    pub rtkit: Result<i32, String>,
    /// There is a system bus, by which RTKit could be asked.
    pub system_bus: bool,
    /// Bytes that may be locked; `u64::MAX` for any number.
    pub memlock: u64,
    /// Bytes that a ring takes.
    pub ring_bytes: u64,
    /// The kernel's version: major, minor.
    pub kernel: (u32, u32),
    /// What the kernel says of itself, with its kind of preemption.
    pub kernel_build: String,
    /// How far a kernel that leaves it open may be preempted: `none`, `voluntary`,
    /// `lazy` or `full`; `None` if that can't be found out.
    pub preempt: Option<String>,
    /// 0 for everybody, 1 for a group, 2 for nobody; `None` on kernels without the switch.
    pub io_uring_disabled: Option<u32>,
    /// Whether `/dev/cpu_dma_latency` can be written.
    pub dma_latency: bool,
    /// Whether ALSA is built in.
    pub alsa: bool,
    /// Capture devices under `/dev/snd`, and how many of them can be opened.
    pub cards: (usize, usize),
    /// The user's groups.
    pub groups: Vec<String>,
    /// A login manager gives devices to who sits at the machine, and takes them back.
    pub logind: bool,
    /// Who needs no group.
    pub root: bool,
    /// Where ONNX Runtime is, or why it is not used.
    pub onnx: Result<String, String>,
    /// The udev rules, if they are installed.
    pub udev_rules: Option<PathBuf>,
    /// The systemd user unit, if it is installed.
    pub unit: Option<PathBuf>,
    /// What finds speech as configured, or why nothing does; `None` if nothing is to.
    pub vad: Result<Option<String>, Error>,
}

/// Of the running service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// The sources that it has open.
    pub streams: Vec<StreamStatus>,
    /// What it takes off its own source; `None` if that isn't `clean`.
    pub echo: Option<EchoStatus>,
    /// The virtual microphone, if there is to be one.
    pub microphone: Option<MicrophoneStatus>,
}

impl Facts {
    /// For whose users the project's backports are.
    pub(super) fn is_bookworm(&self) -> bool {
        self.release == "debian bookworm"
    }

    /// Looks at this machine and listens to its source: some seconds. Loads the model
    /// that is configured, to see that it can be.
    pub fn gather(config: &Config) -> Self {
        let source = match &config.source {
            SourceSpec::Pipewire(source) | SourceSpec::Clean(source) => source.clone(),
            _ => Source::Default,
        };
        let pipewire = survey(None, &source).map_err(|error| error.to_string());
        let system = uname().ok();
        let text = |part: Option<&std::ffi::OsStr>| {
            part.unwrap_or_default().to_string_lossy().into_owned()
        };
        let systemd =
            runtime_directory().is_some_and(|directory| directory.join("systemd/private").exists());
        let memlock = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(_, hard)| hard);
        Self {
            heard: listen(config, pipewire.is_ok()),
            pipewire,
            runtime_directory: runtime_directory().is_some(),
            systemd,
            sandbox: Sandbox::around().filter(|_| !systemd),
            release: release(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
            has_pipewire: has_program("pipewire"),
            has_session_manager: has_program("wireplumber"),
            service: service(),
            library: v2m_pw_filter::filter::library_version(),
            latency: config.latency,
            rtprio: rtprio(),
            rtkit: rt::rtkit_priority(),
            system_bus: Path::new("/run/dbus/system_bus_socket").exists(),
            memlock: if has_capability(14) {
                u64::MAX
            } else {
                memlock
            },
            ring_bytes: config.history.next_power_of_two() * size_of::<f32>() as u64,
            preempt: preempt(&text(system.as_ref().map(|system| system.release()))),
            kernel: version(&text(system.as_ref().map(|system| system.release()))),
            kernel_build: text(system.as_ref().map(|system| system.version())),
            io_uring_disabled: fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            dma_latency: access("/dev/cpu_dma_latency", AccessFlags::W_OK).is_ok(),
            alsa: cfg!(feature = "alsa"),
            cards: cards(),
            groups: groups(),
            logind: Path::new("/run/systemd/seats").exists(),
            root: geteuid().is_root(),
            onnx: onnx(),
            udev_rules: installed(
                &[
                    "/etc/udev/rules.d",
                    "/usr/lib/udev/rules.d",
                    "/lib/udev/rules.d",
                ],
                ".rules",
            ),
            unit: unit(),
            vad: Detector::open(&config.vad)
                .map(|detector| detector.map(|detector| detector.name().to_owned())),
        }
    }
}

fn runtime_directory() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    set.map(PathBuf::from)
}

/// "debian bookworm", of os-release(5).
fn release(text: &str) -> String {
    let value = |key: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    format!("{} {}", value("ID"), value("VERSION_CODENAME"))
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .any(|directory| access(&directory.join(name), AccessFlags::X_OK).is_ok())
}

fn service() -> Option<Result<Service, String>> {
    let status = Connection::service().and_then(|mut service| service.status());
    match status {
        Err(error) if error.kind() == ErrorKind::Unavailable => None,
        Err(error) => Some(Err(error.to_string())),
        Ok(status) => Some(Ok(Service {
            streams: status.streams,
            echo: status.source.echo,
            microphone: status.virtual_microphone,
        })),
    }
}

/// CAP_SYS_NICE is 23, CAP_IPC_LOCK 14 (capabilities(7)).
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set >> number & 1 == 1)
}

fn rtprio() -> u64 {
    let limit = getrlimit(Resource::RLIMIT_RTPRIO).map_or(0, |(_, hard)| hard);
    if has_capability(23) {
        99
    } else {
        limit.min(99)
    }
}

/// Silero runs without it: it is for other models.
#[cfg(feature = "ort")]
fn onnx() -> Result<String, String> {
    use crate::detect::runtime::{Places, find};
    let found = find(&Places::default()).map_err(|error| error.to_string())?;
    Ok(format!("{} at {}", found.version, found.path.display()))
}

#[cfg(not(feature = "ort"))]
fn onnx() -> Result<String, String> {
    Err("this build has no use for it".into())
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// As the kernel is now (which root may read), was booted, or was built.
fn preempt(release: &str) -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let now = read("/sys/kernel/debug/sched/preempt");
    let booted = read("/proc/cmdline");
    let built = read(&format!("/boot/config-{release}"));
    in_brackets(&now)
        .or_else(|| booted_as(&booted))
        .or_else(|| built_as(&built))
        .map(str::to_owned)
}

/// "none voluntary (full)".
fn in_brackets(now: &str) -> Option<&str> {
    Some(now.split_once('(')?.1.split_once(')')?.0)
}

fn booted_as(line: &str) -> Option<&str> {
    // The last one counts.
    let mut words = line.split_whitespace().rev();
    words.find_map(|word| word.strip_prefix("preempt="))
}

fn built_as(config: &str) -> Option<&'static str> {
    let kinds = [
        ("CONFIG_PREEMPT_NONE=y", "none"),
        ("CONFIG_PREEMPT_VOLUNTARY=y", "voluntary"),
        ("CONFIG_PREEMPT_LAZY=y", "lazy"),
        ("CONFIG_PREEMPT=y", "full"),
    ];
    let mut lines = config.lines();
    lines.find_map(|line| Some(kinds.iter().find(|(option, _)| *option == line)?.1))
}

fn cards() -> (usize, usize) {
    let capture = fs::read_dir("/dev/snd")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("pcm") && name.ends_with('c')
        });
    let usable = |path: &PathBuf| access(path, AccessFlags::R_OK | AccessFlags::W_OK).is_ok();
    capture.fold((0, 0), |(all, ours), path| {
        (all + 1, ours + usize::from(usable(&path)))
    })
}

fn groups() -> Vec<String> {
    let ids = getgroups().unwrap_or_default();
    ids.into_iter()
        .chain([getegid()])
        .filter_map(|id| Group::from_gid(id).ok().flatten())
        .map(|group| group.name)
        .collect()
}

fn unit() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(Path::new(&home).join(".config"))
        });
    let own = config.map(|config| config.join("systemd/user"));
    let own = own.as_deref().and_then(Path::to_str).unwrap_or_default();
    installed(
        &[
            own,
            "/etc/systemd/user",
            "/usr/local/lib/systemd/user",
            "/usr/lib/systemd/user",
        ],
        ".service",
    )
}

/// The first file of ours with this ending.
fn installed(directories: &[&str], ending: &str) -> Option<PathBuf> {
    let files = directories
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .flatten();
    files.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains("v2m-engine") && name.ends_with(ending)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    #[test]
    fn releases_are_read() {
        assert_eq!(version("6.1.0-56-amd64"), (6, 1));
        assert_eq!(version("7.0-rc1"), (7, 0));
        assert_eq!(version("odd"), (0, 0));
    }

    #[test]
    fn a_distribution_says_its_release() {
        let text =
            "PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(release(text), "debian bookworm");
        assert_eq!(release("ID=\"arch\""), "arch ");
    }

    #[test]
    fn preemption_is_read_from_what_there_is() {
        assert_eq!(in_brackets("none voluntary (full)\n"), Some("full"));
        assert_eq!(
            booted_as("preempt=full quiet preempt=voluntary ro\n"),
            Some("voluntary")
        );
        let debian = "CONFIG_PREEMPT_BUILD=y\n# CONFIG_PREEMPT_NONE is not set\n\
                      CONFIG_PREEMPT_VOLUNTARY=y\nCONFIG_PREEMPT_DYNAMIC=y\n";
        assert_eq!(built_as(debian), Some("voluntary"));
        assert_eq!(
            (in_brackets(""), booted_as("quiet"), built_as("")),
            (None, None, None)
        );
    }

    #[test]
    fn every_machine_has_facts() {
        let config = Config::from_layer(Layer::default()).unwrap();
        let facts = Facts::gather(&config);
        assert!(facts.kernel.0 >= 3 && !facts.kernel_build.is_empty());
        assert!(facts.cards.1 <= facts.cards.0);
        assert!(facts.vad.unwrap().unwrap().contains("native"));
    }
}
