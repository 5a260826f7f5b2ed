//! What to capture from PipeWire, as it is written.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};
use v2m_error::text;

/// What to capture from PipeWire. What it means in a graph, [`Graph::target`] finds.
///
/// [`Graph::target`]: crate::Graph::target
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Source {
    /// The session's default source, whichever it is at the time.
    #[default]
    Default,
    /// A source by its name, description, nick or serial, or a part of these.
    Node(String),
    /// What the session's default sink plays, whichever it is at the time.
    DefaultMonitor,
    /// What a sink plays; named as a source is.
    Monitor(String),
    /// What one program plays.
    App(String),
}

impl FromStr for Source {
    type Err = Error;

    /// `default`, `monitor:default`, `monitor:SINK`, `app:NAME`, or a source's name.
    fn from_str(text: &str) -> Result<Self> {
        let text = &*text::name(text);
        let invalid = |message: &str| Err(Error::new(ErrorKind::Invalid, message));
        match text.split_once(':') {
            Some(("monitor", "")) => invalid(
                "monitor: names no sink: write monitor:default or monitor:SINK, \
                 see v2m-engine sources",
            ),
            Some(("app", "")) => {
                invalid("app: names no program: write app:NAME, see v2m-engine sources")
            }
            Some(("monitor", "default")) => Ok(Self::DefaultMonitor),
            Some(("monitor", sink)) => Ok(Self::Monitor(sink.to_owned())),
            Some(("app", name)) => Ok(Self::App(name.to_owned())),
            _ if text.trim().is_empty() => invalid(
                "the source's name is empty: write default or a name that v2m-engine sources lists",
            ),
            _ if text == "default" => Ok(Self::Default),
            _ => Ok(Self::Node(text.to_owned())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Node(name) => f.write_str(name),
            Self::DefaultMonitor => f.write_str("monitor:default"),
            Self::Monitor(sink) => write!(f, "monitor:{sink}"),
            Self::App(name) => write!(f, "app:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_written() {
        for text in [
            "default",
            "alsa_input.usb",
            "monitor:alsa_output.pci",
            "monitor:default",
            "app:Firefox",
            "bluez_input.00:11",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for bad in ["", " ", "monitor:", "app:"] {
            assert_eq!(
                bad.parse::<Source>().unwrap_err().kind(),
                ErrorKind::Invalid
            );
        }
    }
}
