//! Decides which links should be: ours from each of the source's ports to one of our
//! own, and nobody else's touched. Pure: it looks at the graph and answers with steps to take.

use std::collections::BTreeMap;

use v2m_pw_filter::Direction;

use super::graph::{Graph, Source, Target};
use crate::capture::Event;
use crate::channels::{MAX_CHANNELS, Selection, names_for};

/// What to do, and what to tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Output ports whose links we made and must remove.
    pub(super) destroy: Vec<u32>,
    /// Links to make: output port, input port.
    pub(super) create: Vec<(u32, u32)>,
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
    /// By the target's output port, with the port's serial.
    fates: BTreeMap<u32, (u64, Fate)>,
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
        let target = graph.target(&self.source);
        target.map_or(1, |target| target.ports.len().clamp(1, MAX_CHANNELS))
    }

    /// Our node is made again: links of ours are gone, and not by hand.
    pub(super) fn start_anew(&mut self) {
        self.fates
            .retain(|_, (_, fate)| !matches!(fate, Fate::Asked | Fate::Made | Fate::Theirs));
    }

    /// The daemon would not make the link from `output`.
    pub(super) fn refused(&mut self, output: u32, why: String) {
        if let Some((_, fate)) = self.fates.get_mut(&output) {
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
        if inputs.len() < self.ports(graph) {
            return steps; // our own node is still being announced
        }
        let linked: Vec<(u32, u32)> = inputs
            .iter()
            .flat_map(|&input| graph.linked_to(input).map(move |output| (output, input)))
            .collect();
        if self.resting {
            // What others did to links is remembered.
            self.told = None;
            self.fates.retain(|output, (_, fate)| {
                let ours = matches!(fate, Fate::Asked | Fate::Made);
                if ours {
                    steps.destroy.push(*output);
                }
                !ours
            });
            return steps;
        }

        let target = graph.target(&self.source);
        let (target, missing) = match target.and_then(|target| self.with_channel(target)) {
            Ok(target) => (Some(target), None),
            Err(why) => (None, Some(why)),
        };
        if target.as_ref().map(|t| t.serial) != self.target.as_ref().map(|t| t.serial) {
            // Another source, or the same come back: what was removed by hand was
            // removed from the old one.
            for (output, (_, fate)) in std::mem::take(&mut self.fates) {
                if matches!(fate, Fate::Asked | Fate::Made) {
                    steps.destroy.push(output);
                }
            }
        }
        self.target = target;
        steps.channels = self.other_channels();

        let ports = self.target.as_ref().map_or(&[][..], |t| &t.ports);
        let destroy = &mut steps.destroy;
        self.fates.retain(|output, (serial, fate)| {
            let stays = ports.iter().any(|p| (p.id, p.serial) == (*output, *serial));
            if !stays && matches!(fate, Fate::Asked | Fate::Made) {
                destroy.push(*output);
            }
            stays
        });
        for (port, &input) in ports.iter().zip(&inputs) {
            let (output, serial) = (port.id, port.serial);
            let there = linked.contains(&(output, input));
            let now = match self.fates.get(&output).map(|(_, fate)| fate) {
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
            self.fates.insert(output, (serial, now));
        }

        let linked: Vec<u32> = linked.into_iter().map(|(output, _)| output).collect();
        let news = self.state(graph, &linked, &steps.destroy, missing);
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
    fn state(
        &self,
        graph: &Graph,
        linked: &[u32],
        going: &[u32],
        missing: Option<String>,
    ) -> Option<Event> {
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
        let mut others = linked.iter().filter(|o| !going.contains(o));
        if let Some(name) = others.find_map(|o| graph.owner(*o)) {
            return Some(Event::Linked(name.to_owned()));
        }
        let refused = self.fates().find_map(|f| match f {
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

/// The names of its channels.
fn channels(target: &Target) -> Vec<String> {
    let unnamed = names_for(target.ports.len());
    let ports = target.ports.iter().zip(unnamed);
    let names = ports.map(|(port, unnamed)| match port.channel.is_empty() {
        true => unnamed,
        false => port.channel.clone(),
    });
    names.take(MAX_CHANNELS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Link, Node, Object, Port};
    use super::*;

    const ENGINE: u32 = 10;
    const INPUT: u32 = 11;

    /// A graph, the linker, and a daemon that makes every link at once.
    struct Rig {
        graph: Graph,
        linker: Linker,
        serial: u64,
        next_link: u32,
    }

    impl Rig {
        fn new(source: &str) -> Self {
            Self::hearing(source, "auto", 2)
        }

        fn hearing(source: &str, channel: &str, inputs: u32) -> Self {
            let linker = Linker::new(source.parse().unwrap(), channel.parse().unwrap());
            let mut rig = Self {
                graph: Graph::default(),
                linker,
                serial: 0,
                next_link: 1000,
            };
            rig.node(ENGINE, "v2m-engine", "", 0);
            for n in 0..inputs {
                rig.port(INPUT + n, ENGINE, Direction::In);
            }
            rig
        }

        fn serial(&mut self) -> u64 {
            self.serial += 1;
            self.serial
        }

        fn node(&mut self, id: u32, name: &str, class: &str, priority: i64) {
            let (name, class) = (name.to_owned(), class.to_owned());
            let serial = self.serial();
            let node = Node {
                serial,
                description: name.clone(),
                name,
                class,
                priority,
            };
            self.graph.add(id, Object::Node(node));
        }

        fn port(&mut self, id: u32, node: u32, direction: Direction) {
            let serial = self.serial();
            self.graph.add(
                id,
                Object::Port(Port {
                    serial,
                    node,
                    direction,
                    dsp: true,
                    index: id,
                    channel: String::new(),
                }),
            );
        }

        /// A source with an input port too, as virtual ones have.
        fn source(&mut self, id: u32, name: &str, priority: i64, channels: u32) {
            self.node(id, name, "Audio/Source/Virtual", priority);
            self.port(id + 1, id, Direction::In);
            for n in 0..channels {
                self.port(id + 2 + n, id, Direction::Out);
            }
        }

        fn unplug(&mut self, id: u32) {
            for id in id..id + 9 {
                let links = self.links().into_iter();
                for (link, _) in links.filter(|(_, l)| l.output == id || l.input == id) {
                    self.graph.remove(link);
                }
                self.graph.remove(id);
            }
        }

        fn links(&self) -> Vec<(u32, Link)> {
            let ids = 1000..self.next_link;
            ids.filter_map(|id| self.graph.link(id).map(|l| (id, l)))
                .collect()
        }

        fn link(&mut self, output: u32) {
            self.link_to(output, INPUT);
        }

        fn link_to(&mut self, output: u32, input: u32) {
            let link = Link { output, input };
            self.graph.add(self.next_link, Object::Link(link));
            self.next_link += 1;
        }

        fn unlink(&mut self, output: u32) {
            for (id, _) in self.links().into_iter().filter(|(_, l)| l.output == output) {
                self.graph.remove(id);
            }
        }

        fn decide(&mut self) -> Steps {
            self.linker.decide(&self.graph, Some(ENGINE))
        }

        /// Decides, obeys, and decides again until there is nothing to do; the last event.
        fn settle(&mut self) -> Option<Event> {
            let mut event = None;
            for _ in 0..5 {
                let steps = self.decide();
                steps.destroy.iter().for_each(|o| self.unlink(*o));
                steps.create.iter().for_each(|(o, i)| self.link_to(*o, *i));
                event = steps.event.or(event);
                if steps.destroy.is_empty() && steps.create.is_empty() {
                    return event;
                }
            }
            panic!("never settles");
        }

        fn linked(&self) -> Vec<u32> {
            let inputs = [INPUT, INPUT + 1];
            let linked = inputs.iter().flat_map(|i| self.graph.linked_to(*i));
            linked.collect()
        }
    }

    fn linked(name: &str) -> Option<Event> {
        Some(Event::Linked(name.to_owned()))
    }

    #[test]
    fn at_rest_only_links_of_others_stay() {
        let mut rig = Rig::new("mic");
        rig.source(20, "mic", 0, 1);
        rig.source(30, "other", 0, 1);
        rig.settle();
        rig.link(32);
        rig.settle();
        assert_eq!(rig.linked(), [22, 32]);
        rig.linker.set_active(false);
        assert_eq!(rig.settle(), None);
        assert_eq!(rig.linked(), [32]);
        rig.linker.set_active(true);
        assert_eq!(rig.settle(), linked("mic"));
        assert_eq!(rig.linked(), [32, 22]);
    }

    #[test]
    fn nothing_is_decided_before_the_own_node_is_there() {
        let mut rig = Rig::new("default");
        rig.source(20, "mic", 0, 1);
        assert_eq!(rig.linker.decide(&rig.graph, None), Steps::default());
    }

    #[test]
    fn each_channel_is_linked_to_a_port_of_its_own() {
        let mut rig = Rig::new("mic");
        rig.source(20, "mic", 0, 2);
        let steps = rig.decide();
        assert_eq!(steps.create, [(22, INPUT), (23, INPUT + 1)]);
        let names = ["FL", "FR"].map(str::to_owned).to_vec();
        assert_eq!((steps.channels, steps.event), (Some(names), None));
        rig.link(22);
        let steps = rig.decide();
        assert_eq!((steps.channels, steps.event), (None, None));
        assert!(steps.create.is_empty());
        rig.link_to(23, INPUT + 1);
        let steps = rig.decide();
        assert_eq!(steps.event, linked("mic"));
        assert_eq!(rig.decide().event, None, "told twice");
    }

    #[test]
    fn more_channels_than_ports_are_waited_for_and_links_made_anew() {
        let mut rig = Rig::hearing("mic", "auto", 1);
        rig.source(20, "mic", 0, 1);
        assert_eq!(rig.settle(), linked("mic"));
        rig.port(23, 20, Direction::Out);
        assert_eq!(rig.linker.ports(&rig.graph), 2);
        assert_eq!(rig.decide(), Steps::default());
        // The node is made again, with two.
        rig.unlink(22);
        rig.linker.start_anew();
        rig.port(INPUT + 1, ENGINE, Direction::In);
        assert_eq!(rig.settle(), None, "linked as before");
        assert_eq!(rig.linked(), [22, 23]);
    }

    #[test]
    fn a_channel_that_the_source_lacks_is_named_with_those_that_it_has() {
        let mut rig = Rig::hearing("mic", "AUX5", 2);
        rig.source(20, "mic", 0, 2);
        let event = rig.settle();
        assert!(
            matches!(&event, Some(Event::Waiting(why)) if why.contains("AUX5") && why.contains("FL, FR")),
            "{event:?}"
        );
        assert!(rig.linked().is_empty());
        let mut rig = Rig::hearing("mic", "fr", 2);
        rig.source(20, "mic", 0, 2);
        assert_eq!(rig.settle(), linked("mic"));
    }

    #[test]
    fn without_a_session_manager_the_preferred_source_is_taken() {
        let mut rig = Rig::new("default");
        assert!(matches!(rig.settle(), Some(Event::Waiting(_))));
        rig.source(20, "first", 0, 1);
        rig.source(30, "better", 5, 1);
        assert_eq!(rig.settle(), linked("better"));
        rig.graph.default_source = Some("first".to_owned());
        assert_eq!(rig.settle(), linked("first"));
        assert_eq!(rig.linked(), [22]);
        rig.graph.default_source = Some("gone".to_owned());
        assert!(matches!(rig.settle(), Some(Event::Waiting(why)) if why.contains("gone")));
        assert!(rig.linked().is_empty());
    }

    #[test]
    fn a_removed_link_is_not_fought_for_until_the_source_comes_back() {
        let mut rig = Rig::new("mic");
        rig.source(20, "mic", 0, 2);
        assert_eq!(rig.settle(), linked("mic"));
        rig.unlink(22);
        assert_eq!(rig.settle(), None, "one channel is left");
        rig.unlink(23);
        assert!(matches!(rig.settle(), Some(Event::Waiting(why)) if why.contains("removed")));
        rig.source(40, "other", 0, 1);
        assert_eq!(rig.settle(), None);
        assert!(rig.linked().is_empty());
        rig.unplug(20);
        rig.source(20, "mic", 0, 2);
        assert_eq!(rig.settle(), linked("mic"));
        assert_eq!(rig.linked(), [22, 23]);
    }

    #[test]
    fn choosing_another_source_forgets_what_was_removed() {
        let mut rig = Rig::new("mic");
        rig.source(20, "mic", 0, 1);
        rig.settle();
        rig.unlink(22);
        rig.settle();
        rig.linker.set_source(Source::Default);
        assert_eq!(rig.settle(), linked("mic"));
    }

    #[test]
    fn a_port_whose_id_is_used_again_is_another_port() {
        let mut rig = Rig::new("mic");
        rig.source(20, "mic", 0, 1);
        rig.settle();
        rig.unlink(22);
        rig.graph.remove(22);
        rig.port(22, 20, Direction::Out);
        rig.settle();
        assert_eq!(rig.linked(), [22]);
    }

    #[test]
    fn links_of_others_stay() {
        let mut rig = Rig::new("mic");
        rig.source(20, "mic", 0, 1);
        rig.source(30, "other", 0, 1);
        rig.link(32);
        assert_eq!(rig.settle(), linked("mic"));
        rig.linker.set_source(Source::Node("nothing".to_owned()));
        assert_eq!(
            rig.settle(),
            linked("other"),
            "audio still comes, from there"
        );
        assert_eq!(rig.linked(), [32]);
        // Already linked by hand to what is asked for: it stays when that changes.
        rig.linker.set_source(Source::Node("other".to_owned()));
        rig.settle();
        rig.linker.set_source(Source::Node("mic".to_owned()));
        rig.settle();
        assert_eq!(rig.linked(), [32, 22]);
    }

    #[test]
    fn a_refused_link_is_told_and_not_repeated() {
        let mut rig = Rig::new("mic");
        rig.source(20, "mic", 0, 1);
        assert_eq!(rig.decide().create, [(22, INPUT)]);
        rig.linker.refused(22, "no format".to_owned());
        let steps = rig.decide();
        assert!(matches!(steps.event, Some(Event::Waiting(why)) if why.contains("no format")));
        assert_eq!(steps.create, []);
    }

    #[test]
    fn sinks_are_captured_by_their_monitor_only() {
        let mut rig = Rig::new("speakers");
        rig.node(20, "speakers", "Audio/Sink", 0);
        rig.port(22, 20, Direction::Out);
        assert!(matches!(rig.settle(), Some(Event::Waiting(why)) if why.contains("monitor:")));
        rig.linker.set_source("monitor:speakers".parse().unwrap());
        assert_eq!(rig.settle(), linked("monitor:speakers"));
        rig.source(30, "mic", 0, 1);
        rig.linker.set_source("monitor:mic".parse().unwrap());
        assert!(matches!(rig.settle(), Some(Event::Waiting(why)) if why.contains("no sink")));
        // A session without a microphone may name a sink as its default source.
        rig.linker.set_source(Source::Default);
        rig.graph.default_source = Some("speakers".to_owned());
        assert_eq!(rig.settle(), linked("monitor:speakers"));
    }
}
