//! Sources as they are written: `default`, a node's name, `alsa:PCM`, `file:PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use v2m_pw_graph::Source;

use v2m_error::{Error, ErrorKind, Result};

/// Bytes of an ALSA PCM's name, at most: alsa-lib makes lines of it, and ends the process at one
/// that is longer than 256.
const LONGEST_PCM: usize = 200;

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SourceSpec {
    /// From PipeWire.
    Pipewire(Source),
    /// A microphone of PipeWire's, without what the default sink plays.
    Clean(Source),
    /// An ALSA PCM, by alsa-lib's name for it.
    Alsa(String),
    /// A sound file.
    File(PathBuf),
    /// Silence.
    Null,
}

impl FromStr for SourceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let missing = |form: &str| {
            let message = format!("\"{text}\" names no source: write {form}");
            Err(Error::new(ErrorKind::Invalid, message))
        };
        if text == "clean" {
            return Ok(Self::Clean(Source::Default));
        }
        match text.split_once(':') {
            Some(("clean", "")) => missing("clean or clean:SOURCE"),
            Some(("clean", source)) => source.parse().map(Self::Clean),
            Some(("file", "")) => missing("file:PATH"),
            Some(("alsa", "")) => missing("alsa:PCM"),
            Some(("alsa", pcm)) if pcm.len() > LONGEST_PCM => {
                let message = format!(
                    "the name of an ALSA PCM has {} bytes: define it in ~/.asoundrc under a name \
                     of {LONGEST_PCM} at most",
                    pcm.len()
                );
                Err(Error::new(ErrorKind::Invalid, message))
            }
            Some(("null", "")) => Ok(Self::Null),
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
            Self::Clean(Source::Default) => f.write_str("clean"),
            Self::Clean(source) => write!(f, "clean:{source}"),
            Self::Alsa(pcm) => write!(f, "alsa:{pcm}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Null => f.write_str("null:"),
        }
    }
}

/// What the source `default` means while PipeWire can't be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Fallback {
    /// ALSA's default PCM, or the first card that captures where that leads to
    /// a sound server.
    #[default]
    Auto,
    /// Nothing: PipeWire is waited for.
    Off,
    /// This ALSA PCM.
    Pcm(String),
}

impl FromStr for Fallback {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => {
                let message = "an empty name is no ALSA PCM: write auto, off or a PCM's name";
                Err(Error::new(ErrorKind::Invalid, message))
            }
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            pcm => Ok(Self::Pcm(pcm.strip_prefix("alsa:").unwrap_or(pcm).into())),
        }
    }
}

impl TryFrom<String> for Fallback {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}
