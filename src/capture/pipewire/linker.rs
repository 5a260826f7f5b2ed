//! Decides which links should be: ours from each of the source's ports to one of our
//! own, and nobody else's touched. Pure: it looks at the graph and answers with steps to take.

use std::collections::BTreeMap;

use crate::capture::Event;
use v2m_dsp::channels::{MAX_CHANNELS, Selection, names_for};
use v2m_pw_filter::Direction;
use v2m_pw_graph::{Graph, Source, Target};

/// A link's output port and input port.
pub(super) type Ends = (u32, u32);

/// What to do, and what to tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Links that we made and must remove.
    pub(super) destroy: Vec<Ends>,
    /// Links to make.
    pub(super) create: Vec<Ends>,
    /// The source's channels by name, where they are others than before: to be known
    /// before links are made.
    pub(super) channels: Option<Vec<String>>,
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
    /// What is to be heard of it.
    selection: Selection,
    /// No links of ours.
    resting: bool,
    target: Option<Target>,
    /// By the link's ends, with the output port's serial.
    fates: BTreeMap<Ends, (u64, Fate)>,
    /// Why what is asked for isn't there, also while at rest.
    missing: Option<String>,
    /// The source's serial and channels that were told last.
    channels: Option<(u64, Vec<String>)>,
    told: Option<Event>,
}

impl Linker {
    pub(super) fn new(source: Source, selection: Selection) -> Self {
        Self {
            source,
            selection,
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
                .retain(|_, (_, f)| !matches!(f, Fate::Removed | Fate::Refused(_)));
        }
    }

    pub(super) fn is_active(&self) -> bool {
        !self.resting
    }

    /// Takes effect at the next [`Linker::decide`]: without being active no link is
    /// ours, and nothing is told.
    pub(super) fn set_active(&mut self, active: bool) {
        self.resting = !active;
    }

    /// How many ports our node needs.
    pub(super) fn ports(&self, graph: &Graph) -> usize {
        let target = self.find(graph);
        target.map_or(1, |target| target.channels.len().clamp(1, MAX_CHANNELS))
    }

    fn find(&self, graph: &Graph) -> Result<Target, String> {
        graph.target(
            &self.source,
            self.target.as_ref().map(|target| target.serial),
        )
    }

    /// Why what is asked for isn't there, as of the last [`Linker::decide`].
    pub(super) fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// Our node is made again: links of ours are gone, and not by hand.
    pub(super) fn start_anew(&mut self) {
        self.fates
            .retain(|_, (_, fate)| !matches!(fate, Fate::Asked | Fate::Made | Fate::Theirs));
    }

    /// The daemon would not make this link.
    pub(super) fn refused(&mut self, ends: Ends, why: String) {
        if let Some((_, fate)) = self.fates.get_mut(&ends) {
            *fate = Fate::Refused(why);
        }
    }

    /// The steps from the graph as it is to the graph as it should be. To be asked
    /// only when the daemon has told all of a change: a port that goes takes its
    /// links with it, which must not look like a link removed by hand.
    pub(super) fn decide(&mut self, graph: &Graph, own_node: Option<u32>) -> Steps {
        let mut steps = Steps::default();
        let inputs: Vec<u32> = match own_node {
            Some(node) => graph.ports_of(node, Direction::In).collect(),
            None => Vec::new(),
        };
        let found = self.find(graph);
        let found = found.and_then(|target| self.with_channel(target));
        self.missing = found.as_ref().err().cloned();
        if self.resting {
            // What others did to links is remembered.
            self.told = None;
            self.fates.retain(|ends, (_, fate)| {
                let ours = matches!(fate, Fate::Asked | Fate::Made);
                if ours {
                    steps.destroy.push(*ends);
                }
                !ours
            });
            return steps;
        }
        if inputs.len() < self.ports(graph) {
            return steps; // our own node is still being announced
        }
        let linked: Vec<Ends> = inputs
            .iter()
            .flat_map(|&input| graph.linked_to(input).map(move |output| (output, input)))
            .collect();

        let target = found.ok();
        if target.as_ref().map(|t| t.serial) != self.target.as_ref().map(|t| t.serial) {
            // Another source, or the same come back: what was removed by hand was
            // removed from the old one.
            for (ends, (_, fate)) in std::mem::take(&mut self.fates) {
                if matches!(fate, Fate::Asked | Fate::Made) {
                    steps.destroy.push(ends);
                }
            }
        }
        self.target = target;
        steps.channels = self.other_channels();

        let ports = self.target.as_ref().map_or(&[][..], |t| &t.ports);
        let wanted: Vec<(Ends, u64)> = ports
            .iter()
            .filter_map(|port| Some(((port.id, *inputs.get(port.channel)?), port.serial)))
            .collect();
        let destroy = &mut steps.destroy;
        self.fates.retain(|ends, (serial, fate)| {
            let stays = wanted.contains(&(*ends, *serial));
            if !stays && matches!(fate, Fate::Asked | Fate::Made) {
                destroy.push(*ends);
            }
            stays
        });
        for (ends, serial) in wanted {
            let there = linked.contains(&ends);
            let now = match self.fates.get(&ends).map(|(_, fate)| fate) {
                None if there => Fate::Theirs,
                None => {
                    steps.create.push(ends);
                    Fate::Asked
                }
                Some(Fate::Asked) if there => Fate::Made,
                Some(Fate::Made | Fate::Theirs) if !there => {
                    steps.destroy.push(ends); // the proxy of a dead link
                    Fate::Removed
                }
                Some(Fate::Removed | Fate::Refused(_)) if there => Fate::Theirs,
                Some(fate) => fate.clone(),
            };
            self.fates.insert(ends, (serial, now));
        }

        let news = self.state(graph, &linked, &steps.destroy);
        if news.is_some() && news != self.told {
            self.told.clone_from(&news);
            steps.event = news;
        }
        steps
    }

    /// The target, if it has the channel that is to be heard.
    fn with_channel(&self, target: Target) -> Result<Target, String> {
        let names = channels(&target);
        match self.selection.weights(&names) {
            Err(error) if !names.is_empty() => Err(format!("{} has {error}", target.name)),
            _ => Ok(target),
        }
    }

    fn other_channels(&mut self) -> Option<Vec<String>> {
        let target = self.target.as_ref().filter(|t| !t.ports.is_empty())?;
        let now = (target.serial, channels(target));
        if self.channels.as_ref() == Some(&now) {
            return None;
        }
        self.channels.insert(now).1.clone().into()
    }

    fn fates(&self) -> impl Iterator<Item = &Fate> {
        self.fates.values().map(|(_, fate)| fate)
    }

    /// What to tell; `None` while links are on their way.
    fn state(&self, graph: &Graph, linked: &[Ends], going: &[Ends]) -> Option<Event> {
        let there = |f: &Fate| matches!(f, Fate::Made | Fate::Theirs);
        if let Some(target) = &self.target {
            if self.fates().any(|f| *f == Fate::Asked) {
                return None;
            }
            if self.fates().any(there) {
                return Some(Event::Linked(target.name.clone()));
            }
        }
        // Not by us, but somebody may have linked something by hand.
        let mut others = linked.iter().filter(|ends| !going.contains(ends));
        if let Some(name) = others.find_map(|(output, _)| graph.owner(*output)) {
            return Some(Event::Linked(name.to_owned()));
        }
        let refused = self.fates().find_map(|f| match f {
            Fate::Refused(why) => Some(why),
            _ => None,
        });
        let missing = self.missing.clone();
        Some(Event::Waiting(match (&self.target, missing, refused) {
            (Some(t), _, Some(why)) => format!("PipeWire refused to link {}: {why}", t.name),
            (Some(t), ..) if t.ports.is_empty() => format!("{} has no audio port yet", t.name),
            (Some(t), ..) => format!("the link to {} was removed; link it again", t.name),
            (None, Some(why), _) => why,
            (None, None, _) => "no source".to_owned(),
        }))
    }
}

/// The names of its channels.
fn channels(target: &Target) -> Vec<String> {
    let unnamed = names_for(target.channels.len());
    let channels = target.channels.iter().zip(unnamed);
    let names = channels.map(|(name, unnamed)| match name.is_empty() {
        true => unnamed,
        false => name.clone(),
    });
    names.take(MAX_CHANNELS).collect()
}

#[cfg(test)]
mod tests;
