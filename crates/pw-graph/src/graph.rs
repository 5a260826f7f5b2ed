//! What the daemon's graph holds, as far as capturing needs it, and which ports a
//! source means in it. Pure state: fed by the registry, asked by the linker.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::{Direction, Error, ErrorKind, Result};
use v2m_client::status::SourceInfo;
use v2m_error::text;

/// What to capture from PipeWire.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Source {
    /// The session's default source, whichever it is at the time.
    #[default]
    Default,
    /// The node of this name.
    Node(String),
    /// What this sink plays.
    Monitor(String),
}

impl FromStr for Source {
    type Err = Error;

    /// `default`, `monitor:<sink>`, or a node's name, as it is shown.
    fn from_str(text: &str) -> Result<Self> {
        let text = &*text::name(text);
        match text.strip_prefix("monitor:") {
            Some("") => Err(Error::new(
                ErrorKind::Invalid,
                "source monitor: names no sink: write monitor:<sink>, see v2m-engine sources",
            )),
            Some(sink) => Ok(Self::Monitor(sink.to_owned())),
            None if text.is_empty() => Err(Error::new(
                ErrorKind::Invalid,
                "the source's name is empty: write default or a name that v2m-engine sources lists",
            )),
            None if text == "default" => Ok(Self::Default),
            None => Ok(Self::Node(text.to_owned())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Node(name) => f.write_str(name),
            Self::Monitor(sink) => write!(f, "monitor:{sink}"),
        }
    }
}

/// A node, a port or a link, as the registry announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// What has ports.
    Node(Node),
    /// Where a node's samples enter or leave.
    Port(Port),
    /// From an output to an input port.
    Link(Link),
    /// A program that is connected, by its name.
    Client(String),
}

/// A node, by what its owner says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Never used twice by one daemon, unlike the id.
    pub serial: u64,
    /// `node.name`: what it is found by.
    pub name: String,
    /// `node.description`, for people.
    pub description: String,
    /// `media.class`; empty if it has none.
    pub class: String,
    /// `priority.session`: higher is preferred.
    pub priority: i64,
}

/// A port of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Never used twice by one daemon, unlike the id.
    pub serial: u64,
    /// Global id of the node that has it.
    pub node: u32,
    /// Seen from the node.
    pub direction: Direction,
    /// Carries mono DSP samples, so that it can be linked to the engine.
    pub dsp: bool,
    /// Its place among the node's ports of this direction.
    pub index: u32,
    /// `audio.channel`: FL, AUX0, …; empty if it has none.
    pub channel: String,
}

/// A link, by its ports' global ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Samples come from here.
    pub output: u32,
    /// They go here.
    pub input: u32,
}

/// The node a source means now, and the output ports to link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The node's; never used twice by one daemon.
    pub serial: u64,
    /// As `--source` would name it.
    pub name: String,
    /// In the order of the channels. May be empty: a device being set up has no ports yet.
    pub ports: Vec<TargetPort>,
}

/// An output port to link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPort {
    /// Its global id.
    pub id: u32,
    /// Never used twice by one daemon, unlike the id.
    pub serial: u64,
    /// Its channel's name; empty if it has none.
    pub channel: String,
}

/// All nodes, ports and links by global id.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<u32, Node>,
    ports: BTreeMap<u32, Port>,
    links: BTreeMap<u32, Link>,
    clients: BTreeMap<u32, String>,
    /// The node's name in the metadata `default.audio.source`.
    pub default_source: Option<String>,
    /// The node's name in the metadata `default.audio.sink`.
    pub default_sink: Option<String>,
}

impl Graph {
    /// Takes up what the registry announced, in place of what had the id before.
    pub fn add(&mut self, id: u32, object: Object) {
        match object {
            Object::Node(node) => drop(self.nodes.insert(id, node)),
            Object::Port(port) => drop(self.ports.insert(id, port)),
            Object::Link(link) => drop(self.links.insert(id, link)),
            Object::Client(name) => drop(self.clients.insert(id, name)),
        }
    }

    /// True if the id was one of ours to know.
    pub fn remove(&mut self, id: u32) -> bool {
        self.nodes.remove(&id).is_some()
            | self.ports.remove(&id).is_some()
            | self.links.remove(&id).is_some()
            | self.clients.remove(&id).is_some()
    }

    /// The ports of `node` in one direction that the daemon has announced, in their order.
    pub fn ports_of(&self, node: u32, direction: Direction) -> impl Iterator<Item = u32> + '_ {
        let ports = self.ports.iter();
        let mut ports: Vec<_> = ports
            .filter(|(_, p)| p.node == node && p.direction == direction)
            .map(|(id, p)| (p.index, *id))
            .collect();
        ports.sort_unstable();
        ports.into_iter().map(|(_, id)| id)
    }

    /// The node of this name.
    pub fn node_named(&self, name: &str) -> Option<u32> {
        self.named(name).map(|(id, _)| id)
    }

    /// The sink that the session plays to: the one its manager names, or else the one it
    /// would prefer.
    pub fn default_sink(&self) -> Option<&str> {
        if let Some(name) = &self.default_sink {
            return Some(name);
        }
        let sinks = self.nodes.values().filter(|node| is_sink(node));
        sinks
            .min_by_key(|node| (-node.priority, node.serial))
            .map(|node| node.name.as_str())
    }

    /// The link of this id.
    pub fn link(&self, id: u32) -> Option<Link> {
        self.links.get(&id).copied()
    }

    /// The output ports linked to `input`.
    pub fn linked_to(&self, input: u32) -> impl Iterator<Item = u32> + '_ {
        self.links
            .values()
            .filter(move |link| link.input == input)
            .map(|link| link.output)
    }

    /// The node whose sound arrives at `node`, if it is one alone that its volume can mute,
    /// and its name.
    pub fn heard_by(&self, node: u32) -> Option<(u32, &str)> {
        let inputs = self.ports_of(node, Direction::In);
        let outputs = inputs.flat_map(|input| self.linked_to(input));
        let mut nodes = outputs.map(|output| self.ports.get(&output).map(|port| port.node));
        let first = nodes.next()??;
        let alone = nodes.all(|node| node == Some(first));
        let name = &self.nodes.get(&first)?.name;
        (alone && self.is_muted_by_its_volume(first)).then_some((first, name))
    }

    /// What a sink plays can be captured however it is muted.
    pub fn is_muted_by_its_volume(&self, node: u32) -> bool {
        self.nodes.get(&node).is_some_and(|node| !is_sink(node))
    }

    /// The name of the node that has this port.
    pub fn owner(&self, port: u32) -> Option<&str> {
        let node = self.ports.get(&port)?.node;
        self.nodes.get(&node).map(|node| node.name.as_str())
    }

    /// The session manager's name, if one is connected.
    pub fn session_manager(&self) -> Option<&str> {
        let managers = ["wireplumber", "media-session"];
        let mut clients = self.clients.values();
        clients
            .find(|name| {
                let name = name.to_lowercase();
                managers.iter().any(|manager| name.contains(manager))
            })
            .map(String::as_str)
    }

    /// The node that `source` means now, and its name.
    pub fn node_of(&self, source: &Source) -> Result<(u32, String), String> {
        let (id, node) = self.find(source)?;
        Ok((id, source_name(node)))
    }

    /// What `source` means now; the error says, for people, what is missing.
    pub fn target(&self, source: &Source) -> Result<Target, String> {
        let (id, node) = self.find(source)?;
        let outputs = self.ports_of(id, Direction::Out);
        let outputs = outputs.filter_map(|id| Some((id, self.ports.get(&id)?)));
        Ok(Target {
            serial: node.serial,
            name: source_name(node),
            ports: outputs
                .filter(|(_, port)| port.dsp)
                .map(|(id, port)| TargetPort {
                    id,
                    serial: port.serial,
                    channel: port.channel.clone(),
                })
                .collect(),
        })
    }

    fn find(&self, source: &Source) -> Result<(u32, &Node), String> {
        let found = match source {
            Source::Default => self.default_node()?,
            Source::Node(name) => {
                let found = self
                    .named(name)
                    .ok_or_else(|| format!("no source {name}"))?;
                if is_sink(found.1) {
                    return Err(format!(
                        "{name} is a sink: monitor:{name} captures what it plays"
                    ));
                }
                found
            }
            Source::Monitor(name) => {
                let found = self.named(name).ok_or_else(|| format!("no sink {name}"))?;
                if !is_sink(found.1) {
                    return Err(format!("{name} is no sink: capture it as {name}"));
                }
                found
            }
        };
        Ok(found)
    }

    /// Everything that can be captured, the default first, then by priority.
    pub fn sources(&self) -> Vec<SourceInfo> {
        let default = self.default_node().ok().map(|(id, _)| id);
        let mut nodes: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, n)| is_source(n) || is_sink(n))
            .collect();
        nodes.sort_by_key(|(id, n)| {
            (
                Some(**id) != default,
                is_sink(n),
                -n.priority,
                n.name.as_str(),
            )
        });
        let info = |(id, node): (&u32, &Node)| SourceInfo {
            name: source_name(node),
            description: match is_sink(node) {
                true => format!("Monitor of {}", node.description),
                false => node.description.clone(),
            },
            default: Some(*id) == default,
        };
        nodes.into_iter().map(info).collect()
    }

    /// The node the session manager names. Without one, the source that it would
    /// prefer: the highest `priority.session`, then the oldest.
    fn default_node(&self) -> Result<(u32, &Node), String> {
        if let Some(name) = &self.default_source {
            return self
                .named(name)
                .ok_or_else(|| format!("the default source {name} is gone"));
        }
        self.nodes
            .iter()
            .filter(|(_, node)| is_source(node))
            .min_by_key(|(_, node)| (-node.priority, node.serial))
            .map(|(id, node)| (*id, node))
            .ok_or_else(|| "no source is there: plug in a microphone".to_owned())
    }

    fn named(&self, name: &str) -> Option<(u32, &Node)> {
        let mut nodes = self.nodes.iter();
        nodes
            .find(|(_, node)| node.name == name)
            .map(|(id, node)| (*id, node))
    }
}

fn is_source(node: &Node) -> bool {
    node.class.starts_with("Audio/Source") || node.class == "Audio/Duplex"
}

fn is_sink(node: &Node) -> bool {
    node.class.starts_with("Audio/Sink")
}

fn source_name(node: &Node) -> String {
    match is_sink(node) {
        true => Source::Monitor(node.name.clone()).to_string(),
        false => node.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, class: &str, priority: i64) -> Object {
        Object::Node(Node {
            serial: 0,
            name: name.to_owned(),
            description: name.to_uppercase(),
            class: class.to_owned(),
            priority,
        })
    }

    #[test]
    fn a_source_is_read_as_it_is_written() {
        for text in ["default", "alsa_input.usb", "monitor:alsa_output.pci"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for bad in ["", "monitor:"] {
            assert_eq!(
                bad.parse::<Source>().unwrap_err().kind(),
                ErrorKind::Invalid
            );
        }
    }

    #[test]
    fn sources_come_in_the_order_of_preference() {
        let mut graph = Graph::default();
        graph.add(1, node("speakers", "Audio/Sink", 900));
        graph.add(2, node("player", "Stream/Output/Audio", 0));
        graph.add(3, node("poor", "Audio/Source", 10));
        graph.add(4, node("good", "Audio/Duplex", 20));
        graph.add(5, node("virtual", "Audio/Source/Virtual", 30));
        graph.default_source = Some("poor".to_owned());
        let all = graph.sources();
        let names: Vec<_> = all.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["poor", "virtual", "good", "monitor:speakers"]);
        assert_eq!(all.iter().filter(|s| s.default).count(), 1);
        assert_eq!(all[3].description, "Monitor of SPEAKERS");
    }

    #[test]
    fn a_session_manager_is_known_by_its_name() {
        let mut graph = Graph::default();
        graph.add(1, Object::Client("pw-cli".into()));
        assert_eq!(graph.session_manager(), None);
        graph.add(2, Object::Client("WirePlumber".into()));
        assert_eq!(graph.session_manager(), Some("WirePlumber"));
        assert!(graph.remove(2));
        assert_eq!(graph.session_manager(), None);
    }

    #[test]
    fn only_dsp_outputs_are_linked() {
        let mut graph = Graph::default();
        graph.add(1, node("mic", "Audio/Source", 0));
        for (id, direction, dsp) in [
            (2, Direction::Out, true),
            (3, Direction::Out, false),
            (4, Direction::In, true),
        ] {
            graph.add(
                id,
                Object::Port(Port {
                    serial: 7,
                    node: 1,
                    direction,
                    dsp,
                    index: 0,
                    channel: String::new(),
                }),
            );
        }
        let target = graph.target(&Source::Default).unwrap();
        let ports: Vec<_> = target.ports.iter().map(|p| (p.id, p.serial)).collect();
        assert_eq!(ports, [(2, 7)]);
        assert!(graph.remove(2) && !graph.remove(2));
        assert!(graph.target(&Source::Default).unwrap().ports.is_empty());
    }
}
