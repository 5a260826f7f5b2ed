//! Which engine a client listens to: the user's service, or one that this process starts
//! and all who want the same source from it share.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, Weak};

use crate::connection::Connection;
use crate::engine::{self, Engine, STARTING, lock};
use crate::error::{Error, ErrorKind, Result, text};
use crate::quantum::Quantum;

/// Keeps the private engine that was connected to last, from one stream to the next.
pub type Keeper = Mutex<Option<Arc<Engine>>>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The service if it runs and captures the source, else a private engine.
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
    /// What it is to capture; None: whatever the service does, or the default source.
    pub source: Option<String>,
    /// Which of its channels to hear; None asks for nothing.
    pub channel: Option<String>,
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
    /// [`ErrorKind::Unavailable`]: there is none, and none can be started.
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

    fn find(&self) -> Result<Arc<Engine>> {
        match self.mode {
            Mode::Service => self.service(),
            Mode::Private => self.private(),
            Mode::Auto => match self.service() {
                Err(error) if error.kind() == ErrorKind::Unavailable => self
                    .private()
                    .map_err(|other| other.context(format!("{error}; a private one"))),
                result => result,
            },
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

    fn service(&self) -> Result<Arc<Engine>> {
        let engine = Engine::open(Connection::service()?, self.latency, self.observe)?;
        // As a peer's text comes to us.
        let shown = |asked: &String| text::printable(asked, text::MESSAGE);
        if let Some(source) = self.source.as_ref().map(shown)
            && source != engine.source()
        {
            let message = format!(
                "the service captures {}, not {source}: configure it so, or ask for a private engine",
                engine.source()
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        if let Some(channel) = self.channel.as_ref().map(shown)
            && channel != engine.channel()
        {
            let message = format!(
                "the service hears channel {}, not {channel}: configure it so, or ask for a private engine",
                engine.channel()
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        engine::remember(
            &engine,
            self.source.as_deref(),
            self.channel.as_deref(),
            None,
        );
        Ok(engine)
    }

    fn private(&self) -> Result<Arc<Engine>> {
        let _starting = lock(&STARTING);
        let (source, channel) = (self.source.as_deref(), self.channel.as_deref());
        if let Some(engine) = engine::shared(source, channel, self.latency) {
            return Ok(engine);
        }
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(source) = source {
            arguments.extend(["--source".into(), source.into()]);
        }
        if let Some(channel) = channel {
            arguments.extend(["--channel".into(), channel.into()]);
        }
        if let Some(directory) = &self.onnxruntime {
            arguments.extend(["--python-onnxruntime".into(), directory.into()]);
        }
        // The one in the wheel needs libraries of the system; another may come
        // from a package that brought them.
        let mut failed = None;
        for program in self.candidates()? {
            let connection = Connection::private(&program, &arguments)?;
            match Engine::open(connection, self.latency, self.observe) {
                Ok(engine) => {
                    engine::remember(&engine, source, channel, self.latency);
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
    fn candidates(&self) -> Result<Vec<PathBuf>> {
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
