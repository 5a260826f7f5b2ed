//! What each fault is judged to be.

use super::super::Sandbox;
use super::super::facts::Service;
use super::super::{CheckStatus, worst};
use super::*;
use crate::capture::pipewire::{Found, Inaudible, Survey};
use v2m_client::quantum::Quantum;
use v2m_client::status::{EchoStatus, MicrophoneState, MicrophoneStatus, StreamStatus};
use v2m_dsp::health::{Finding, Kind, Moment};
use v2m_error::{Error, ErrorKind};
use v2m_ring::State;

mod environments;
mod streams;

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
        enough: true,
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
    assert_eq!(worst(&checks), CheckStatus::Good, "{checks:#?}");
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
    assert_eq!(status(0, Ok(20)), CheckStatus::Good);
    assert_eq!(status(95, Err("no bus")), CheckStatus::Good);
    assert_eq!(status(0, Err("no bus")), CheckStatus::Degraded);
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
    let cases: Vec<(&str, CheckStatus, Facts)> = vec![
        (
            "PipeWire",
            CheckStatus::Degraded,
            Facts {
                pipewire: gone(),
                ..fine()
            },
        ),
        (
            "PipeWire",
            CheckStatus::Broken,
            Facts {
                pipewire: gone(),
                heard: None,
                cards: (0, 0),
                ..fine()
            },
        ),
        (
            "session manager",
            CheckStatus::Degraded,
            Facts {
                pipewire: Ok(unmanaged),
                ..fine()
            },
        ),
        (
            "visibility",
            CheckStatus::Degraded,
            Facts {
                library: Version(0, 3, 65),
                ..fine()
            },
        ),
        (
            "source",
            CheckStatus::Broken,
            Facts {
                pipewire: Ok(muted),
                ..fine()
            },
        ),
        (
            "source",
            CheckStatus::Degraded,
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
            CheckStatus::Broken,
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
            CheckStatus::Degraded,
            Facts {
                heard: Some(Ok(Heard {
                    enough: false,
                    ..hears()
                })),
                ..fine()
            },
        ),
        (
            "source",
            CheckStatus::Broken,
            Facts {
                heard: Some(Err("no source is there".into())),
                ..fine()
            },
        ),
        (
            "quantum",
            CheckStatus::Degraded,
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
            CheckStatus::Degraded,
            Facts {
                groups: vec!["users".into()],
                ..fine()
            },
        ),
        (
            "sound cards",
            CheckStatus::Degraded,
            Facts {
                cards: (2, 0),
                ..fine()
            },
        ),
        (
            "memory",
            CheckStatus::Degraded,
            Facts {
                memlock: 1 << 20,
                ..fine()
            },
        ),
        (
            "preemption",
            CheckStatus::Degraded,
            Facts {
                kernel_build: "#1 SMP Debian".into(),
                ..fine()
            },
        ),
        (
            "preemption",
            CheckStatus::Degraded,
            Facts {
                preempt: Some("voluntary".into()),
                ..fine()
            },
        ),
        (
            "wake-ups",
            CheckStatus::Degraded,
            Facts {
                kernel: (6, 1),
                ..fine()
            },
        ),
        (
            "wake-ups",
            CheckStatus::Degraded,
            Facts {
                io_uring_disabled: Some(2),
                ..fine()
            },
        ),
        (
            "CPU sleep",
            CheckStatus::Degraded,
            Facts {
                dma_latency: false,
                ..fine()
            },
        ),
        (
            "speech",
            CheckStatus::Degraded,
            Facts {
                vad: Err(Error::new(ErrorKind::Unavailable, "no ONNX Runtime")),
                ..fine()
            },
        ),
        (
            "udev rules",
            CheckStatus::Degraded,
            Facts {
                udev_rules: None,
                ..fine()
            },
        ),
        (
            "user unit",
            CheckStatus::Degraded,
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
            .filter(|check| check.status != CheckStatus::Good)
            .collect();
        assert_eq!(wrong.len(), 1, "{name}: {wrong:#?}");
        assert_eq!((wrong[0].name.as_str(), wrong[0].status), (name, status));
        assert!(wrong[0].remedy.is_some());
    }
}
