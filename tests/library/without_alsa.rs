//! The program in a build without ALSA: its sources are refused by name, and alsa-lib is not linked.

use std::process::{Command, Output};

const ENGINE: &str = env!("CARGO_BIN_EXE_v2m-engine");

fn engine(arguments: &[&str]) -> Output {
    Command::new(ENGINE)
        .args(arguments)
        .env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"))
        .env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env_remove("PIPEWIRE_REMOTE")
        .output()
        .unwrap()
}

#[test]
fn its_sources_are_refused_by_name() {
    for arguments in [
        ["run", "--source", "alsa:hw:0"],
        ["run", "--alsa-fallback", "hw:0"],
    ] {
        let output = engine(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(
            said.contains("hw:0: this build captures nothing by ALSA: "),
            "{said}"
        );
        assert!(said.contains("feature alsa"), "{said}");
    }
}

#[test]
fn nobody_is_sent_to_it() {
    let output = engine(&["sources"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("PipeWire can't be reached"), "{said}");
    assert!(!said.contains("alsa"), "{said}");
}

#[test]
fn its_library_is_not_needed() {
    let program = std::fs::read(ENGINE).unwrap();
    let has = |name: &[u8]| program.windows(name.len()).any(|window| window == name);
    assert!(has(b"libpipewire-0.3.so.0\0"));
    assert!(!has(b"libasound.so"));
}
