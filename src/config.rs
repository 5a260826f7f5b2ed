//! Configuration: flags over the user's file over the system's file over
//! defaults. [`Layer`] is the one list of keys: the file format, the flags and
//! their help come from it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::capture::pipewire::Source;
use crate::demand::Capture;
use crate::error::{Error, ErrorKind, Result};
use crate::latency::Latency;
use crate::ring::SAMPLE_RATE;

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SourceSpec {
    /// From PipeWire.
    Pipewire(Source),
    /// An ALSA PCM, by alsa-lib's name for it.
    Alsa(String),
    /// A sound file.
    File(PathBuf),
}

impl FromStr for SourceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let missing = |form: &str| {
            let message = format!("\"{text}\" names no source: write {form}");
            Err(Error::new(ErrorKind::Invalid, message))
        };
        match text.split_once(':') {
            Some(("file", "")) => missing("file:PATH"),
            Some(("alsa", "")) => missing("alsa:PCM"),
            Some(("file", path)) => Ok(Self::File(path.into())),
            Some(("alsa", pcm)) => Ok(Self::Alsa(pcm.into())),
            _ => text.parse().map(Self::Pipewire),
        }
    }
}

impl TryFrom<String> for SourceSpec {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipewire(source) => source.fmt(f),
            Self::Alsa(pcm) => write!(f, "alsa:{pcm}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// How much the engine logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing but errors.
    Error,
    /// And what degrades.
    Warn,
    /// And what changes.
    Info,
    /// And what is decided.
    Debug,
}

/// One layer of configuration: whatever it leaves open, the layer below says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// What to capture: default, a PipeWire node name, monitor:SINK, alsa:PCM,
    /// file:PATH [default: default]
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<SourceSpec>,

    /// Play files as fast as the engine takes them instead of in real time
    #[arg(long = "no-pace", action = clap::ArgAction::SetFalse, default_value = None, default_missing_value = "false", num_args = 0)]
    pub pace: Option<bool>,

    /// The quantum asked of the graph while somebody listens [default: 128/48000]
    #[arg(long, value_name = "SAMPLES/RATE")]
    pub latency: Option<Latency>,

    /// The lowest quantum that a client may ask for [default: 32/48000]
    #[arg(long, value_name = "SAMPLES/RATE")]
    pub latency_lowest: Option<Latency>,

    /// The highest quantum that a client may ask for [default: 8192/48000]
    #[arg(long, value_name = "SAMPLES/RATE")]
    pub latency_highest: Option<Latency>,

    /// Seconds of audio that the ring keeps, rounded up to a power of two
    /// samples, 4 to 16384 [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(4..=16384))]
    pub history: Option<u32>,

    /// When to capture: always, or only while somebody listens, so that the
    /// desktop's microphone light tells the truth; files are played at once
    /// [default: while-used]
    #[arg(long, value_name = "WHEN")]
    pub capture: Option<Capture>,

    /// Seconds that capture goes on after the last listener, with while-used [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub linger: Option<u32>,

    /// The name of the engine's node in the PipeWire graph [default: v2m-engine]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,

    /// How much to log, to standard error or, under systemd, to the journal [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<LogLevel>,
}

impl Layer {
    /// This layer over another.
    fn over(self, below: Self) -> Self {
        Self {
            source: self.source.or(below.source),
            pace: self.pace.or(below.pace),
            latency: self.latency.or(below.latency),
            latency_lowest: self.latency_lowest.or(below.latency_lowest),
            latency_highest: self.latency_highest.or(below.latency_highest),
            history: self.history.or(below.history),
            capture: self.capture.or(below.capture),
            linger: self.linger.or(below.linger),
            node_name: self.node_name.or(below.node_name),
            log: self.log.or(below.log),
        }
    }

    /// Parses a file's text; errors name file, line and key.
    fn parse(text: &str, path: &Path) -> Result<Self> {
        let layer: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = &text[..start];
            let line = before.matches('\n').count() + 1;
            let content = text.lines().nth(line - 1).unwrap_or_default();
            let key = content.split(['=', '#']).next().unwrap_or_default().trim();
            let reason = error.message().replace('\n', " ");
            let message = format!("{}:{line}: {key}: {reason}", path.display());
            Error::new(ErrorKind::Invalid, message)
        })?;
        if layer
            .history
            .is_some_and(|seconds| !(4..=16_384).contains(&seconds))
        {
            let line = text
                .lines()
                .position(|line| line.trim_start().starts_with("history"));
            let line = line.map_or(1, |line| line + 1);
            let message = format!(
                "{}:{line}: history: not between 4 and 16384 seconds",
                path.display()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(layer)
    }

    /// Reads a file; one that doesn't exist is an empty layer.
    fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(cause) => {
                let message = format!("cannot read {}: {cause}", path.display());
                Err(Error::new(ErrorKind::Invalid, message))
            }
        }
    }
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What to capture.
    pub source: SourceSpec,
    /// Files are played in real time.
    pub pace: bool,
    /// The quantum asked of the graph while somebody listens.
    pub latency: Latency,
    /// The lowest that clients may ask for.
    pub latency_lowest: Latency,
    /// The highest that clients may ask for.
    pub latency_highest: Latency,
    /// Samples that the ring keeps, at least.
    pub history: u64,
    /// When to capture.
    pub capture: Capture,
    /// How long capture goes on after the last listener.
    pub linger: Duration,
    /// The node's name in the graph.
    pub node_name: String,
    /// How much to log.
    pub log: LogLevel,
}

impl Config {
    /// `flags` over the user's file over the system's over defaults.
    pub fn load(flags: Layer) -> Result<Self> {
        let user = user_file().map_or(Ok(Layer::default()), |path| Layer::read(&path))?;
        let system = Layer::read(Path::new("/etc/v2m-engine/config.toml"))?;
        Self::from_layer(flags.over(user).over(system))
    }

    /// What one file's text alone comes to.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_layer(Layer::parse(text, Path::new("config.toml"))?)
    }

    fn from_layer(layer: Layer) -> Result<Self> {
        let config = Self {
            source: layer
                .source
                .unwrap_or(SourceSpec::Pipewire(Source::Default)),
            pace: layer.pace.unwrap_or(true),
            latency: layer.latency.unwrap_or(Latency::DEFAULT),
            latency_lowest: layer.latency_lowest.unwrap_or(Latency::LOWEST),
            latency_highest: layer.latency_highest.unwrap_or(Latency::HIGHEST),
            history: u64::from(layer.history.unwrap_or(60)) * u64::from(SAMPLE_RATE),
            capture: layer.capture.unwrap_or(Capture::WhileUsed),
            linger: Duration::from_secs(u64::from(layer.linger.unwrap_or(5))),
            node_name: layer.node_name.unwrap_or_else(|| "v2m-engine".into()),
            log: layer.log.unwrap_or(LogLevel::Info),
        };
        if config.latency_lowest.ns() > config.latency_highest.ns() {
            let message = format!(
                "latency_lowest ({}) is above latency_highest ({}): swap them",
                config.latency_lowest, config.latency_highest
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(config)
    }

    /// What the graph is asked for, given what clients asked for: the shortest
    /// of these, within the limits.
    pub fn latency_for(&self, asked: impl Iterator<Item = Option<Latency>>) -> Option<Latency> {
        asked
            .map(|latency| match latency.unwrap_or(self.latency) {
                latency if latency.ns() < self.latency_lowest.ns() => self.latency_lowest,
                latency if latency.ns() > self.latency_highest.ns() => self.latency_highest,
                latency => latency,
            })
            .min_by_key(|latency| latency.ns())
    }
}

/// `$XDG_CONFIG_HOME/v2m-engine/config.toml`, or the same under `~/.config`.
fn user_file() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let directory = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(directory.join("v2m-engine/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Layer::parse(text, Path::new("/x/config.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let unknown = error("source = \"default\"\n\nsorce = 3\n");
        assert!(
            unknown.starts_with("/x/config.toml:3: sorce: unknown field"),
            "{unknown}"
        );
        let wrong = error("# hello\nlatency = \"fast\"\n");
        assert!(
            wrong.starts_with("/x/config.toml:2: latency: ") && wrong.contains("128/48000"),
            "{wrong}"
        );
        let kind = error("history = \"long\"\n");
        assert!(kind.starts_with("/x/config.toml:1: history: "), "{kind}");
        let range = error("pace = true\nhistory = 3\n");
        assert!(range.starts_with("/x/config.toml:2: history: "), "{range}");
        let syntax = error("source = \n");
        assert!(
            syntax.starts_with("/x/config.toml:1: source: ") && !syntax.contains('\n'),
            "{syntax}"
        );
    }

    #[test]
    fn flags_win_over_files() {
        let flags = Layer {
            source: Some(SourceSpec::Pipewire(Source::Node("mic".into()))),
            ..Layer::default()
        };
        let file = Layer::parse(
            "source = \"monitor:speakers\"\nhistory = 100\n",
            Path::new("x"),
        )
        .unwrap();
        let config = Config::from_layer(flags.over(file)).unwrap();
        assert_eq!(
            config.source,
            SourceSpec::Pipewire(Source::Node("mic".into()))
        );
        assert_eq!(config.history, 1_600_000);
        assert_eq!(config.latency, Latency::DEFAULT);
    }

    #[test]
    fn clients_get_the_shortest_quantum_within_limits() {
        let config = Config::from_layer(Layer {
            latency_lowest: Some("64/48000".parse().unwrap()),
            ..Layer::default()
        });
        let config = config.unwrap();
        let latency = |text: &str| Some(text.parse::<Latency>().unwrap());
        assert_eq!(config.latency_for([].into_iter()), None);
        assert_eq!(
            config.latency_for([None].into_iter()),
            Some(Latency::DEFAULT)
        );
        let asked = [latency("1024/48000"), latency("32/48000")];
        assert_eq!(config.latency_for(asked.into_iter()), latency("64/48000"));
    }
}
