//! Sources that are open, and what is made of them.

use super::*;

fn stream(source: &str, rate: u32) -> StreamStatus {
    StreamStatus {
        source: source.into(),
        channel: "auto".into(),
        rate,
        state: State::Running,
        linked: Some("alsa_input.usb".into()),
        waiting: None,
        health: Vec::new(),
        history: 1 << 20,
        position: 1_000_000,
        gaps: 0,
        lost_samples: 0,
        xruns: 0,
        windows: 0,
        vad_lag_ms: 0,
        clients: 1,
    }
}

#[test]
fn each_source_that_is_open_is_judged_by_itself() {
    let check = |streams: Vec<StreamStatus>| {
        let mut facts = fine();
        facts.service = Some(Ok(Service {
            streams,
            ..Service::default()
        }));
        let checks = judge(&facts).into_iter();
        let streams = checks.filter(|check| check.name.starts_with("stream"));
        streams.collect::<Vec<_>>()
    };
    let found = check(vec![
        stream("default", 16_000),
        stream("default", 48_000),
        StreamStatus {
            health: vec!["clipping".into()],
            ..stream("usb", 16_000)
        },
        StreamStatus {
            gaps: 3,
            lost_samples: 1_001,
            ..stream("monitor:default", 16_000)
        },
        StreamStatus {
            state: State::Waiting,
            linked: None,
            waiting: Some("no program is called Firefox".into()),
            ..stream("app:Firefox", 24_000)
        },
        StreamStatus {
            state: State::Idle,
            linked: None,
            waiting: Some("nobody listens".into()),
            clients: 0,
            ..stream("idle", 16_000)
        },
        StreamStatus {
            gaps: 1,
            lost_samples: 1_000,
            ..stream("once", 16_000)
        },
    ]);
    let names: Vec<&str> = found.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "stream 1", "stream 2", "stream 3", "stream 4", "stream 5", "stream 6"
        ]
    );
    let expected = [
        (
            CheckStatus::Good,
            "default at 16000, 48000 Hz: captures alsa_input.usb; nothing lost, 2 clients",
        ),
        (CheckStatus::Degraded, "clipping"),
        (CheckStatus::Degraded, "1001 samples lost in 3 gaps"),
        (
            CheckStatus::Degraded,
            "no audio: no program is called Firefox",
        ),
        (CheckStatus::Good, "not captured, as nobody listens"),
        (CheckStatus::Good, "1000 samples lost in 1 gap"),
    ];
    for (check, (status, meaning)) in found.iter().zip(expected) {
        assert_eq!(check.status, status, "{check:?}");
        assert!(check.meaning.contains(meaning), "{check:?}");
        assert_eq!(
            check.remedy.is_some(),
            status != CheckStatus::Good,
            "{check:?}"
        );
    }
    let mut facts = fine();
    facts.service = Some(Err("it did not answer within 5 s".into()));
    let hangs = judge(&facts);
    let hangs = hangs.iter().find(|check| check.name == "streams").unwrap();
    assert_eq!(hangs.status, CheckStatus::Broken);
}

#[test]
fn what_is_cancelled_and_offered_is_said() {
    let check = |name: &str, service: Service| {
        let facts = Facts {
            service: Some(Ok(service)),
            ..fine()
        };
        judge(&facts)
            .into_iter()
            .find(|check| check.name == name)
            .unwrap()
    };
    let echo = |why: Option<&str>| Service {
        echo: Some(EchoStatus {
            far: Some("monitor:speakers".into()),
            why: why.map(str::to_owned),
            ..EchoStatus::default()
        }),
        ..Service::default()
    };
    let microphone = |state, why: Option<&str>, missed| Service {
        microphone: Some(MicrophoneStatus {
            node: "v2m-engine.microphone".into(),
            state,
            why: why.map(str::to_owned),
            latency_ms: 50,
            missed,
            slips: 0,
        }),
        ..Service::default()
    };
    use MicrophoneState::{Idle, Recorded, Waiting};
    let missing = "PipeWire can't be reached";
    for (name, service, status, meaning) in [
        (
            "echo",
            Service::default(),
            CheckStatus::Good,
            "not cancelled",
        ),
        ("echo", echo(None), CheckStatus::Good, "monitor:speakers"),
        (
            "echo",
            echo(Some("no sink")),
            CheckStatus::Degraded,
            "no sink",
        ),
        (
            "microphone",
            Service::default(),
            CheckStatus::Good,
            "none is",
        ),
        (
            "microphone",
            microphone(Idle, None, 0),
            CheckStatus::Good,
            "v2m",
        ),
        (
            "microphone",
            microphone(Recorded, None, 0),
            CheckStatus::Good,
            "50 ms",
        ),
        (
            "microphone",
            microphone(Recorded, None, 7),
            CheckStatus::Degraded,
            "7 samples",
        ),
        (
            "microphone",
            microphone(Waiting, Some(missing), 0),
            CheckStatus::Degraded,
            missing,
        ),
    ] {
        let found = check(name, service);
        assert_eq!(found.status, status, "{found:?}");
        assert!(found.meaning.contains(meaning), "{found:?}");
        assert_eq!(
            found.remedy.is_some(),
            status != CheckStatus::Good,
            "{found:?}"
        );
    }
    let checks = judge(&fine());
    for name in ["echo", "microphone"] {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert!(check.meaning.contains("no service runs"));
    }
}
