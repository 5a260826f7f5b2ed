//! Machines that are not a usual desktop.

use super::*;

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
    assert_eq!(of("PipeWire").status, CheckStatus::Good);
    assert!(of("visibility").meaning.contains("stream of PulseAudio"));
    // A card of one's own is another matter.
    let checks = judge(&facts("alsa:hw:CARD=USB"));
    let check = checks
        .iter()
        .find(|check| check.name == "PipeWire")
        .unwrap();
    assert_eq!(check.status, CheckStatus::Degraded);
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
    assert_eq!(of("PipeWire").status, CheckStatus::Broken);
    assert!(of("PipeWire").meaning.contains("has no ALSA"));
    assert_eq!(of("sound cards").status, CheckStatus::Good);
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
