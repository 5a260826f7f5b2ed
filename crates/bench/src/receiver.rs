//! Those who receive the impulses: what they are, and one stretch of listening by each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver as Inbox, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::load::Load;
use super::process::{Process, cpu_ns, thread_cpu_ns};
use super::reader;
use super::recording::Recording;
use super::stage::Stage;
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::Rate;
use v2m_rt as rt;

/// How long a receiver may take to its first audio, and to hand over what it recorded.
const PATIENCE: Duration = Duration::from_secs(15);

/// A receiver: a command that speaks as [`recording`](super::recording) says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What it is, for people.
    pub name: String,
    /// In which form: `default` or `best` of a peer; of ours, the stream's rate.
    #[serde(default)]
    pub form: String,
    #[serde(default)]
    pub python: bool,
    /// Program and arguments; empty for the reader in the bench's own process.
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Seconds that it may be behind: it goes on for so long after the last impulse counted.
    #[serde(default = "short_drain")]
    pub drain_s: f64,
    /// Why it can't be measured; then it is only reported.
    #[serde(default)]
    pub missing: Option<String>,
    /// It has its turn in one round of so many.
    #[serde(default = "each")]
    pub every: u32,
    /// The engine's stream that it reads; a peer reads none.
    #[serde(skip)]
    pub stream: Option<Rate>,
}

fn short_drain() -> f64 {
    0.6
}

fn each() -> u32 {
    1
}

/// Our own receivers on streams of these rates, in the order of the report; those in Python are
/// `script`, and that in C is compiled of `source`.
pub fn ours(
    rates: &[Rate],
    python: &str,
    script: &Path,
    source: &Path,
    load: Load,
) -> Result<Vec<Spec>> {
    let all = readers(python, script, source, load)?;
    let of_rate = |rate: &Rate| {
        let hertz = rate.hz().to_string();
        let form = format!("{} kHz", f64::from(rate.hz()) / 1000.0);
        let stream = Some(*rate);
        all.clone().into_iter().map(move |mut spec| {
            if !spec.command.is_empty() {
                spec.command.extend(["--rate".into(), hertz.clone()]);
            }
            Spec {
                form: form.clone(),
                stream,
                ..spec
            }
        })
    };
    Ok(rates.iter().flat_map(of_rate).collect())
}

/// One for each way to read, for a stream of any rate.
fn readers(python: &str, script: &Path, source: &Path, load: Load) -> Result<Vec<Spec>> {
    let program = std::env::current_exe()
        .map_err(|cause| Error::system("cannot find this program's own file", cause))?;
    let one = |name: &str, command: Vec<String>, python| Spec {
        name: name.into(),
        form: String::new(),
        python,
        command,
        env: BTreeMap::new(),
        drain_s: short_drain(),
        missing: None,
        every: each(),
        stream: None,
    };
    let missing = python_module(python, "v2m_engine", "v2m-engine").err();
    let no_uvloop = python_module(python, "uvloop", "uvloop").err();
    let in_python = |name: &str, arguments: &[&str]| {
        let mut command = vec![python.to_owned(), script.to_string_lossy().into_owned()];
        command.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Spec {
            missing: missing.clone(),
            ..one(name, command, true)
        }
    };
    let program = program.to_string_lossy().into_owned();
    let in_c = match compiled(source) {
        Ok(program) => one(IN_C, vec![program], false),
        Err(why) => Spec {
            missing: Some(why),
            ..one(IN_C, Vec::new(), false)
        },
    };
    let mut all = vec![
        one(INSIDE, Vec::new(), false),
        one(
            PLAIN,
            vec![program, "bench".into(), "receiver".into()],
            false,
        ),
        in_c,
        in_python(SYNC, &["sync"]),
        in_python(ASYNCIO, &["asyncio"]),
        Spec {
            missing: missing.clone().or(no_uvloop),
            ..in_python(UVLOOP, &["uvloop"])
        },
    ];
    if load == Load::None {
        all.push(in_python(FLOOR, &["floor"]));
    }
    if load == Load::Gil {
        all.push(in_python(
            SYNC_REMEDY,
            &["sync", "--switch-interval", "0.0002"],
        ));
        all.push(in_python(
            ASYNCIO_REMEDY,
            &["asyncio", "--switch-interval", "0.0002"],
        ));
    }
    Ok(all)
}

/// The reader in the bench's own process.
pub const INSIDE: &str = "reader, this process";
/// The plain reader in another process: what others are compared with.
pub const PLAIN: &str = "reader, other process";
/// A program that uses libv2m.
pub const IN_C: &str = "C";
pub const SYNC: &str = "Python, sync";
pub const ASYNCIO: &str = "Python, asyncio";
/// A task of asyncio's that waits for the engine's descriptor, and nothing around it: what an
/// event loop costs, whoever reads.
pub const FLOOR: &str = "asyncio's floor";
/// An `async for` loop on the event loop that is written in C.
pub const UVLOOP: &str = "Python, asyncio on uvloop";
/// The same with the interpreter's switch interval lowered.
pub const SYNC_REMEDY: &str = "Python, sync, switch_interval";
/// The same with the interpreter's switch interval lowered.
pub const ASYNCIO_REMEDY: &str = "Python, asyncio, switch_interval";

/// A program of this C source; the error says what to do.
fn compiled(source: &Path) -> Result<String, String> {
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let done = done.map_err(|cause| format!("{program} can't be run: {cause}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if done.status.success() {
            return Ok(text(&done.stdout));
        }
        let reason = text(&done.stderr);
        Err(reason.lines().next().unwrap_or(program).to_owned())
    };
    let program = source
        .with_extension("program")
        .to_string_lossy()
        .into_owned();
    let flags = run("pkg-config", &["--cflags", "--libs", "v2m"]);
    let made = flags.and_then(|flags| {
        let source = source.to_string_lossy();
        let mut arguments = vec!["-O2", "-pthread", "-o", &program, &source];
        arguments.extend(flags.split_whitespace());
        run("cc", &arguments)
    });
    let advice = "install libv2m-dev, pkg-config and a C compiler";
    made.map(|_| program)
        .map_err(|reason| format!("{reason}: {advice}"))
}

/// Whether `python` has `module`, of the distribution `name`; the error says what to do.
fn python_module(python: &str, module: &str, name: &str) -> Result<(), String> {
    let done = Command::new(python)
        .args(["-c", &format!("import {module}")])
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| format!("{python} can't be run: {cause}; name another by --python"))?;
    if done.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&done.stderr);
    let reason = reason.lines().last().unwrap_or("no reason given");
    Err(format!(
        "{python} has no {module} ({reason}): pip install {name}, or name another by --python"
    ))
}

pub struct Listening {
    name: String,
    how: How,
}

enum How {
    Inside {
        thread: JoinHandle<Result<Recording>>,
        stop: Arc<AtomicBool>,
        tid: Arc<AtomicI32>,
    },
    Outside {
        process: Process,
        stdin: Option<ChildStdin>,
        output: Inbox<Output>,
        errors: std::path::PathBuf,
        rate: u32,
    },
}

enum Output {
    Ready(u32),
    Rest(Vec<u8>),
}

impl Listening {
    /// Starts a receiver; returns once it gets audio.
    pub fn start(spec: &Spec, stage: &Stage, load: Load) -> Result<Self> {
        if let Some(why) = &spec.missing {
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        let how = match spec.stream {
            Some(rate) if spec.command.is_empty() => Self::inside(stage, rate),
            _ => Self::outside(spec, stage, load),
        }?;
        Ok(Self {
            name: spec.name.clone(),
            how,
        })
    }

    fn inside(stage: &Stage, rate: Rate) -> Result<How> {
        let (connection, reader) = stage.open(rate)?;
        let arrived = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let tid = Arc::new(AtomicI32::new(0));
        let (seen, stopped, id) = (arrived.clone(), stop.clone(), tid.clone());
        let thread = std::thread::spawn(move || {
            id.store(rt::thread_id(), Ordering::Relaxed);
            let recording = reader::record(&reader, &seen, &stopped);
            // Until now the engine counted it as listening.
            drop(connection);
            recording
        });
        let deadline = std::time::Instant::now() + PATIENCE;
        while !arrived.load(Ordering::Relaxed) {
            if std::time::Instant::now() > deadline {
                stop.store(true, Ordering::Relaxed);
                return Err(no_audio(""));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(How::Inside { thread, stop, tid })
    }

    fn outside(spec: &Spec, stage: &Stage, load: Load) -> Result<How> {
        let failed = |cause| Error::system("cannot keep what receivers say", cause);
        let errors = stage.directory().join("receiver.log");
        let log = fs::File::create(&errors).map_err(failed)?;
        let mut command = Command::new(&spec.command[0]);
        command
            .args(&spec.command[1..])
            .envs(stage.environment())
            .envs(&spec.env)
            .env("V2M_BENCH_LOAD", load.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut process = Process::start(&mut command)?;
        let stdin = process.0.stdin.take();
        let stdout = process.0.stdout.take().map(BufReader::new);
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let Some(mut stdout) = stdout else { return };
            let mut line = String::new();
            let rate = loop {
                line.clear();
                match stdout.read_line(&mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
                let words = line.trim().strip_prefix("ready ");
                if let Some(rate) = words.and_then(|word| word.parse().ok()) {
                    break rate;
                }
            };
            let _ = sender.send(Output::Ready(rate));
            let mut rest = Vec::new();
            if stdout.read_to_end(&mut rest).is_ok() {
                let _ = sender.send(Output::Rest(rest));
            }
        });
        match output.recv_timeout(PATIENCE) {
            Ok(Output::Ready(rate)) => Ok(How::Outside {
                process,
                stdin,
                output,
                errors,
                rate,
            }),
            Ok(Output::Rest(_)) | Err(RecvTimeoutError::Timeout) => {
                Err(no_audio(&last_line(&errors)))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let _ = process.wait(Duration::from_secs(1));
                let message = format!("it ended before any audio: {}", last_line(&errors));
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// CPU time that it has used so far, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        match &self.how {
            How::Inside { tid, .. } => thread_cpu_ns(tid.load(Ordering::Relaxed)),
            How::Outside { process, .. } => cpu_ns(process.0.id()),
        }
    }

    /// Stops it and takes what it recorded.
    pub fn finish(self) -> Result<Recording> {
        match self.how {
            How::Inside { thread, stop, .. } => {
                stop.store(true, Ordering::Relaxed);
                let joined = thread.join();
                joined.map_err(|_| Error::system(self.name, "its thread panicked"))?
            }
            How::Outside {
                mut process,
                stdin,
                output,
                errors,
                rate,
            } => {
                drop(stdin);
                let Ok(Output::Rest(bytes)) = output.recv_timeout(PATIENCE) else {
                    let message =
                        format!("it does not hand over what it got: {}", last_line(&errors));
                    return Err(Error::new(ErrorKind::Timeout, message));
                };
                match process.wait(PATIENCE) {
                    Some(status) if status.success() => Recording::parse(rate, &bytes),
                    Some(status) => {
                        let message = format!("it failed ({status}): {}", last_line(&errors));
                        Err(Error::new(ErrorKind::Unavailable, message))
                    }
                    None => Err(Error::new(ErrorKind::Timeout, "it does not end")),
                }
            }
        }
    }
}

/// The variables that a receiver finds; see `README.md` in `benches/peers`.
pub type Environment = Vec<(&'static str, OsString)>;

fn no_audio(said: &str) -> Error {
    let message = format!("no audio within {} s {said}", PATIENCE.as_secs());
    Error::new(ErrorKind::Timeout, message.trim_end())
}

fn last_line(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or("no reason given").trim().to_owned()
}
