//! A graph, the linker, and what others do to links.

use super::*;
use v2m_pw_graph::graph::{Link, Node, Object, Port};

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
            nick: String::new(),
            program: name.clone(),
            client: None,
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

    fn unlink_from(&mut self, output: u32, input: u32) {
        let ends = Link { output, input };
        for (id, _) in self.links().into_iter().filter(|(_, l)| *l == ends) {
            self.graph.remove(id);
        }
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
            steps
                .destroy
                .iter()
                .for_each(|(o, i)| self.unlink_from(*o, *i));
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
    rig.linker.refused((22, INPUT), "no format".to_owned());
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
