//! The document about backends is built as it stands, and what it shows captures.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use v2m_client::status::SourceStatus;
use v2m_engine::capture::channels::Channels;
use v2m_engine::capture::{self, Event, Start, ingest::Ingest};
use v2m_engine::config::Config;
use v2m_engine::detect::backend::ModelBackend::Off;
use v2m_engine::detect::backend::Settings;
use v2m_engine::detect::worker::Worker;
use v2m_ring::notifier::WakeUpThread;
use v2m_ring::{Reader, Ring};

const DOCUMENT: &str = include_str!("../../docs/backends.md");

/// What is built is what the document says: its text compiles by itself, too (a documentation
/// test of the library).
#[test]
fn the_document_is_the_source() {
    let (_, rest) = DOCUMENT.split_once("```rust\n").expect("a listing");
    let (listing, rest) = rest.split_once("```").expect("its end");
    let inside = listing.replace("v2m_engine::", "crate::");
    assert_eq!(inside, include_str!("../../src/capture/null.rs"));
    let (table, names) = rest.split_once("## 3.").expect("two more places");
    let places = [
        (table, include_str!("../../src/capture/mod.rs")),
        (names, include_str!("../../src/config/source.rs")),
    ];
    for (text, source) in places {
        let (_, rest) = text.split_once("```text\n").expect("a listing");
        let (listing, _) = rest.split_once("```").expect("its end");
        let lines: Vec<&str> = listing.lines().collect();
        assert!(!lines.is_empty());
        for line in lines {
            assert!(source.contains(line), "no such line in the source: {line}");
        }
    }
}

#[test]
fn the_null_backend_captures_silence_while_it_is_active() {
    let config = Config::parse("source = \"null:\"").unwrap();
    let (ring, writer, speech, _control) = Ring::create(1 << 17).unwrap();
    let ring = Arc::new(ring);
    let reader = || Reader::new(ring.duplicate().unwrap()).unwrap();
    let wake_up_thread = WakeUpThread::start(ring.clone(), || {}).unwrap();
    let worker = {
        let off = Settings {
            backend: Off,
            ..Settings::default()
        };
        Worker::start(off, wake_up_thread.windows()).unwrap()
    };
    let track = worker.hear(reader(), true, speech, wake_up_thread.notifier());
    let reader = reader();
    let (tell, events) = channel();
    let start = Start {
        config: &config,
        channels: Channels::auto(),
        ingest: Arc::new(Ingest::new(writer, wake_up_thread.notifier()).unwrap()),
        backpressure: track.backpressure(),
        on_demand: true,
        active: false,
        events: Box::new(move |event| drop(tell.send(event))),
    };
    let mut backend = capture::start(start).unwrap();
    let limit = Duration::from_secs(30);
    assert!(matches!(events.recv_timeout(limit), Ok(Event::Reached)));
    assert_eq!(
        events.recv_timeout(limit),
        Ok(Event::Linked("null:".into()))
    );
    assert_eq!(reader.committed(), 0, "at rest");

    backend.set_active(true);
    let deadline = std::time::Instant::now() + limit;
    while reader.committed() < 1_600 {
        assert!(std::time::Instant::now() < deadline, "no audio");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut status = SourceStatus::default();
    backend.describe(&mut status);
    assert_eq!((&*status.backend, status.rate), ("null", 48_000));
    backend.stop();
    let end = reader.committed();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(reader.committed(), end, "stopped");
}
