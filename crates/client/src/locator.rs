//! Which engine a client listens to: the user's service, or one that this process starts
//! and all streams of it share.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, Weak};

use crate::connection::{Connection, Libraries};
use crate::engine::{self, Engine, STARTING, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::Wanted;
use crate::quantum::Quantum;
use crate::ring::Rate;

/// Keeps the private engine that was connected to last, from one stream to the next.
pub type Keeper = Mutex<Option<Arc<Engine>>>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The service if it runs, else a private engine.
    #[default]
    Auto,
    /// The user's engine.
    Service,
    /// One of this process.
    Private,
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "service" => Ok(Self::Service),
            "private" => Ok(Self::Private),
            _ => {
                let message = "must be \"auto\", \"service\" or \"private\"";
                Err(Error::new(ErrorKind::Invalid, message))
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Service => "service",
            Self::Private => "private",
        })
    }
}

/// What a client asks of its engine, and where the engine's program may be.
#[derive(Clone, Debug, Default)]
pub struct Locator {
    pub mode: Mode,
    /// What it is to capture; None: what the service is configured for, or the default
    /// source.
    pub source: Option<String>,
    /// Which of its channels to hear; None: those that the engine is configured for.
    pub channel: Option<String>,
    /// Of the samples.
    pub rate: Rate,
    /// The quantum to ask the graph for; None: the engine's own.
    pub latency: Option<Quantum>,
    /// Only to look on: nothing is asked of the graph.
    pub observe: bool,
    /// The engine's program; None: it is looked for.
    pub program: Option<PathBuf>,
    /// Where to look first, except at `$V2M_ENGINE_BIN`.
    pub places: Vec<PathBuf>,
    /// A directory of Python's onnxruntime, which a private engine may use.
    pub onnxruntime: Option<PathBuf>,
    /// Who keeps a private engine beyond those who use it.
    pub keeper: Weak<Keeper>,
}

impl Locator {
    /// Connects to the engine, or starts it. Blocks.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: there is none, and none can be started; [`ErrorKind::Device`]:
    /// it can't have the source.
    pub fn connect(&self) -> Result<Arc<Engine>> {
        let engine = self.find()?;
        if let Some(keeper) = self.keeper.upgrade() {
            let kept = engine.is_private().then(|| engine.clone());
            // Dropped unlocked: it may end an engine, which takes a moment.
            let before = std::mem::replace(&mut *lock(&keeper), kept);
            drop(before);
        }
        Ok(engine)
    }

    /// As [`connect`](Self::connect), for who has lost its engine: a source that a new one can't
    /// have yet, as a card that the old one has still open, is [`ErrorKind::Unavailable`], too.
    pub(crate) fn connect_again(&self) -> Result<Arc<Engine>> {
        self.connect().map_err(|error| match error.kind() {
            ErrorKind::Device => Error::new(ErrorKind::Unavailable, error.to_string()),
            _ => error,
        })
    }

    fn find(&self) -> Result<Arc<Engine>> {
        let service = match self.mode {
            Mode::Private => return self.private(),
            Mode::Service | Mode::Auto => Connection::service(),
        };
        match service {
            Err(error) if self.mode == Mode::Auto && error.kind() == ErrorKind::Unavailable => {
                let private = self.private();
                private.map_err(|other| other.context(format!("{error}; a private one")))
            }
            service => self.of_service(service?),
        }
    }

    /// The same, for an engine of the kind that `engine` is.
    pub(crate) fn like(&self, engine: &Engine) -> Self {
        let mode = if engine.is_private() {
            Mode::Private
        } else {
            Mode::Service
        };
        Self {
            mode,
            ..self.clone()
        }
    }

    pub(crate) fn is_private(&self) -> bool {
        self.mode == Mode::Private
    }

    /// The stream, as an engine is asked for it. Where it is a file, the engine's directory
    /// is another than ours.
    pub(crate) fn wanted(&self) -> Wanted {
        let absolute = |source: &String| {
            let absolute = match source.strip_prefix("file:") {
                // This process's, not the engine's.
                Some("-") => Some(format!("/proc/{}/fd/0", std::process::id()).into()),
                path => path.and_then(|path| std::path::absolute(path).ok()),
            };
            match absolute.as_deref().and_then(Path::to_str) {
                Some(path) => format!("file:{path}"),
                None => source.clone(),
            }
        };
        Wanted {
            source: self.source.as_ref().map(absolute),
            channel: self.channel.clone(),
            rate: Some(self.rate.hz()),
        }
    }

    fn of_service(&self, connection: Connection) -> Result<Arc<Engine>> {
        let wanted = self.wanted();
        let engine = Engine::open(connection, &wanted, self.latency, self.observe)?;
        engine::remember(&engine, &wanted, self.latency);
        Ok(engine)
    }

    fn private(&self) -> Result<Arc<Engine>> {
        let _starting = lock(&STARTING);
        let (wanted, programs) = (self.wanted(), self.programs()?);
        if let Some(engine) = engine::shared(&wanted, self.latency, self.observe)? {
            return Ok(engine);
        }
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(source) = &wanted.source {
            arguments.push(format!("--source={source}").into());
        }
        if let Some(channel) = &wanted.channel {
            arguments.push(format!("--channel={channel}").into());
        }
        if let Some(directory) = &self.onnxruntime {
            arguments.extend(["--python-onnxruntime".into(), directory.into()]);
        }
        // The one in the wheel needs libraries of the system; another may come
        // from a package that brought them.
        let mut failed = None;
        let ways = programs.into_iter().flat_map(|program| {
            let ways = Libraries::ways().iter();
            ways.map(move |libraries| (program.clone(), *libraries))
        });
        for (program, libraries) in ways {
            let connection = Connection::private_with(&program, &arguments, libraries)?;
            match Engine::open(connection, &wanted, self.latency, self.observe) {
                Ok(engine) => {
                    engine::remember(&engine, &wanted, self.latency);
                    return Ok(engine);
                }
                Err(error) if error.kind() == ErrorKind::System => {
                    let what = format!("cannot start {}", program.display());
                    failed.get_or_insert(error.context(what));
                }
                Err(error) => return Err(error),
            }
        }
        let reason = failed.map(|error| error.to_string()).unwrap_or_default();
        Err(Error::new(ErrorKind::Unavailable, reason))
    }

    /// The engine's programs, in the order of preference; at least one.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: there is none.
    pub fn programs(&self) -> Result<Vec<PathBuf>> {
        if let Some(program) = &self.program {
            return Ok(vec![program.clone()]);
        }
        let unavailable = |message: String| Error::new(ErrorKind::Unavailable, message);
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(program) = set("V2M_ENGINE_BIN").map(PathBuf::from) {
            return match is_program(&program) {
                true => Ok(vec![program]),
                false => Err(unavailable(format!(
                    "V2M_ENGINE_BIN is {}, which is not a program",
                    program.display()
                ))),
            };
        }
        let path = set("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|directory| directory.join("v2m-engine"));
        let mut programs: Vec<PathBuf> = Vec::new();
        for program in self.places.iter().cloned().chain(on_path) {
            if is_program(&program) && !programs.contains(&program) {
                programs.push(program);
            }
        }
        if programs.is_empty() {
            return Err(unavailable(
                "no v2m-engine program in the package, beside Python or on PATH: install it \
                 (a distribution's v2m-engine package, `pip install v2m-engine`, or \
                 `cargo install v2m-engine`) or set V2M_ENGINE_BIN"
                    .into(),
            ));
        }
        Ok(programs)
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
