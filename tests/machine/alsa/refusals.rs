//! What can't be had, and what is said of it: each in one line, with the PCM's
//! name and what there is instead.

use v2m_engine::capture::Event;
use v2m_engine::capture::alsa::{AlsaSource, Options};
use v2m_error::ErrorKind;
use v2m_error::text::counted;

use super::guest::{Other, capture, next_event};

fn refusal(name: &str) -> String {
    let error = AlsaSource::open(name, Options::default())
        .err()
        .expect(name);
    println!("{error}");
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    let text = error.to_string();
    assert!(text.contains(name) && !text.contains('\n'), "{text}");
    text
}

pub(crate) fn busy() {
    let name = "hw:Loopback,1,4";
    let options = Options {
        period: Some(256),
        ..Options::default()
    };
    let keep = AlsaSource::open(name, options).unwrap();
    let setup = keep.setup().lock().unwrap().clone().unwrap();
    let process = std::process::id();
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    let holder = format!(
        "{} (process {process}), which runs it with {} at {} Hz, {}",
        own.trim(),
        counted(setup.channels, "channel"),
        setup.rate,
        setup.format
    );
    for other in [name, "hw:CARD=Loopback,DEV=1,SUBDEV=4", "plughw:0,1,4"] {
        let error = refusal(other);
        assert!(
            error.contains(&format!("ALSA PCM {other} is in use by {holder}")),
            "{error}"
        );
        assert!(
            error.contains("have every program use dsnoop:CARD=Loopback,DEV=1,"),
            "{error}"
        );
    }
    // Let go of while another one waits for it, who is told by the kernel.
    capture(AlsaSource::later(Some(name), options), 16, |events| {
        let event = next_event(events);
        assert!(
            matches!(&event, Event::Waiting(why) if why.contains("is in use by")),
            "{event:?}"
        );
        drop(keep);
        assert!(matches!(next_event(events), Event::Linked(_)));
    });
    // Another process, and that it is the only one named although others have the card.
    let _player = Other::play("hw:Loopback,0,4", 48_000, 1, 16, 0, 5.0);
    let mut capture = Other::capture(name, 128, 32, 3);
    capture.line("CAPTURING");
    let error = refusal(name);
    let holder = format!(
        "(process {}), which runs it with 1 channel at",
        capture.id()
    );
    assert!(error.contains(&holder), "{error}");
    assert_eq!(error.matches("(process ").count(), 1, "{error}");
}

/// What the error for a PCM in use advises: two programs capture one card.
pub(crate) fn shared() {
    let name = "dsnoop:CARD=Loopback,DEV=1";
    let mut other = Other::capture(name, 256, 64, 2);
    other.line("CAPTURING");
    let source = AlsaSource::open(name, Options::default()).unwrap();
    let found = capture(source, 16, |events| {
        assert!(matches!(next_event(events), Event::Linked(_)));
        other.line("FOUND");
    });
    assert!(found[0].frames > 24_000, "{found:?}");
}

const OTHERS: &str = "take one that captures here, hw:CARD=Loopback,DEV=0, \
                      hw:CARD=Loopback,DEV=1 or hw:CARD=Dummy,DEV=0";

/// The machine's own loudspeaker, which has no other direction.
pub(crate) fn only_plays() {
    let error = refusal("hw:CARD=pcsp");
    assert!(
        error.contains(&format!("only plays, it offers no capture: {OTHERS}")),
        "{error}"
    );
    assert!(!error.contains("hw:CARD=pcsp,"), "{error}");
}

pub(crate) fn absent() {
    for name in ["hw:Loopback,7", "hw:Nothing", "nothing"] {
        let error = refusal(name);
        assert!(
            error.contains(&format!("there is no ALSA PCM {name}")),
            "{error}"
        );
        assert!(error.contains(OTHERS), "{error}");
    }
}
