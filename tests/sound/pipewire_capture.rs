//! Captures from a private PipeWire: what was played is what arrives, by position,
//! whatever happens to graph, source and daemon meanwhile.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::rig::Rig;
use serde_json::json;
use v2m_client::quantum::Quantum;
use v2m_engine::capture::channels::Channels;
use v2m_engine::capture::ingest::heard;
use v2m_engine::capture::pipewire::{Options, Pipewire, Source, State, sources};
use v2m_engine::capture::{Block, Event, Sink};
use v2m_error::ErrorKind;

struct Seen {
    samples: Vec<f32>,
    rate: u32,
    clock: u64,
    position: u64,
    time_ns: i64,
    arrived_ns: i64,
}

/// Keeps every block. It allocates and locks, which a real ingest must not.
#[derive(Default)]
struct Collect(Mutex<Vec<Seen>>);

impl Collect {
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Sink for Collect {
    fn block(&self, b: &Block<'_>) {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        self.0.lock().unwrap().push(Seen {
            samples: heard(b, 0, &mut vec![0.0; b.frames()]).to_vec(),
            rate: b.rate,
            clock: b.clock,
            position: b.position,
            time_ns: b.time_ns,
            arrived_ns: now.tv_sec() * 1_000_000_000 + now.tv_nsec(),
        });
    }
}

struct Capture {
    pipewire: Pipewire,
    ingest: Arc<Collect>,
    events: Receiver<Event>,
}

impl Capture {
    fn start(rig: &mut Rig, source: &str) -> Self {
        Self::with(Options {
            source: source.parse().unwrap(),
            remote: Some(rig.socket()),
            ..Options::default()
        })
    }

    fn with(options: Options) -> Self {
        let ingest = Arc::new(Collect::default());
        let (sender, events) = channel();
        let pipewire = Pipewire::start(
            options,
            ingest.clone(),
            Box::new(move |event| drop(sender.send(event))),
        )
        .unwrap();
        Self {
            pipewire,
            ingest,
            events,
        }
    }

    fn event(&self) -> Event {
        loop {
            let event = self.events.recv_timeout(Duration::from_secs(10));
            match event.expect("no event within 10 s") {
                Event::Reached => {}
                event => return event,
            }
        }
    }

    fn expect_linked(&self, name: &str) {
        assert_eq!(self.event(), Event::Linked(name.to_owned()));
    }

    fn expect_waiting(&self, about: &str) {
        match self.event() {
            Event::Waiting(why) if why.contains(about) => {}
            other => panic!("{other:?} instead of waiting because of {about}"),
        }
    }

    /// Waits for `count` more blocks and takes all there are.
    fn blocks(&self, count: usize) -> Vec<Seen> {
        self.ingest.take();
        wait_until("blocks", || self.ingest.count() >= count);
        self.ingest.take()
    }

    fn wait_for(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        wait_until(what, || wanted(&self.pipewire.state()));
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited 10 s in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// White noise that no shift of itself resembles.
fn noise(seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1u64 << 24) as f32) - 0.5
    };
    (0..100_003).map(|_| next()).collect()
}

/// How many of the blocks hold, to the bit, what `expected` says of their positions,
/// of those that `anchor` speaks of.
fn count_exact(
    blocks: &[Seen],
    (p0, rate, clock): (i64, u32, u32),
    expected: impl Fn(usize) -> f32,
) -> (usize, usize) {
    let mine = |b: &&Seen| b.rate == rate && b.clock as u32 == clock && b.position as i64 >= p0;
    let exact = |b: &&Seen| {
        let start = (b.position as i64 - p0) as usize;
        b.samples
            .iter()
            .enumerate()
            .all(|(k, v)| *v == expected(start + k))
    };
    let mine: Vec<&Seen> = blocks.iter().filter(mine).collect();
    (
        mine.iter().copied().filter(|b| exact(b)).count(),
        mine.len(),
    )
}

/// A late player leaves silence in a cycle, so a few may differ; a shift breaks all.
fn assert_nearly_all((exact, all): (usize, usize)) {
    assert!(all > 0, "no block with the player's clock and rate");
    assert!(
        exact * 100 >= all * 90,
        "{exact} of {all} blocks are what was played"
    );
}

#[test]
fn what_is_played_arrives_by_position() {
    let mut rig = Rig::start(&["--quantum", "256"]);
    let x = noise(1);
    let player = rig.play(&x, "rig-mic", None);
    let capture = Capture::start(&mut rig, "default");
    capture.expect_linked("rig-mic");
    let blocks = capture.blocks(300);
    let anchor = rig.starts(player)[0];
    assert_nearly_all(count_exact(&blocks, anchor, |i| x[i % x.len()]));

    for b in &blocks {
        let length = b.samples.len() as i64 * 1_000_000_000 / i64::from(b.rate);
        assert!(b.time_ns + length <= b.arrived_ns, "captured in the future");
    }
    for pair in blocks.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        assert!(
            a.position > b.position || a.time_ns <= b.time_ns,
            "time runs backwards"
        );
    }
    let state = capture.pipewire.state();
    assert!(state.connected && state.version.is_some() && state.node.is_some());
    assert_eq!(state.linked.as_deref(), Some("rig-mic"));
    assert_eq!((state.quantum, state.rate), (256, 48000));
    assert!(state.thread.is_some(), "{state:?}");
}

#[test]
fn channels_come_by_ports_of_their_own_and_are_mixed_as_asked() {
    let mut rig = Rig::start(&["--quantum", "256"]);
    let (left, right) = (noise(2), noise(3));
    let players = [
        rig.play(&left, "rig-mic-stereo", Some("FL")),
        rig.play(&right, "rig-mic-stereo", Some("FR")),
    ];
    let capture = Capture::with(Options {
        source: "rig-mic-stereo".parse().unwrap(),
        remote: Some(rig.socket()),
        channels: Channels::new("mix".parse().unwrap(), Box::new(drop)),
        ..Options::default()
    });
    capture.expect_linked("rig-mic-stereo");
    let mut links = rig.links();
    links.retain(|(_, to)| to.starts_with("v2m-engine:"));
    links.sort();
    let link = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(
        links,
        [
            link("rig-mic-stereo:capture_FL", "v2m-engine:input"),
            link("rig-mic-stereo:capture_FR", "v2m-engine:input_2"),
        ]
    );
    capture.blocks(20); // both links sound
    let blocks = capture.blocks(200);
    let [a, b] = players.map(|p| rig.starts(p)[0]);
    let lead = (b.0 - a.0) as usize; // the second player was linked later
    let mean = |i: usize| 0.5 * (left[(i + lead) % left.len()] + right[i % right.len()]);
    assert_nearly_all(count_exact(&blocks, b, mean));
}

#[test]
fn quantum_and_rate_may_change_at_any_moment() {
    let mut rig = Rig::start(&[]);
    let x = noise(4);
    let player = rig.play(&x, "rig-mic", None);
    let capture = Capture::start(&mut rig, "rig-mic");
    capture.expect_linked("rig-mic");
    for quantum in [8192, 32, 1024] {
        rig.call("set_quantum", json!([quantum]));
        capture.wait_for("the quantum", |s| s.quantum == quantum);
        let blocks = capture.blocks(10);
        assert!(blocks.iter().any(|b| b.samples.len() == quantum as usize));
        // At 32 these machines lose most cycles; what comes is still in its place.
        if quantum != 32 {
            let anchor = rig.starts(player)[0];
            assert_nearly_all(count_exact(&blocks, anchor, |i| x[i % x.len()]));
        }
    }
    for rate in [44100, 96000, 192_000, 48000] {
        rig.call("set_rate", json!([rate]));
        capture.wait_for("the rate", |s| s.rate == rate);
        let blocks = capture.blocks(40);
        let anchor = *rig.starts(player).last().unwrap();
        assert_eq!(anchor.1, rate);
        assert_nearly_all(count_exact(&blocks, anchor, |i| x[i % x.len()]));
    }
}

#[test]
fn the_default_is_followed_and_hand_made_links_stay() {
    let mut rig = Rig::start(&["--quantum", "1024"]);
    let capture = Capture::start(&mut rig, "default");
    capture.expect_linked("rig-mic");
    rig.call("set_default_source", json!(["rig-mic-stereo"]));
    capture.expect_linked("rig-mic-stereo");
    let to_engine = |rig: &mut Rig| -> Vec<String> {
        let links = rig.links().into_iter();
        links
            .filter(|(_, to)| to.starts_with("v2m-engine:input"))
            .map(|(from, _)| from)
            .collect()
    };
    assert_eq!(
        to_engine(&mut rig),
        ["rig-mic-stereo:capture_FL", "rig-mic-stereo:capture_FR"]
    );

    let by_hand = json!(["rig-mic:capture_MONO", "v2m-engine:input"]);
    rig.call("link", by_hand.clone());
    rig.call("create_source", json!(["usb-mic"]));
    rig.call("set_default_source", json!(["usb-mic"]));
    capture.expect_linked("usb-mic");
    assert_eq!(
        to_engine(&mut rig),
        ["rig-mic:capture_MONO", "usb-mic:capture_MONO"]
    );

    // A link made by hand to the very source that becomes the default stays, too.
    rig.call("set_default_source", json!(["rig-mic"]));
    capture.expect_linked("rig-mic");
    rig.call("set_default_source", json!(["usb-mic"]));
    capture.expect_linked("usb-mic");
    assert_eq!(
        to_engine(&mut rig),
        ["rig-mic:capture_MONO", "usb-mic:capture_MONO"]
    );
}

#[test]
fn a_source_that_comes_back_is_linked_again_but_not_against_the_users_hand() {
    let mut rig = Rig::start(&["--quantum", "1024"]);
    let capture = Capture::start(&mut rig, "usb-mic");
    capture.expect_waiting("usb-mic");
    rig.call("create_source", json!(["usb-mic"]));
    capture.expect_linked("usb-mic");
    capture.blocks(3);
    rig.call("destroy_node", json!(["usb-mic"]));
    capture.expect_waiting("usb-mic");
    rig.call("create_source", json!(["usb-mic"]));
    capture.expect_linked("usb-mic");
    capture.blocks(3);

    rig.call(
        "unlink",
        json!(["usb-mic:capture_MONO", "v2m-engine:input"]),
    );
    capture.expect_waiting("removed");
    // The graph changes, and the link is still not made again.
    rig.call("create_source", json!(["another"]));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(rig.links(), []);
    // Unlinked, the node is not called: the microphone is really off.
    let cycles = capture.pipewire.state().cycles;
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(capture.pipewire.state().cycles, cycles);

    rig.call("destroy_node", json!(["usb-mic"]));
    capture.expect_waiting("no source is called usb-mic");
    rig.call("create_source", json!(["usb-mic"]));
    capture.expect_linked("usb-mic");
    capture.blocks(3);
}

#[test]
fn a_killed_daemon_is_survived() {
    let mut rig = Rig::start(&["--quantum", "1024"]);
    let capture = Capture::start(&mut rig, "default");
    capture.expect_linked("rig-mic");
    let before = capture.blocks(3).last().unwrap().clock;
    for polite in [false, true] {
        if polite {
            rig.call("restart", json!([]));
        } else {
            rig.call("kill", json!([]));
        }
        assert!(matches!(capture.event(), Event::Lost(_)));
        if !polite {
            assert!(!capture.pipewire.state().connected);
            rig.call("start", json!([]));
        }
        capture.expect_linked("rig-mic");
        let after = capture.blocks(3).last().unwrap().clock;
        assert_ne!(
            before, after,
            "a new daemon's clock looks like the old one's"
        );
    }
    assert!(capture.events.try_recv().is_err(), "told more than once");
}

#[test]
fn a_node_removed_by_hand_is_made_again() {
    let mut rig = Rig::start(&["--quantum", "1024"]);
    let capture = Capture::start(&mut rig, "default");
    capture.expect_linked("rig-mic");
    let id = rig.call("node_id", json!(["v2m-engine"]));
    rig.call("tool", json!(["pw-cli", "destroy", id.to_string()]));
    assert!(matches!(capture.event(), Event::Lost(why) if why.contains("removed")));
    capture.expect_linked("rig-mic");
    capture.blocks(3);
}

#[test]
fn sources_are_listed_and_can_be_chosen() {
    let mut rig = Rig::start(&["--quantum", "256"]);
    rig.call("create_sink", json!(["speakers"]));
    rig.call("set_default_source", json!(["rig-mic-stereo"]));
    let socket = rig.socket();
    let listed = sources(Some(&socket)).unwrap();
    let names: Vec<_> = listed
        .iter()
        .map(|s| (s.name.as_str(), s.default))
        .collect();
    assert_eq!(
        names,
        [
            ("rig-mic-stereo", true),
            ("rig-mic", false),
            ("monitor:speakers", false)
        ]
    );

    let capture = Capture::start(&mut rig, "rig-mic");
    capture.expect_linked("rig-mic");
    let x = noise(5);
    let player = rig.play(&x, "speakers", Some("FL"));
    capture
        .pipewire
        .set_source("monitor:speakers".parse().unwrap());
    capture.expect_linked("monitor:speakers");
    capture.blocks(20);
    let blocks = capture.blocks(100);
    let anchor = *rig.starts(player).last().unwrap();
    assert_nearly_all(count_exact(&blocks, anchor, |i| x[i % x.len()]));

    capture
        .pipewire
        .set_source(Source::Node("speakers".to_owned()));
    capture.expect_waiting("monitor:speakers");

    rig.call("kill", json!([]));
    assert_eq!(
        sources(Some(&socket)).unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[test]
fn a_small_quantum_is_asked_for_and_given_back() {
    let mut rig = Rig::start(&[]);
    let capture = Capture::start(&mut rig, "default");
    capture.wait_for("the small quantum", |s| s.quantum == 128);
    capture.pipewire.set_quantum(None);
    capture.wait_for("the graph's own quantum", |s| s.quantum == 1024);
    capture.pipewire.set_quantum(Some(Quantum {
        samples: 256,
        rate: 48000,
    }));
    capture.wait_for("another quantum", |s| s.quantum == 256);
}

#[test]
fn after_stop_nothing_is_called() {
    let mut rig = Rig::start(&["--quantum", "256"]);
    for _ in 0..10 {
        let mut capture = Capture::start(&mut rig, "default");
        capture.expect_linked("rig-mic");
        capture.blocks(2);
        capture.pipewire.stop();
        let count = capture.ingest.count();
        assert_eq!(
            Arc::strong_count(&capture.ingest),
            1,
            "the data thread still holds on"
        );
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(capture.ingest.count(), count);
    }
    rig.call("wait_for_links", json!(["rig-mic", "v2m-engine", 0]));
}
