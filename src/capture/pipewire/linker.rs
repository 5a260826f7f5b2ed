//! Decides which links should be: ours to the source's ports, and nobody else's
//! touched. Pure: it looks at the graph and answers with steps to take.

use std::collections::BTreeMap;

use super::graph::{Graph, Source, Target};
use crate::capture::Event;

/// What to do, and what to tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Output ports whose links we made and must remove.
    pub(super) destroy: Vec<u32>,
    /// Links to make: output port, input port.
    pub(super) create: Vec<(u32, u32)>,
    /// How many links the input's samples are the sum of.
    pub(super) links: usize,
    /// Told only when it is news.
    pub(super) event: Option<Event>,
}

/// What became of the link from one of the target's ports.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// We asked for it and the registry has not shown it yet.
    Asked,
    /// It is there, and ours.
    Made,
    /// It is there, made by somebody else before us.
    Theirs,
    /// It was there and somebody removed it: not made again.
    Removed,
    /// The daemon refused it.
    Refused(String),
}

#[derive(Debug, Default)]
pub(super) struct Linker {
    source: Source,
    target: Option<Target>,
    /// By the target's output port.
    fates: BTreeMap<u32, Fate>,
    told: Option<Event>,
}

impl Linker {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            ..Self::default()
        }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Takes effect at the next [`Linker::decide`]. A change asks anew for links that
    /// were removed by hand or refused, even if it means the same node.
    pub(super) fn set_source(&mut self, source: Source) {
        if source != self.source {
            self.source = source;
            self.fates
                .retain(|_, f| !matches!(f, Fate::Removed | Fate::Refused(_)));
        }
    }

    /// The daemon would not make the link from `output`.
    pub(super) fn refused(&mut self, output: u32, why: String) {
        if let Some(fate) = self.fates.get_mut(&output) {
            *fate = Fate::Refused(why);
        }
    }

    /// The steps from the graph as it is to the graph as it should be. To be asked
    /// only when the daemon has told all of a change: a port that goes takes its
    /// links with it, which must not look like a link removed by hand.
    pub(super) fn decide(&mut self, graph: &Graph, own_node: Option<u32>) -> Steps {
        let mut steps = Steps::default();
        let Some(input) = own_node.and_then(|node| graph.input_of(node)) else {
            return steps; // our own node is still being announced
        };
        let linked: Vec<u32> = graph.linked_to(input).collect();

        let (target, missing) = match graph.target(&self.source) {
            Ok(target) => (Some(target), None),
            Err(why) => (None, Some(why)),
        };
        if target.as_ref().map(|t| t.serial) != self.target.as_ref().map(|t| t.serial) {
            // Another source, or the same come back: what was removed by hand was
            // removed from the old one.
            for (output, fate) in std::mem::take(&mut self.fates) {
                if matches!(fate, Fate::Asked | Fate::Made) {
                    steps.destroy.push(output);
                }
            }
        }
        self.target = target;

        let ports = self.target.as_ref().map_or(&[][..], |t| &t.ports);
        let destroy = &mut steps.destroy;
        self.fates.retain(|output, fate| {
            let stays = ports.contains(output);
            if !stays && matches!(fate, Fate::Asked | Fate::Made) {
                destroy.push(*output);
            }
            stays
        });
        for &output in ports {
            let there = linked.contains(&output);
            let now = match self.fates.get(&output) {
                None if there => Fate::Theirs,
                None => {
                    steps.create.push((output, input));
                    Fate::Asked
                }
                Some(Fate::Asked) if there => Fate::Made,
                Some(Fate::Made | Fate::Theirs) if !there => {
                    steps.destroy.push(output); // the proxy of a dead link
                    Fate::Removed
                }
                Some(Fate::Removed | Fate::Refused(_)) if there => Fate::Theirs,
                Some(fate) => fate.clone(),
            };
            self.fates.insert(output, now);
        }

        // Links that go were counted in `linked`, links that come were not.
        let stay = linked.iter().filter(|o| !steps.destroy.contains(o)).count();
        let come = self
            .fates
            .values()
            .filter(|f| matches!(f, Fate::Asked))
            .count();
        steps.links = stay + come;

        let news = self.state(graph, &linked, &steps.destroy, missing);
        if news.is_some() && news != self.told {
            self.told.clone_from(&news);
            steps.event = news;
        }
        steps
    }

    /// What to tell; `None` while links are on their way.
    fn state(
        &self,
        graph: &Graph,
        linked: &[u32],
        going: &[u32],
        missing: Option<String>,
    ) -> Option<Event> {
        let there = |f: &Fate| matches!(f, Fate::Made | Fate::Theirs);
        if let Some(target) = &self.target {
            if self.fates.values().any(|f| *f == Fate::Asked) {
                return None;
            }
            if self.fates.values().any(there) {
                return Some(Event::Linked(target.name.clone()));
            }
        }
        // Not by us, but somebody may have linked something by hand.
        let mut others = linked.iter().filter(|o| !going.contains(o));
        if let Some(name) = others.find_map(|o| graph.owner(*o)) {
            return Some(Event::Linked(name.to_owned()));
        }
        let refused = self.fates.values().find_map(|f| match f {
            Fate::Refused(why) => Some(why),
            _ => None,
        });
        Some(Event::Waiting(match (&self.target, missing, refused) {
            (Some(t), _, Some(why)) => format!("PipeWire refused to link {}: {why}", t.name),
            (Some(t), ..) if t.ports.is_empty() => format!("{} has no audio port yet", t.name),
            (Some(t), ..) => format!("the link to {} was removed; link it again", t.name),
            (None, Some(why), _) => why,
            (None, None, _) => "no source".to_owned(),
        }))
    }
}
