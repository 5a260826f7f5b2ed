//! What each fault is judged to be.

use super::super::Sandbox;
use super::super::facts::Service;
use super::super::{Status, worst};
use super::*;
use crate::capture::pipewire::{Found, Inaudible, Survey};
use v2m_client::quantum::Quantum;
use v2m_client::status::{EchoStatus, MicrophoneState, MicrophoneStatus, StreamStatus};
use v2m_dsp::health::{Finding, Kind, Moment};
use v2m_error::{Error, ErrorKind};
use v2m_ring::State;

fn survey() -> Survey {
    Survey {
        version: "1.4.2".into(),
        session_manager: Some("WirePlumber".into()),
        graph_default: "1024/48000".parse().unwrap(),
        source: Ok(Found {
            name: "alsa_input.usb".into(),
            inaudible: None,
        }),
    }
}

fn hears() -> Heard {
    Heard {
        source: "alsa_input.usb".into(),
        rate: 48_000,
        quantum: 128,
        peak: 0.01,
        length: std::time::Duration::from_secs(3),
        findings: Vec::new(),
    }
}

fn silence() -> Finding {
    Finding {
        kind: Kind::Silence,
        since: Moment::default(),
        value: Some(0.0),
        unit: "full scale",
        text: "nothing but zeros".into(),
        remedy: "look for a switch".into(),
    }
}

fn closed() -> Finding {
    Finding {
        kind: Kind::Muted,
        value: None,
        unit: "",
        text: "the capture switch Mic of card 1 is off: nothing is heard".into(),
        remedy: "amixer -c 1 sset Mic cap".into(),
        ..silence()
    }
}

fn fine() -> Facts {
    Facts {
        pipewire: Ok(survey()),
        runtime_directory: true,
        systemd: true,
        sandbox: None,
        release: "debian trixie".into(),
        has_pipewire: true,
        has_session_manager: true,
        library: Version(1, 4, 2),
        logind: false,
        heard: Some(Ok(hears())),
        service: None,
        latency: Quantum::DEFAULT,
        rtprio: 0,
        rtkit: Ok(20),
        system_bus: true,
        memlock: 8 << 20,
        ring_bytes: 4 << 20,
        kernel: (6, 12),
        kernel_build: "#1 SMP PREEMPT_DYNAMIC Debian".into(),
        preempt: Some("full".into()),
        io_uring_disabled: Some(0),
        dma_latency: true,
        alsa: true,
        cards: (2, 2),
        groups: vec!["audio".into()],
        root: false,
        onnx: Err("not there; pip install onnxruntime".into()),
        udev_rules: Some("/usr/lib/udev/rules.d/70-v2m-engine.rules".into()),
        unit: Some("/usr/lib/systemd/user/v2m-engine.service".into()),
        vad: Ok(Some("silero-vad 16 kHz, native".into())),
    }
}

#[test]
fn a_fine_machine_is_good() {
    let checks = judge(&fine());
    assert_eq!(worst(&checks), Status::Good, "{checks:#?}");
}

#[test]
fn real_time_is_missed_only_where_neither_gives_it() {
    let status = |rtprio, rtkit: Result<i32, &str>| {
        let rtkit = rtkit.map_err(str::to_owned);
        let checks = judge(&Facts {
            rtprio,
            rtkit,
            ..fine()
        });
        worst(&checks)
    };
    assert_eq!(status(0, Ok(20)), Status::Good);
    assert_eq!(status(95, Err("no bus")), Status::Good);
    assert_eq!(status(0, Err("no bus")), Status::Degraded);
}

#[test]
fn no_group_is_advised_where_a_login_manager_gives_devices() {
    let checks = judge(&Facts {
        logind: true,
        groups: Vec::new(),
        cards: (2, 0),
        dma_latency: false,
        memlock: 0,
        rtprio: 0,
        rtkit: Err("no bus".into()),
        udev_rules: None,
        ..fine()
    });
    let remedies = checks.iter().filter_map(|check| check.remedy.as_ref());
    for remedy in remedies {
        assert!(
            !remedy.contains("usermod") && !remedy.contains("@audio"),
            "{remedy}"
        );
    }
}

#[test]
fn each_fault_shows_in_its_own_check_with_a_remedy() {
    let gone = || Err("no daemon listens there; start it".to_owned());
    let muted = Survey {
        source: Ok(Found {
            name: "alsa_input.usb".into(),
            inaudible: Some(Inaudible {
                name: "alsa_input.usb".into(),
                id: 57,
                muted: true,
            }),
        }),
        ..survey()
    };
    let unmanaged = Survey {
        session_manager: None,
        ..survey()
    };
    let cases: Vec<(&str, Status, Facts)> = vec![
        (
            "PipeWire",
            Status::Degraded,
            Facts {
                pipewire: gone(),
                ..fine()
            },
        ),
        (
            "PipeWire",
            Status::Broken,
            Facts {
                pipewire: gone(),
                heard: None,
                cards: (0, 0),
                ..fine()
            },
        ),
        (
            "session manager",
            Status::Degraded,
            Facts {
                pipewire: Ok(unmanaged),
                ..fine()
            },
        ),
        (
            "visibility",
            Status::Degraded,
            Facts {
                library: Version(0, 3, 65),
                ..fine()
            },
        ),
        (
            "source",
            Status::Broken,
            Facts {
                pipewire: Ok(muted),
                ..fine()
            },
        ),
        (
            "source",
            Status::Degraded,
            Facts {
                heard: Some(Ok(Heard {
                    findings: vec![silence()],
                    ..hears()
                })),
                ..fine()
            },
        ),
        (
            "source",
            Status::Broken,
            Facts {
                heard: Some(Ok(Heard {
                    findings: vec![closed()],
                    ..hears()
                })),
                ..fine()
            },
        ),
        (
            "source",
            Status::Broken,
            Facts {
                heard: Some(Err("no source is there".into())),
                ..fine()
            },
        ),
        (
            "quantum",
            Status::Degraded,
            Facts {
                heard: Some(Ok(Heard {
                    quantum: 1024,
                    ..hears()
                })),
                ..fine()
            },
        ),
        (
            "groups",
            Status::Degraded,
            Facts {
                groups: vec!["users".into()],
                ..fine()
            },
        ),
        (
            "sound cards",
            Status::Degraded,
            Facts {
                cards: (2, 0),
                ..fine()
            },
        ),
        (
            "memory",
            Status::Degraded,
            Facts {
                memlock: 1 << 20,
                ..fine()
            },
        ),
        (
            "preemption",
            Status::Degraded,
            Facts {
                kernel_build: "#1 SMP Debian".into(),
                ..fine()
            },
        ),
        (
            "preemption",
            Status::Degraded,
            Facts {
                preempt: Some("voluntary".into()),
                ..fine()
            },
        ),
        (
            "wake-ups",
            Status::Degraded,
            Facts {
                kernel: (6, 1),
                ..fine()
            },
        ),
        (
            "wake-ups",
            Status::Degraded,
            Facts {
                io_uring_disabled: Some(2),
                ..fine()
            },
        ),
        (
            "CPU sleep",
            Status::Degraded,
            Facts {
                dma_latency: false,
                ..fine()
            },
        ),
        (
            "speech",
            Status::Degraded,
            Facts {
                vad: Err(Error::new(ErrorKind::Unavailable, "no ONNX Runtime")),
                ..fine()
            },
        ),
        (
            "udev rules",
            Status::Degraded,
            Facts {
                udev_rules: None,
                ..fine()
            },
        ),
        (
            "user unit",
            Status::Degraded,
            Facts {
                unit: None,
                ..fine()
            },
        ),
    ];
    for (name, status, facts) in cases {
        let checks = judge(&facts);
        let wrong: Vec<&Check> = checks
            .iter()
            .filter(|check| check.status != Status::Good)
            .collect();
        assert_eq!(wrong.len(), 1, "{name}: {wrong:#?}");
        assert_eq!((wrong[0].name.as_str(), wrong[0].status), (name, status));
        assert!(wrong[0].remedy.is_some());
    }
}

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
            Status::Good,
            "default at 16000, 48000 Hz: captures alsa_input.usb; nothing lost, 2 clients",
        ),
        (Status::Degraded, "clipping"),
        (Status::Degraded, "1001 samples lost in 3 gaps"),
        (Status::Degraded, "no audio: no program is called Firefox"),
        (Status::Good, "not captured, as nobody listens"),
        (Status::Good, "1000 samples lost in 1 gaps"),
    ];
    for (check, (status, meaning)) in found.iter().zip(expected) {
        assert_eq!(check.status, status, "{check:?}");
        assert!(check.meaning.contains(meaning), "{check:?}");
        assert_eq!(check.remedy.is_some(), status != Status::Good, "{check:?}");
    }
    let mut facts = fine();
    facts.service = Some(Err("it did not answer within 5 s".into()));
    let hangs = judge(&facts);
    let hangs = hangs.iter().find(|check| check.name == "streams").unwrap();
    assert_eq!(hangs.status, Status::Broken);
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
        ("echo", Service::default(), Status::Good, "not cancelled"),
        ("echo", echo(None), Status::Good, "monitor:speakers"),
        ("echo", echo(Some("no sink")), Status::Degraded, "no sink"),
        ("microphone", Service::default(), Status::Good, "none is"),
        ("microphone", microphone(Idle, None, 0), Status::Good, "v2m"),
        (
            "microphone",
            microphone(Recorded, None, 0),
            Status::Good,
            "50 ms",
        ),
        (
            "microphone",
            microphone(Recorded, None, 7),
            Status::Degraded,
            "7 samples",
        ),
        (
            "microphone",
            microphone(Waiting, Some(missing), 0),
            Status::Degraded,
            missing,
        ),
    ] {
        let found = check(name, service);
        assert_eq!(found.status, status, "{found:?}");
        assert!(found.meaning.contains(meaning), "{found:?}");
        assert_eq!(found.remedy.is_some(), status != Status::Good, "{found:?}");
    }
    let checks = judge(&fine());
    for name in ["echo", "microphone"] {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert!(check.meaning.contains("no service runs"));
    }
}

#[test]
fn where_pulseaudio_has_the_sound_no_pipewire_is_advised() {
    let facts = |source: &str| Facts {
        pipewire: Err("PipeWire can't be reached; start it".into()),
        heard: Some(Ok(Heard {
            source: source.into(),
            ..hears()
        })),
        cards: (0, 0),
        ..fine()
    };
    let checks = judge(&facts("alsa:pulse"));
    let of = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
    assert_eq!(of("PipeWire").status, Status::Good);
    assert!(of("visibility").meaning.contains("stream of PulseAudio"));
    // A card of one's own is another matter.
    let checks = judge(&facts("alsa:hw:CARD=USB"));
    let check = checks
        .iter()
        .find(|check| check.name == "PipeWire")
        .unwrap();
    assert_eq!(check.status, Status::Degraded);
    assert!(check.remedy.is_some());
}

#[test]
fn without_alsa_only_pipewire_helps() {
    let facts = Facts {
        pipewire: Err("PipeWire can't be reached; start it".into()),
        heard: Some(Err("this build captures nothing by ALSA".into())),
        alsa: false,
        // Nobody opens them.
        cards: (1, 0),
        ..fine()
    };
    let checks = judge(&facts);
    let of = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
    assert_eq!(of("PipeWire").status, Status::Broken);
    assert!(of("PipeWire").meaning.contains("has no ALSA"));
    assert_eq!(of("sound cards").status, Status::Good);
}

#[test]
fn a_library_that_is_too_old_is_not_mended_by_a_daemon() {
    let facts = Facts {
        pipewire: Err("libpipewire 0.3.19 is too old, 0.3.48 or newer is needed; take".into()),
        library: Version(0, 3, 19),
        ..fine()
    };
    let check = judge(&facts)
        .into_iter()
        .find(|check| check.name == "PipeWire");
    let check = check.unwrap();
    assert!(check.meaning.contains("0.3.19 is too old"), "{check:?}");
    assert_eq!(check.remedy, Some(remedies::NEWER_PIPEWIRE.to_string()));
}

#[test]
fn in_a_sandbox_nothing_is_advised_that_only_the_machine_can_do() {
    let facts = Facts {
        sandbox: Some(Sandbox::Container),
        systemd: false,
        pipewire: Err("PipeWire can't be reached".into()),
        runtime_directory: false,
        rtkit: Err("no bus".into()),
        memlock: 0,
        kernel_build: "#1 SMP".into(),
        dma_latency: false,
        udev_rules: None,
        ..fine()
    };
    let checks = judge(&facts);
    let mut ill = 0;
    for check in checks.iter().filter(|check| check.remedy.is_some()) {
        let said = check.remedy.as_deref().unwrap();
        assert!(!said.contains("sudo"), "{check:?}");
        ill += usize::from(said == remedies::LOOK_OUTSIDE.to_string());
    }
    assert_eq!(ill, 6, "{checks:#?}");
    let pipewire = checks.iter().find(|check| check.name == "PipeWire");
    let said = pipewire.and_then(|check| check.remedy.clone());
    assert_eq!(said, Some(remedies::LET_SOCKET_IN.to_string()));
    assert!(
        checks
            .iter()
            .any(|check| check.meaning.starts_with("a container"))
    );
}

#[test]
fn what_happens_to_a_bluetooth_headset_is_said() {
    let of = |name: &str, manager: Option<&str>| {
        let survey = Survey {
            session_manager: manager.map(str::to_owned),
            source: Ok(Found {
                name: name.into(),
                inaudible: None,
            }),
            ..survey()
        };
        let checks = judge(&Facts {
            pipewire: Ok(survey),
            ..fine()
        });
        let mut checks = checks.into_iter();
        Some(checks.find(|check| check.name == "Bluetooth")?.meaning)
    };
    let headset = "bluez_input.00_11_22_33_44_55.0";
    assert!(
        of(headset, Some("WirePlumber"))
            .unwrap()
            .contains("telephone")
    );
    assert!(of(headset, None).unwrap().contains("no session manager"));
    assert_eq!(of("alsa_input.usb", Some("WirePlumber")), None);
}
