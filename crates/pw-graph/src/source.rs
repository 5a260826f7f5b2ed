//! What to capture from PipeWire, as it is written.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};
use v2m_error::text;

/// What stands before a node's name that would mean something else without it.
const NODE: &str = "node";
/// What stands before the names of other kinds of sources, here and elsewhere in the engine.
const KINDS: [&str; 7] = ["monitor", "app", NODE, "clean", "alsa", "file", "null"];
/// Sources that are one word.
const WORDS: [&str; 2] = ["default", "clean"];

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

    /// `default`, `monitor:default`, `monitor:SINK`, `app:NAME`, or a source's name, which may
    /// stand behind `node:`, as a sink's may in `monitor:node:SINK`.
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
            Some((NODE, "") | ("monitor", "node:")) => {
                invalid("node: is to be followed by a node's name, see v2m-engine sources")
            }
            Some((NODE, name)) => Ok(Self::Node(name.to_owned())),
            Some(("monitor", "default")) => Ok(Self::DefaultMonitor),
            Some(("monitor", sink)) => {
                let sink = sink.strip_prefix("node:").unwrap_or(sink);
                Ok(Self::Monitor(sink.to_owned()))
            }
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
            Self::Node(name) if is_taken(name) => write!(f, "{NODE}:{name}"),
            Self::Node(name) => f.write_str(name),
            Self::DefaultMonitor => f.write_str("monitor:default"),
            Self::Monitor(sink) if sink == "default" || sink.starts_with("node:") => {
                write!(f, "monitor:{NODE}:{sink}")
            }
            Self::Monitor(sink) => write!(f, "monitor:{sink}"),
            Self::App(name) => write!(f, "app:{name}"),
        }
    }
}

/// Whether a name alone means something else than the node that is called so.
fn is_taken(name: &str) -> bool {
    match name.split_once(':') {
        Some((kind, _)) => KINDS.contains(&kind),
        None => WORDS.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            "node:default",
            "node:file:x",
            "node:node:clean",
            "monitor:node:default",
            "monitor:file:x",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for bad in ["", " ", "monitor:", "app:", "node:", "monitor:node:"] {
            assert_eq!(
                bad.parse::<Source>().unwrap_err().kind(),
                ErrorKind::Invalid
            );
        }
    }

    proptest! {
        /// However a node is called: what is listed for it means it.
        #[test]
        fn whatever_a_node_is_called_it_can_be_named(
            before in prop::sample::select(vec![
                "", "node:", "monitor:", "app:", "clean:", "alsa:", "file:", "null:", "usb:",
            ]),
            name in prop_oneof![Just("default".to_owned()), Just("clean".to_owned()), "[a-z:.]{1,8}"],
        ) {
            let name = format!("{before}{name}");
            for source in [Source::Node(name.clone()), Source::Monitor(name)] {
                prop_assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
            }
        }
    }
}
