//! Where the measurement takes place: a PipeWire graph, a path through it from the
//! injector to the engine, and an engine of the bench's own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::player::{Destination, PlayerOptions};
use super::process::Process;
use super::reader;
use super::{Options, Path as Route};
use v2m_client::connection::Connection;
use v2m_client::status::Status;
use v2m_error::{Error, ErrorKind, Result};
use v2m_pw_graph as pipewire;
use v2m_ring::{Rate, Reader};

/// How long a daemon, a node or an engine may take to come up.
const PATIENCE: Duration = Duration::from_secs(8);
const INJECTOR: &str = "v2m-bench";
const ENGINE: &str = "v2m-bench-engine";
const LOOP_SINK: &str = "v2m-bench-sink";
const LOOP_SOURCE: &str = "v2m-bench-source";
/// In `private.conf`.
const PRIVATE_MIC: &str = "bench-mic";

/// Everything that is there for the run; gone when dropped, in this order.
#[derive(Debug)]
pub struct Stage {
    engine: Option<Process>,
    _loopback: Option<Process>,
    _daemon: Option<Process>,
    directory: Directory,
    environment: Vec<(&'static str, OsString)>,
    pub route: Route,
    /// PipeWire's socket, if it is not the session's.
    remote: Option<String>,
    destination: Destination,
    source: String,
}

impl Stage {
    pub fn build(options: &Options) -> Result<Self> {
        let directory = Directory::new()?;
        let session = pipewire::sources(None).is_ok();
        let named = options.node.is_some() || options.physical;
        if options.private || options.stock || (!session && !named) {
            return Self::private(directory, options);
        }
        if !session {
            let message = "no PipeWire session to measure in: log in to a desktop, or leave the path to --private";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let mut stage = Self {
            engine: None,
            _loopback: None,
            _daemon: None,
            directory,
            environment: Vec::new(),
            route: Route::Physical,
            remote: None,
            destination: Destination::DefaultSink,
            source: options.source.clone().unwrap_or_else(|| "default".into()),
        };
        if options.physical {
            if let Some(sink) = &options.sink {
                stage.destination = Destination::Node(sink.clone());
            }
            stage.check_source()?;
        } else if let Some(node) = &options.node {
            stage.route = Route::Node;
            stage.destination = Destination::Node(node.clone());
            stage.source.clone_from(node);
        } else if let Some(loopback) = loopback() {
            stage.route = Route::Loopback;
            stage.destination = Destination::Node(LOOP_SINK.into());
            stage.source = LOOP_SOURCE.into();
            stage._loopback = Some(loopback);
        } else {
            stage.route = Route::Direct;
            stage.destination = Destination::Whoever;
            stage.source = INJECTOR.into();
        }
        Ok(stage)
    }

    /// Lays the receivers in Python and C out, and what they import; where the former is, and
    /// beside it the latter.
    pub fn receiver(&self) -> Result<PathBuf> {
        let failed = |cause| Error::system("cannot write the receiver in Python", cause);
        let lay = |name: &str, text: &str| {
            let file = self.directory.0.join(name);
            fs::write(&file, text).map(|()| file).map_err(failed)
        };
        lay("recorder.py", include_str!("../python/recorder.py"))?;
        lay("receive.c", include_str!("../c/receive.c"))?;
        lay("receive.py", include_str!("../python/receive.py"))
    }

    fn private(directory: Directory, options: &Options) -> Result<Self> {
        let (quantum, lowest, highest) = match options.stock {
            true => (1024, 32, 8192),
            false => (options.quantum, options.quantum, options.quantum),
        };
        let config = include_str!("private.conf")
            .replace("{quantum}", &quantum.to_string())
            .replace("{lowest}", &lowest.to_string())
            .replace("{highest}", &highest.to_string());
        let file = directory.0.join("pipewire.conf");
        let failed = |cause| Error::system("cannot write a PipeWire configuration", cause);
        fs::write(&file, config).map_err(failed)?;
        let log = fs::File::create(directory.0.join("daemon.log")).map_err(failed)?;
        let environment = vec![
            ("XDG_RUNTIME_DIR", directory.0.clone().into_os_string()),
            ("PIPEWIRE_RUNTIME_DIR", directory.0.clone().into_os_string()),
        ];
        let mut command = Command::new("pipewire");
        command
            .arg("-c")
            .arg(&file)
            .env_remove("PIPEWIRE_REMOTE")
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut daemon = Process::start(&mut command)?;
        let socket = directory.0.join("pipewire-0");
        let remote = socket.to_string_lossy().into_owned();
        wait("the private PipeWire", || {
            if let Ok(Some(status)) = daemon.0.try_wait() {
                let log = fs::read_to_string(directory.0.join("daemon.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("no reason given").to_owned();
                let message = format!("the private PipeWire ended ({status}): {last}");
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            let sources = pipewire::sources(Some(&remote)).unwrap_or_default();
            Ok(sources
                .iter()
                .any(|source| source.name == PRIVATE_MIC)
                .then_some(()))
        })?;
        Ok(Self {
            engine: None,
            _loopback: None,
            _daemon: Some(daemon),
            directory,
            environment,
            route: Route::Private,
            remote: Some(remote),
            destination: Destination::Node(PRIVATE_MIC.into()),
            source: PRIVATE_MIC.into(),
        })
    }

    fn check_source(&self) -> Result<()> {
        let sources = pipewire::sources(None)?;
        let known = match self.source.as_str() {
            "default" => sources.iter().any(|source| source.default),
            name if name.starts_with("alsa:") => true,
            name => sources.iter().any(|source| source.name == name),
        };
        match known {
            true => Ok(()),
            false => {
                let message = format!(
                    "no source {} to hear the impulses by: see v2m-engine sources",
                    self.source
                );
                Err(Error::new(ErrorKind::Device, message))
            }
        }
    }

    /// How the injector reaches the path.
    pub fn player_options(&self) -> PlayerOptions {
        PlayerOptions {
            node_name: INJECTOR.into(),
            into: self.destination.clone(),
            remote: self.remote.clone(),
        }
    }

    /// Starts the engine and waits until it is linked to the path.
    pub fn start_engine(&mut self, quantum: u32) -> Result<()> {
        let program = std::env::current_exe()
            .map_err(|cause| Error::system("cannot find this program's own file", cause))?;
        let mut command = Command::new(program);
        command
            .args(["run", "--source", &self.source, "--node-name", ENGINE])
            .args(["--latency", &format!("{quantum}/48000")])
            .args(["--latency-lowest", "16/48000", "--log", "error"])
            // It is linked before anybody listens, and between two receivers.
            .args(["--capture", "always"])
            .envs(self.environment())
            // The user's configuration is for the user's engine.
            .env("XDG_CONFIG_HOME", &self.directory.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut engine = Process::start(&mut command)?;
        let path = self.socket();
        let mut waiting = String::from("it has not answered");
        let linked = wait("the engine to be linked", || {
            if let Ok(Some(status)) = engine.0.try_wait() {
                let message = format!("the engine ended ({status}); its reason stands above");
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            let Ok(status) = Connection::at(&path).and_then(|mut engine| engine.status()) else {
                return Ok(None);
            };
            waiting = status.source.waiting.unwrap_or_default();
            Ok(status.source.linked.map(drop))
        });
        if linked.is_err() && !waiting.is_empty() {
            let message = format!(
                "the engine captures nothing from {}: {waiting}",
                self.source
            );
            return Err(Error::new(ErrorKind::Device, message));
        }
        linked?;
        self.engine = Some(engine);
        Ok(())
    }

    /// A connection that has the stream of this rate, and its ring.
    pub fn open(&self, rate: Rate) -> Result<(Connection, Reader)> {
        let mut connection = Connection::at(&self.socket())?;
        let ring = reader::open(&mut connection, rate)?;
        Ok((connection, ring))
    }

    pub fn status(&self) -> Result<Status> {
        Connection::at(&self.socket())?.status()
    }

    /// The engine's process id; 0 before it is started.
    pub fn engine_pid(&self) -> u32 {
        self.engine.as_ref().map_or(0, |engine| engine.0.id())
    }

    fn socket(&self) -> PathBuf {
        self.directory.0.join("engine/engine.sock")
    }

    /// What leads a receiver to this graph and this engine.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut environment = self.environment.clone();
        environment.push(("V2M_ENGINE_SOCKET", self.socket().into_os_string()));
        environment.push(("V2M_BENCH_SOURCE", (&self.source).into()));
        environment
    }

    /// A directory that goes with the run.
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }
}

/// pw-loopback as a virtual cable, if the session has a manager that sets up its ports.
fn loopback() -> Option<Process> {
    let mut command = Command::new("pw-loopback");
    let end = |class: &str, name: &str| {
        format!(
            "{{ media.class = {class} node.name = {name} audio.position = [ MONO ] node.virtual = true }}"
        )
    };
    command
        .args(["--channels", "1"])
        .arg(format!("--capture-props={}", end("Audio/Sink", LOOP_SINK)))
        .arg(format!(
            "--playback-props={}",
            end("Audio/Source", LOOP_SOURCE)
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = Process::start(&mut command).ok()?;
    let deadline = Instant::now() + Duration::from_secs(3);
    // Its nodes are there at once; their ports only when a session manager made them.
    while Instant::now() < deadline {
        if pipewire::has_ports(None, LOOP_SINK).ok()?
            && pipewire::has_ports(None, LOOP_SOURCE).ok()?
        {
            return Some(process);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    tracing::warn!(
        "pw-loopback gets no ports, as without a session manager: the engine is linked to the injector itself"
    );
    None
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let message = format!("waited {} s in vain for {what}", PATIENCE.as_secs());
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory for sockets and logs, removed when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let failed = |cause| Error::system("cannot make a directory for the run", cause);
        let path = nix::unistd::mkdtemp(&std::env::temp_dir().join("v2m-bench-XXXXXX"))
            .map_err(|cause| failed(cause.into()))?;
        let directory = Self(path);
        fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        Ok(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
