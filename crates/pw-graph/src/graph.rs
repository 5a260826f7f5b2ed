//! What the daemon's graph holds, as far as capturing needs it. Pure state: fed by the
//! registry, asked by the linker; what a source means in it is found by `find`.

use std::collections::BTreeMap;

use crate::Direction;

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
    /// `node.nick`: a shorter description; empty if it has none.
    pub nick: String,
    /// `application.name` of a stream; empty if it has none.
    pub program: String,
    /// Global id of the client that made it, if one did.
    pub client: Option<u32>,
    /// `media.class`; empty if it has none.
    pub class: String,
    /// `priority.session`: higher is preferred.
    pub priority: i64,
}

impl Node {
    /// Gives sound.
    pub(crate) fn is_source(&self) -> bool {
        self.class.starts_with("Audio/Source") || self.class == "Audio/Duplex"
    }

    /// Takes sound, and gives what it plays.
    pub(crate) fn is_sink(&self) -> bool {
        self.class.starts_with("Audio/Sink")
    }
}

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
    /// Where the user moved nodes to, by the node's id: another's serial or name, or -1 to take
    /// a move back; the metadata `target.object`.
    pub moves: BTreeMap<u32, String>,
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
        self.moves.remove(&id);
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

    pub fn node_named(&self, name: &str) -> Option<u32> {
        self.named(name).map(|(id, _)| id)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (u32, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    pub fn port(&self, id: u32) -> Option<&Port> {
        self.ports.get(&id)
    }

    /// The name of the client of this id.
    pub(crate) fn client(&self, id: u32) -> Option<&str> {
        self.clients.get(&id).map(String::as_str)
    }

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
        self.nodes.get(&node).is_some_and(|node| !node.is_sink())
    }

    /// Whether the daemon has anything to do with sound: without a source and a sink it serves
    /// screens, and the sound is somebody else's.
    pub fn has_audio(&self) -> bool {
        self.nodes
            .values()
            .any(|node| node.class.starts_with("Audio/"))
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

    /// The node of this name; the one with the lowest id of several.
    pub(crate) fn named(&self, name: &str) -> Option<(u32, &Node)> {
        self.nodes().find(|(_, node)| node.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
