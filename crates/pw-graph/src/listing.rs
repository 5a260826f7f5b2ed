//! What can be captured from a running daemon.

use pipewire::main_loop::MainLoopRc;

use crate::connection::{Asks, Connection, new_context, settle};
use crate::find::{app_name, source_name};
use crate::graph::{Graph, Node};
use crate::volume::Volume;
use crate::{Error, Result};
use v2m_client::quantum::Quantum;
use v2m_client::status::{SourceInfo, SourceKind};

/// What a running daemon offers for capture, the default first; waits 4 s at most.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the daemon can't be reached,
/// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if it does not answer.
pub fn sources(remote: Option<&str>) -> Result<Vec<SourceInfo>> {
    pipewire::init();
    let main_loop = MainLoopRc::new(None).map_err(|e| Error::system("no PipeWire loop", e))?;
    let context = new_context(&main_loop, Asks::Nothing)?;
    let mut connection = Connection::open(&context, remote)?;
    settle(&main_loop, &mut connection, remote)?;
    let mut volumes = Vec::new();
    for id in connection.graph.listed() {
        volumes.push(Volume::listen(&connection.registry, id)?);
    }
    connection.touch();
    settle(&main_loop, &mut connection, remote)?;
    let muted = |id| {
        let mut volumes = volumes.iter().filter(|volume| volume.id() == id);
        volumes.any(Volume::is_inaudible)
    };
    Ok(connection.graph.sources(connection.graph_default, muted))
}

impl Graph {
    /// The nodes that can be captured, by id: the default first, then by kind and priority;
    /// of a program's streams the first.
    fn listed(&self) -> Vec<u32> {
        let default = self.default_source().ok().map(|(id, _)| id);
        let nodes = self
            .nodes()
            .filter(|(_, node)| node.is_source() || node.is_sink());
        let mut nodes: Vec<_> = nodes.collect();
        nodes.sort_by_key(|(id, node)| {
            let preferred = (-node.priority, node.name.as_str(), node.serial);
            (Some(*id) != default, node.is_sink(), preferred)
        });
        let mut programs: Vec<_> = self.playing().collect();
        programs.sort_by_key(|(_, node)| (app_name(node), node.serial));
        programs.dedup_by_key(|(_, node)| app_name(node));
        nodes.iter().chain(&programs).map(|(id, _)| *id).collect()
    }

    /// Everything that can be captured; `muted` tells of a node, by id.
    fn sources(&self, graph: Quantum, muted: impl Fn(u32) -> bool) -> Vec<SourceInfo> {
        let default = self.default_source().ok().map(|(id, _)| id);
        let found = self.listed().into_iter().filter_map(|id| {
            let (_, node) = self.nodes().find(|(other, _)| *other == id)?;
            Some(SourceInfo {
                default: Some(id) == default,
                // What a sink plays is captured however it is muted.
                muted: !node.is_sink() && muted(id),
                channels: u32::try_from(self.dsp_outputs(id).len())
                    .ok()
                    .filter(|channels| *channels > 0),
                rate: Some(graph.rate),
                ..named(node)
            })
        });
        found.collect()
    }
}

fn named(node: &Node) -> SourceInfo {
    let (kind, name, description) = if node.is_sink() {
        let description = format!("Monitor of {}", node.description);
        (SourceKind::Monitor, source_name(node), description)
    } else if node.is_source() {
        let description = node.description.clone();
        (SourceKind::Source, source_name(node), description)
    } else {
        let description = match node.description == node.name {
            true => format!("What {} plays", node.program),
            false => node.description.clone(),
        };
        (SourceKind::App, app_name(node), description)
    };
    SourceInfo {
        name,
        description,
        kind,
        default: false,
        muted: false,
        channels: None,
        rate: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Object;

    fn node(name: &str, class: &str, priority: i64) -> Object {
        Object::Node(Node {
            serial: 0,
            name: name.to_owned(),
            description: name.to_uppercase(),
            nick: String::new(),
            program: name.to_owned(),
            client: None,
            class: class.to_owned(),
            priority,
        })
    }

    #[test]
    fn sources_come_in_the_order_of_preference() {
        let mut graph = Graph::default();
        graph.add(1, node("speakers", "Audio/Sink", 900));
        graph.add(2, node("player", "Stream/Output/Audio", 0));
        graph.add(3, node("poor", "Audio/Source", 10));
        graph.add(4, node("good", "Audio/Duplex", 20));
        graph.add(5, node("virtual", "Audio/Source/Virtual", 30));
        graph.add(6, node("player", "Stream/Output/Audio", 0));
        graph.default_source = Some("poor".to_owned());
        let all = graph.sources(Quantum::DEFAULT, |id| [1, 4].contains(&id));
        let names: Vec<_> = all.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(
            names,
            ["poor", "virtual", "good", "monitor:speakers", "app:player"]
        );
        assert_eq!(all.iter().filter(|s| s.default).count(), 1);
        assert_eq!(all[3].description, "Monitor of SPEAKERS");
        let muted: Vec<_> = all.iter().map(|s| s.muted).collect();
        assert_eq!(muted, [false, false, true, false, false]);
    }
}
