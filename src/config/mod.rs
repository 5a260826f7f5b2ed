//! Configuration: flags over the user's file over the system's file over
//! defaults. [`Layer`] is the one list of keys: the file format, the flags and
//! their help come from it.

mod source;
mod tables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::detect::backend::Settings;
use v2m_client::quantum::Quantum;
use v2m_dsp::channels::Selection;
use v2m_dsp::preamp::{self, Gain, HIGHEST_HZ};
use v2m_error::{Error, ErrorKind, Result};
use v2m_files as files;
use v2m_pw_graph::Source;
use v2m_ring::SAMPLE_RATE;

pub use source::{Fallback, SourceSpec};
pub use tables::{
    AlsaLayer, CleanGain, CleanLayer, CleanNoise, GateWhat, MicrophoneLayer, MicrophoneOptions,
    VadLayer,
};

/// Bytes of a configuration file, at most.
const LONGEST: u64 = 1 << 20;

/// When audio is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Capture {
    /// As long as the engine runs.
    Always,
    /// While somebody listens, and for `linger` seconds afterwards.
    WhileUsed,
}

/// How ALSA PCMs are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlsaOptions {
    /// Frames of one period; the hardware's nearest is taken. By default 2.7 ms,
    /// 128 frames at 48 kHz.
    pub period: Option<u32>,
    /// Periods of the buffer; at least 2. By default 64.
    pub periods: Option<u32>,
    /// The one way of access to try, for hardware where the first that it offers
    /// doesn't work.
    #[cfg(feature = "alsa")]
    pub access: Option<alsa::pcm::Access>,
}

/// How much the engine logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// Also what doesn't work as well as it should.
    Warn,
    /// Also what changes.
    Info,
    /// Also what is decided, and why.
    Debug,
}

/// One layer of configuration: whatever it leaves open, the layer below says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// What to capture: default, a source's name (or its description, or a part of them;
    /// node:NAME where a name alone would mean something else),
    /// monitor:default or monitor:SINK (what it plays), app:NAME (what a program plays),
    /// clean or clean:SOURCE (a microphone without what the default sink plays), alsa:PCM,
    /// file:PATH (also a FIFO; file:- is standard input), or null: for silence
    /// [default: default]
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<SourceSpec>,

    /// Which of the source's channels to hear: auto (its voice, at its own level), mix (the
    /// mean of all), a name (FL, AUX2) or a number from 1 [default: auto]
    #[arg(long, value_name = "CHANNEL")]
    #[serde(default, deserialize_with = "channel")]
    pub channel: Option<Selection>,

    /// Make what clients read louder by this many dB, -60 to 60 [default: 0]
    #[arg(long = "gain", value_name = "DB", allow_negative_numbers = true)]
    #[serde(default, deserialize_with = "gain")]
    pub gain: Option<Gain>,

    /// Attenuate what clients read below this frequency in Hz, such as rumble, by 12 dB per octave;
    /// up to 1000, 0 for not at all [default: 0]
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(0..=i64::from(HIGHEST_HZ)))]
    #[serde(default, deserialize_with = "highpass")]
    pub highpass: Option<u32>,

    /// Play files as fast as speech is detected in them instead of in real time; a
    /// reader that falls behind by more than the history loses audio
    #[arg(long = "no-pace", action = clap::ArgAction::SetFalse, default_value = None, default_missing_value = "false", num_args = 0)]
    pub pace: Option<bool>,

    /// The quantum asked of the graph while somebody listens [default: 128/48000]
    #[arg(long, value_name = "SAMPLES/RATE")]
    pub latency: Option<Quantum>,

    /// The lowest quantum that a client may ask for [default: 32/48000]
    #[arg(long, value_name = "SAMPLES/RATE")]
    pub latency_lowest: Option<Quantum>,

    /// The highest quantum that a client may ask for [default: 8192/48000]
    #[arg(long, value_name = "SAMPLES/RATE")]
    pub latency_highest: Option<Quantum>,

    /// Seconds of audio that the ring keeps, rounded up to a power of two
    /// in samples, 4 to 16384 [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(4..=16384))]
    pub history: Option<u32>,

    /// When to capture: always, or only while somebody listens, so that the
    /// desktop's microphone light tells the truth; files are played at once
    /// [default: while-used]
    #[arg(long, value_name = "WHEN")]
    pub capture: Option<Capture>,

    /// With while-used: seconds that capture goes on after the last reader has left [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub linger: Option<u32>,

    /// The name of the engine's node in the PipeWire graph [default: v2m-engine]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,

    /// A program that may listen, by its file's absolute path; can be given several times (in a
    /// file, a list: ["/usr/bin/python3"]). All others are refused. By default all of the user's
    /// programs may listen
    #[arg(long, value_name = "PROGRAM")]
    pub allow: Option<Vec<PathBuf>>,

    /// How much to log, to standard error or, under systemd, to the journal [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<LogLevel>,

    /// The table `[vad]` of a file.
    #[command(flatten)]
    #[serde(default)]
    pub vad: VadLayer,

    /// The table `[alsa]`
    #[command(flatten)]
    #[serde(default)]
    pub alsa: AlsaLayer,

    /// The table `[clean]`
    #[command(flatten)]
    #[serde(default)]
    pub clean: CleanLayer,

    /// The table `[virtual_microphone]`
    #[command(flatten)]
    #[serde(default)]
    pub virtual_microphone: MicrophoneLayer,
}

fn channel<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Selection>, D::Error> {
    // A number may be written as one.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Name(String),
        Number(u32),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Name(name) => name,
        Written::Number(number) => number.to_string(),
    };
    text.parse().map(Some).map_err(D::Error::custom)
}

fn gain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Gain>, D::Error> {
    let gain = Gain::new(f64::deserialize(deserializer)?);
    gain.map(Some).map_err(D::Error::custom)
}

fn highpass<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    tables::within(deserializer, 0..=HIGHEST_HZ, "Hz")
}

impl Layer {
    /// This layer over another.
    fn over(self, below: Self) -> Self {
        Self {
            source: self.source.or(below.source),
            channel: self.channel.or(below.channel),
            gain: self.gain.or(below.gain),
            highpass: self.highpass.or(below.highpass),
            pace: self.pace.or(below.pace),
            latency: self.latency.or(below.latency),
            latency_lowest: self.latency_lowest.or(below.latency_lowest),
            latency_highest: self.latency_highest.or(below.latency_highest),
            history: self.history.or(below.history),
            capture: self.capture.or(below.capture),
            linger: self.linger.or(below.linger),
            node_name: self.node_name.or(below.node_name),
            allow: self.allow.or(below.allow),
            log: self.log.or(below.log),
            vad: self.vad.over(below.vad),
            alsa: self.alsa.over(below.alsa),
            clean: self.clean.over(below.clean),
            virtual_microphone: self.virtual_microphone.over(below.virtual_microphone),
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
            let table = text.lines().take(line - 1).filter_map(table_name).last();
            let key = match table.filter(|_| table_name(content).is_none()) {
                Some(table) => format!("{table}.{key}"),
                None => key.to_owned(),
            };
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

    /// Reads a file that only this user or root can have written; one that doesn't exist
    /// is an empty layer.
    fn read(path: &Path) -> Result<Self> {
        let failed = |cause: std::io::Error| {
            let message = format!("cannot read {}: {cause}", path.display());
            Error::new(ErrorKind::Invalid, message)
        };
        let found = match files::regular(path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            found => found.map_err(failed)?,
        };
        if !found.is_trusted() {
            let message = format!(
                "{} is user {}'s, or everybody may write it: make it yours alone (chown, chmod \
                 go-w), as it says what is captured",
                path.display(),
                found.owner()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let bytes = files::read_found(&found, LONGEST).map_err(failed)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| failed(std::io::Error::other("it is not UTF-8 text")))?;
        Self::parse(&text, path)
    }
}

/// The name in a line that begins a table.
fn table_name(line: &str) -> Option<&str> {
    let (name, _) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    Some(name.trim())
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What to capture.
    pub source: SourceSpec,
    /// Which of its channels to hear.
    pub channel: Selection,
    /// What is done to what is heard.
    pub preamp: preamp::Settings,
    /// Files are played in real time.
    pub pace: bool,
    /// The quantum asked of the graph while somebody listens.
    pub latency: Quantum,
    /// The lowest that clients may ask for.
    pub latency_lowest: Quantum,
    /// The highest that clients may ask for.
    pub latency_highest: Quantum,
    /// Samples that the ring keeps, at least.
    pub history: u64,
    /// When to capture.
    pub capture: Capture,
    /// How long capture goes on after the last listener.
    pub linger: Duration,
    /// The node's name in the graph.
    pub node_name: String,
    /// The programs that may listen; `None`: all.
    pub allow: Option<Vec<PathBuf>>,
    /// How much to log.
    pub log: LogLevel,
    /// Speech detection.
    pub vad: Settings,
    /// What `default` means while PipeWire can't be reached.
    pub fallback: Fallback,
    /// How ALSA PCMs are opened.
    pub alsa: AlsaOptions,
    /// What the source `clean` does beside cancelling echo.
    pub clean: v2m_echo::Options,
    /// The virtual microphone, if there is to be one.
    pub microphone: Option<MicrophoneOptions>,
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

    pub(crate) fn from_layer(layer: Layer) -> Result<Self> {
        let config = Self {
            source: layer
                .source
                .unwrap_or(SourceSpec::Pipewire(Source::Default)),
            channel: layer.channel.unwrap_or_default(),
            preamp: preamp::Settings {
                gain: layer.gain.unwrap_or_default(),
                highpass: layer.highpass.unwrap_or_default(),
            },
            pace: layer.pace.unwrap_or(true),
            latency: layer.latency.unwrap_or(Quantum::DEFAULT),
            latency_lowest: layer.latency_lowest.unwrap_or(Quantum::LOWEST),
            latency_highest: layer.latency_highest.unwrap_or(Quantum::HIGHEST),
            history: u64::from(layer.history.unwrap_or(60)) * u64::from(SAMPLE_RATE),
            capture: layer.capture.unwrap_or(Capture::WhileUsed),
            linger: Duration::from_secs(u64::from(layer.linger.unwrap_or(5))),
            node_name: layer.node_name.unwrap_or_else(|| "v2m-engine".into()),
            allow: layer.allow,
            log: layer.log.unwrap_or(LogLevel::Info),
            vad: layer.vad.settings(),
            fallback: layer.alsa.fallback.unwrap_or_default(),
            alsa: AlsaOptions {
                period: layer.alsa.period,
                periods: layer.alsa.periods,
                #[cfg(feature = "alsa")]
                access: None,
            },
            clean: layer.clean.options(),
            microphone: layer.virtual_microphone.options(),
        };
        let mut programs = config.allow.iter().flatten();
        if let Some(program) = programs.find(|program| !program.is_absolute()) {
            let message = format!(
                "allow: {} is no absolute path: name the program's file, as `readlink -f \"$(which {0})\"` tells it",
                program.display()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if config.node_name.trim().is_empty() {
            let message = "node_name is empty: leave it out, or name the node for others to find";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if config.latency_lowest.ns() > config.latency_highest.ns() {
            let message = format!(
                "latency_lowest ({}) is above latency_highest ({}): swap them",
                config.latency_lowest, config.latency_highest
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(config)
    }

    /// Whether audio comes as time goes by.
    pub fn is_live(&self) -> bool {
        self.pace || !matches!(self.source, SourceSpec::File(_))
    }

    /// What the graph is asked for, given what clients asked for: the shortest
    /// of these, within the limits.
    pub fn quantum_for(&self, asked: impl Iterator<Item = Option<Quantum>>) -> Option<Quantum> {
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
mod tests;
