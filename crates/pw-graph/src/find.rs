//! What a source means in a graph: by the name that was written, the nodes whose output
//! ports to link, or why there are none, with what could have been meant.

use crate::graph::{Graph, Node, Port};
use crate::{Direction, Source};

/// So many of those that could have been meant are listed.
const LISTED: usize = 8;

/// What a source means now, and the output ports to link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The node's serial, which one daemon never uses twice. 0: a program's streams, which
    /// come and go.
    pub serial: u64,
    /// As `--source` would name it.
    pub name: String,
    /// Its channels' names; empty where they have none.
    pub channels: Vec<String>,
    /// In the order of the channels. May be empty: a device being set up has no ports yet.
    pub ports: Vec<TargetPort>,
}

/// An output port to link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPort {
    pub id: u32,
    /// Never used twice by one daemon, unlike the id.
    pub serial: u64,
    /// Which of the target's channels it carries. A port may carry several, and a channel
    /// come from several ports.
    pub channel: usize,
}

/// How well a name fits; the best that any has is what counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It contains it, without regard to case.
    Contains,
    /// It is its description, its nick or its serial.
    Called,
    Named,
}

impl Graph {
    /// The node that `source` means now, and its name; of a program, its first stream.
    ///
    /// # Errors
    /// As [`target`](Self::target).
    pub fn node_of(&self, source: &Source) -> Result<(u32, String), String> {
        match source {
            Source::App(name) => {
                let streams = self.streams_of(name)?;
                streams
                    .first()
                    .map(|(id, node)| (*id, app_name(node)))
                    .ok_or_else(|| self.plays_nothing(name))
            }
            source => {
                let (id, node) = self.find(source, None)?;
                Ok((id, source_name(node)))
            }
        }
    }

    /// What `source` means now. Where several fit as well, the one with the serial `kept`
    /// stays: what comes later doesn't take a capture over.
    ///
    /// # Errors
    /// A line for people: what is missing, and what there is instead.
    pub fn target(&self, source: &Source, kept: Option<u64>) -> Result<Target, String> {
        if let Source::App(name) = source {
            return self.target_of_app(name);
        }
        let (id, node) = self.find(source, kept)?;
        let outputs = self.dsp_outputs(id);
        Ok(Target {
            serial: node.serial,
            name: source_name(node),
            channels: outputs
                .iter()
                .map(|(_, port)| port.channel.clone())
                .collect(),
            ports: outputs
                .iter()
                .enumerate()
                .map(|(channel, (id, port))| TargetPort {
                    id: *id,
                    serial: port.serial,
                    channel,
                })
                .collect(),
        })
    }

    /// Where the user moved the recording stream `node` to, by a volume control: what that
    /// plays if it is a sink. What has gone since counts no more.
    pub fn moved(&self, node: u32) -> Option<Source> {
        let target = self.moves.get(&node)?;
        let serial = target.parse().ok();
        let mut nodes = self.nodes().map(|(_, node)| node);
        let to = nodes.find(|to| Some(to.serial) == serial || to.name == *target)?;
        let name = to.serial.to_string();
        match (to.is_sink(), to.is_source()) {
            (true, _) => Some(Source::Monitor(name)),
            (_, true) => Some(Source::Node(name)),
            _ => None,
        }
    }

    fn find(&self, source: &Source, kept: Option<u64>) -> Result<(u32, &Node), String> {
        match source {
            Source::Default => self.default_source(),
            Source::DefaultMonitor => self.default_sink(),
            Source::Node(name) => self
                .pick(name, kept, Node::is_source, "source")
                .map_err(|why| match self.pick(name, kept, Node::is_sink, "sink") {
                    Ok((_, sink)) if sink.name == *name => {
                        format!(
                            "{name} is a sink: {} captures what it plays",
                            source_name(sink)
                        )
                    }
                    _ => why,
                }),
            Source::Monitor(name) => self.pick(name, kept, Node::is_sink, "sink").map_err(|why| {
                match self.pick(name, kept, Node::is_source, "source") {
                    Ok((_, source)) if source.name == *name => {
                        format!("{name} is no sink: capture it as {}", source_name(source))
                    }
                    _ => why,
                }
            }),
            // A program is no node: its streams are.
            Source::App(name) => Err(self.plays_nothing(name)),
        }
    }

    /// The node that the session manager names as the default source. Without one, what it
    /// would prefer: the highest `priority.session`, then the oldest. A microphone that an engine
    /// offers is the default of other programs: it needs another one to give anything.
    pub(crate) fn default_source(&self) -> Result<(u32, &Node), String> {
        if let Some(name) = &self.default_source {
            let named = self.named(name);
            let named = named.ok_or_else(|| format!("the default source {name} is gone"))?;
            if !is_offered(named.1) {
                return Ok(named);
            }
        }
        self.preferred(|node| node.is_source() && !is_offered(node))
            .ok_or_else(|| "no source is there: plug in a microphone".to_owned())
    }

    /// The sink that the session plays to; found as the default source is.
    pub(crate) fn default_sink(&self) -> Result<(u32, &Node), String> {
        if let Some(name) = &self.default_sink {
            return self
                .named(name)
                .filter(|(_, node)| node.is_sink())
                .ok_or_else(|| format!("the default sink {name} is gone"));
        }
        self.preferred(Node::is_sink)
            .ok_or_else(|| "no sink is there: nothing can be played".to_owned())
    }

    fn preferred(&self, class: fn(&Node) -> bool) -> Option<(u32, &Node)> {
        self.nodes()
            .filter(|(_, node)| class(node))
            .min_by_key(|(_, node)| (-node.priority, node.serial))
    }

    /// The one node of a class that `name` means.
    fn pick(
        &self,
        name: &str,
        kept: Option<u64>,
        class: fn(&Node) -> bool,
        what: &str,
    ) -> Result<(u32, &Node), String> {
        let all = || self.nodes().filter(|(_, node)| class(node));
        let best = best(all(), |(_, node)| fit(name, node));
        if let [only] = best[..] {
            return Ok(only);
        }
        if let Some(found) = best.iter().find(|(_, node)| Some(node.serial) == kept) {
            return Ok(*found);
        }
        if best.is_empty() {
            let there = list(all().map(|(_, node)| shown(node)));
            return Err(format!("no {what} is called {name}; {there}"));
        }
        let alike = best.iter().all(|(_, node)| node.name == best[0].1.name);
        let candidates = list_of(best.iter().map(|(_, node)| match alike {
            true => format!("{} ({}, {})", node.serial, node.name, node.description),
            false => shown(node),
        }));
        Err(match alike {
            true => {
                format!("several {what}s are called {name}: name one by its serial, {candidates}")
            }
            false => format!("several {what}s fit {name}: {candidates}; write more of one's name"),
        })
    }

    /// All streams that a program plays; none of a program that is there and plays nothing.
    fn streams_of(&self, name: &str) -> Result<Vec<(u32, &Node)>, String> {
        let best = best(self.playing(), |(_, node)| self.fits_app(name, node));
        let mut programs: Vec<&str> = best.iter().map(|(_, node)| program(node)).collect();
        programs.sort_unstable();
        programs.dedup();
        if programs.len() > 1 {
            let candidates = list_of(programs.iter().map(|name| format!("app:{name}")));
            return Err(format!(
                "several programs fit app:{name}: {candidates}; write more of one's name"
            ));
        }
        Ok(best)
    }

    fn target_of_app(&self, name: &str) -> Result<Target, String> {
        let streams = self.streams_of(name)?;
        let Some((_, first)) = streams.first() else {
            return Err(self.plays_nothing(name));
        };
        let mut channels: Vec<String> = Vec::new();
        let mut ports = Vec::new();
        // Two channels and more give the channels; one alone is in each of them.
        let outputs = streams.iter().map(|(id, _)| self.dsp_outputs(*id));
        let (alone, several): (Vec<_>, Vec<_>) = outputs.partition(|ports| ports.len() == 1);
        for stream in &several {
            for (place, (id, port)) in stream.iter().enumerate() {
                let known = channels.iter().position(|name| *name == port.channel);
                let channel = match known {
                    _ if port.channel.is_empty() => place,
                    Some(known) => known,
                    None => channels.len(),
                };
                if channel >= channels.len() {
                    channels.resize(channel, String::new());
                    channels.push(port.channel.clone());
                }
                ports.push(TargetPort {
                    id: *id,
                    serial: port.serial,
                    channel,
                });
            }
        }
        for (id, port) in alone.iter().flatten() {
            if channels.is_empty() {
                channels.push(port.channel.clone());
            }
            ports.extend((0..channels.len()).map(|channel| TargetPort {
                id: *id,
                serial: port.serial,
                channel,
            }));
        }
        ports.sort_by_key(|port| (port.channel, port.serial));
        Ok(Target {
            serial: 0,
            name: app_name(first),
            channels,
            ports,
        })
    }

    /// The streams that programs play.
    pub(crate) fn playing(&self) -> impl Iterator<Item = (u32, &Node)> {
        self.nodes()
            .filter(|(_, node)| node.class == "Stream/Output/Audio")
    }

    fn fits_app(&self, name: &str, node: &Node) -> Option<Fit> {
        let client = node.client.and_then(|id| self.client(id));
        let names = [&*node.program, &*node.name, client.unwrap_or_default()];
        if names.contains(&name) {
            Some(Fit::Named)
        } else if names.iter().any(|other| same(other, name)) {
            Some(Fit::Called)
        } else {
            let mut names = names.iter();
            names
                .any(|other| contains(other, name))
                .then_some(Fit::Contains)
        }
    }

    /// A node's output ports that can be linked, with their ids, in their order.
    pub(crate) fn dsp_outputs(&self, node: u32) -> Vec<(u32, &Port)> {
        let outputs = self.ports_of(node, Direction::Out);
        let outputs = outputs.filter_map(|id| Some((id, self.port(id)?)));
        outputs.filter(|(_, port)| port.dsp).collect()
    }

    fn plays_nothing(&self, name: &str) -> String {
        let mut playing: Vec<&str> = self.playing().map(|(_, node)| program(node)).collect();
        playing.sort_unstable();
        playing.dedup();
        let there = list(playing.iter().map(|name| format!("app:{name}")));
        format!("no program that plays is called {name}; {there}")
    }
}

/// Those that fit best.
fn best<'a>(
    nodes: impl Iterator<Item = (u32, &'a Node)>,
    fit: impl Fn(&(u32, &'a Node)) -> Option<Fit>,
) -> Vec<(u32, &'a Node)> {
    let fits: Vec<_> = nodes
        .filter_map(|found| Some((fit(&found)?, found)))
        .collect();
    let best = fits.iter().map(|(fit, _)| *fit).max();
    let fits = fits.into_iter();
    fits.filter(|(fit, _)| Some(*fit) == best)
        .map(|(_, found)| found)
        .collect()
}

fn fit(name: &str, node: &Node) -> Option<Fit> {
    if node.name == name {
        Some(Fit::Named)
    } else if [&*node.description, &*node.nick].contains(&name) || name.parse() == Ok(node.serial) {
        Some(Fit::Called)
    } else {
        let mut names = [&node.name, &node.description, &node.nick].into_iter();
        names
            .any(|other| contains(other, name))
            .then_some(Fit::Contains)
    }
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// What there is, for who asked for something else.
fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.len() {
        0 => "there is none at all".to_owned(),
        _ => format!("there are {}", list_of(names.into_iter())),
    }
}

fn list_of(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let mut text = names.join(", ");
    if more > 0 {
        text += &format!(" and {more} more, see v2m-engine sources");
    }
    text
}

/// A node's name and, where it says more, its description.
fn shown(node: &Node) -> String {
    match node.description == node.name {
        true => source_name(node),
        false => format!("{} ({})", source_name(node), node.description),
    }
}

/// Whether it is an engine's virtual microphone.
fn is_offered(node: &Node) -> bool {
    node.is_source() && node.program == "v2m-engine"
}

/// What `--source` takes for a node.
pub(crate) fn source_name(node: &Node) -> String {
    match node.is_sink() {
        true => Source::Monitor(node.name.clone()).to_string(),
        false => Source::Node(node.name.clone()).to_string(),
    }
}

/// What `--source` takes for the program that plays a stream.
pub(crate) fn app_name(node: &Node) -> String {
    Source::App(program(node).to_owned()).to_string()
}

/// The program's name for itself, or its stream's.
fn program(node: &Node) -> &str {
    match node.program.is_empty() {
        true => &node.name,
        false => &node.program,
    }
}

#[cfg(test)]
mod tests;
