//! Names that are written, in graphs of few nodes.

use proptest::prelude::*;

use super::*;
use crate::graph::Object;

/// A graph whose nodes have two output ports each.
#[derive(Default)]
struct Rig {
    graph: Graph,
    next: u32,
}

impl Rig {
    fn add(&mut self, class: &str, name: &str, description: &str, program: &str) -> u32 {
        let id = self.next + 100;
        self.next += 10;
        let node = Node {
            serial: u64::from(id) * 7,
            name: name.to_owned(),
            description: description.to_owned(),
            nick: format!("nick-{id}"),
            program: program.to_owned(),
            client: None,
            class: class.to_owned(),
            priority: 0,
        };
        self.graph.add(id, Object::Node(node));
        for (n, channel) in ["FL", "FR"].iter().enumerate() {
            self.port(id, n as u32 + 1, channel);
        }
        id
    }

    fn port(&mut self, node: u32, n: u32, channel: &str) {
        let port = Port {
            serial: u64::from(node + n) * 7,
            node,
            direction: Direction::Out,
            dsp: true,
            index: n,
            channel: channel.to_owned(),
        };
        self.graph.add(node + n, Object::Port(port));
    }

    fn find(&self, source: &str) -> Result<String, String> {
        let source = source.parse().unwrap();
        self.graph.target(&source, None).map(|target| target.name)
    }
}

fn desk() -> Rig {
    let mut rig = Rig::default();
    rig.add("Audio/Source", "alsa_input.usb-yeti", "Blue Yeti", "");
    rig.add("Audio/Source", "alsa_input.usb-cam", "HD Webcam", "");
    rig.add("Audio/Sink", "alsa_output.pci", "Built-in speakers", "");
    rig.add("Audio/Sink", "bluez_output", "Headset", "");
    rig.add("Stream/Output/Audio", "Firefox", "Firefox", "Firefox");
    rig.add("Stream/Output/Audio", "mpv", "mpv", "mpv Media Player");
    rig
}

#[test]
fn the_default_is_never_what_an_engine_offers() {
    let mut rig = desk();
    let offered = "v2m-engine.microphone";
    rig.add(
        "Audio/Source",
        offered,
        "Microphone of v2m-engine",
        "v2m-engine",
    );
    for default in [None, Some(offered), Some("alsa_input.usb-yeti")] {
        rig.graph.default_source = default.map(str::to_owned);
        assert_eq!(rig.find("default").unwrap(), "alsa_input.usb-yeti");
    }
    assert_eq!(rig.find(offered).unwrap(), offered);
    rig.graph = Graph::default();
    rig.add(
        "Audio/Source",
        offered,
        "Microphone of v2m-engine",
        "v2m-engine",
    );
    rig.graph.default_source = Some(offered.to_owned());
    assert!(rig.find("default").unwrap_err().contains("plug in"));
}

#[test]
fn a_source_is_found_by_each_of_its_names() {
    let rig = desk();
    for name in [
        "alsa_input.usb-yeti",
        "Blue Yeti",
        "blue yeti",
        "YETI",
        "nick-100",
        "700",
    ] {
        assert_eq!(rig.find(name).unwrap(), "alsa_input.usb-yeti", "{name}");
    }
    for name in ["monitor:speakers", "monitor:PCI", "monitor:840"] {
        assert_eq!(rig.find(name).unwrap(), "monitor:alsa_output.pci", "{name}");
    }
    for name in ["app:Firefox", "app:firefox", "app:fox"] {
        assert_eq!(rig.find(name).unwrap(), "app:Firefox", "{name}");
    }
}

#[test]
fn none_and_several_are_told_with_what_there_is() {
    let rig = desk();
    let why = rig.find("nothing").unwrap_err();
    assert!(
        why.contains("no source") && why.contains("alsa_input.usb-cam (HD Webcam)"),
        "{why}"
    );
    assert!(!why.contains("Headset"), "{why}");
    let why = rig.find("usb").unwrap_err();
    assert!(
        why.contains("several") && why.contains("yeti") && why.contains("cam"),
        "{why}"
    );
    let why = rig.find("monitor:nothing").unwrap_err();
    assert!(why.contains("monitor:bluez_output"), "{why}");
    let why = rig.find("monitor:alsa_input.usb-cam").unwrap_err();
    assert!(why.contains("no sink"), "{why}");
    let why = rig.find("bluez_output").unwrap_err();
    assert!(why.contains("monitor:bluez_output captures"), "{why}");
    let why = rig.find("app:spotify").unwrap_err();
    assert!(
        why.contains("app:Firefox") && why.contains("app:mpv"),
        "{why}"
    );
    let why = rig.find("app:m").unwrap();
    assert_eq!(why, "app:mpv Media Player");
    assert!(rig.find("app:f").is_ok() && rig.find("app:x").is_ok());
    assert!(
        Rig::default()
            .find("x")
            .unwrap_err()
            .contains("none at all")
    );
}

#[test]
fn nodes_of_one_name_are_told_apart_by_serial_and_one_that_is_captured_stays() {
    let mut rig = desk();
    rig.add("Audio/Source", "alsa_input.usb-yeti", "Blue Yeti", "");
    let source = "alsa_input.usb-yeti".parse().unwrap();
    let why = rig.graph.target(&source, None).unwrap_err();
    assert!(why.contains("700") && why.contains("1120"), "{why}");
    for serial in [700, 1120] {
        let kept = rig.graph.target(&source, Some(serial)).unwrap();
        assert_eq!(kept.serial, serial);
        let named = rig.graph.target(&serial.to_string().parse().unwrap(), None);
        assert_eq!(named.unwrap().serial, serial);
    }
}

#[test]
fn the_monitor_of_the_default_sink_is_never_a_microphone() {
    let mut rig = Rig::default();
    rig.add("Audio/Source", "mic", "Microphone", "");
    assert!(rig.find("monitor:default").unwrap_err().contains("no sink"));
    rig.add("Audio/Sink", "first", "First", "");
    rig.add("Audio/Sink", "second", "Second", "");
    assert_eq!(rig.find("monitor:default").unwrap(), "monitor:first");
    rig.graph.default_sink = Some("second".to_owned());
    assert_eq!(rig.find("monitor:default").unwrap(), "monitor:second");
    for gone in ["third", "mic"] {
        rig.graph.default_sink = Some(gone.to_owned());
        assert!(rig.find("monitor:default").unwrap_err().contains("gone"));
    }
}

#[test]
fn all_streams_of_a_program_are_heard() {
    let mut rig = desk();
    let second = rig.add("Stream/Output/Audio", "Firefox", "Firefox", "Firefox");
    let target = rig
        .graph
        .target(&"app:Firefox".parse().unwrap(), None)
        .unwrap();
    assert_eq!(target.channels, ["FL", "FR"]);
    let ports: Vec<_> = target.ports.iter().map(|p| (p.id, p.channel)).collect();
    assert_eq!(ports, [(141, 0), (161, 0), (142, 1), (162, 1)]);
    // One channel alone is in both of the others.
    rig.graph.remove(second + 2);
    rig.port(second, 1, "MONO");
    let target = rig
        .graph
        .target(&"app:Firefox".parse().unwrap(), None)
        .unwrap();
    assert_eq!(target.channels, ["FL", "FR"]);
    let ports: Vec<_> = target.ports.iter().map(|p| (p.id, p.channel)).collect();
    assert_eq!(ports, [(141, 0), (161, 0), (142, 1), (161, 1)]);
}

#[test]
fn only_dsp_outputs_are_linked() {
    let mut rig = Rig::default();
    let id = rig.add("Audio/Source", "mic", "mic", "");
    for (n, direction, dsp) in [(3, Direction::Out, false), (4, Direction::In, true)] {
        let port = Port {
            serial: 1,
            node: id,
            direction,
            dsp,
            index: 0,
            channel: String::new(),
        };
        rig.graph.add(id + n, Object::Port(port));
    }
    let target = rig.graph.target(&Source::Default, None).unwrap();
    let ports: Vec<_> = target.ports.iter().map(|p| (p.id, p.channel)).collect();
    assert_eq!(ports, [(101, 0), (102, 1)]);
    rig.graph.remove(101);
    rig.graph.remove(102);
    assert!(
        rig.graph
            .target(&Source::Default, None)
            .unwrap()
            .ports
            .is_empty()
    );
}

proptest! {
    /// Whatever is written and whatever is there: one that fits, or a line that says why not.
    #[test]
    fn what_is_found_fits(
        written in "[x-zX-Z]{1,3}",
        names in proptest::collection::vec(("[x-z]{1,4}", "[X-Z ]{0,4}"), 0..5),
    ) {
        let mut rig = Rig::default();
        for (name, description) in &names {
            rig.add("Audio/Source", name, description, "");
        }
        let fits = |name: &str, description: &str| {
            contains(name, &written) || contains(description, &written)
        };
        let fitting = names.iter().filter(|(n, d)| fits(n, d)).count();
        match rig.find(&written) {
            Ok(found) => {
                let found = names.iter().filter(|(name, _)| *name == found);
                prop_assert!(found.clone().count() >= 1);
                prop_assert!(found.clone().any(|(name, description)| fits(name, description)));
                // One that fits in part only was the only one. Several may have one name.
                let whole = |(name, description): &(String, String)| {
                    *name == written || *description == written
                };
                if !found.clone().any(whole) {
                    prop_assert_eq!(fitting, 1);
                }
            }
            Err(why) => {
                prop_assert!(fitting != 1, "{}", why);
                prop_assert!(!why.contains('\n'));
            }
        }
    }
}
