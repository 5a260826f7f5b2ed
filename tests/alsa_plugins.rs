//! ALSA capture against alsa-lib's own plugins: no hardware, a configuration of
//! the test's own.
#![cfg(feature = "engine")]

mod known;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use known::{Kept, check, sample16, sample32};
use v2m_engine::ErrorKind;
use v2m_engine::capture::Event;
use v2m_engine::capture::alsa::{Access, AlsaSource, Options, Stop, sources};

/// Set where alsa-lib reads the test's configuration, which it does once a process.
const INSIDE: &str = "V2M_TEST_ALSA_INSIDE";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("alsa-plugins")
}

#[test]
fn plugins() {
    let directory = directory();
    fs::create_dir_all(&directory).unwrap();
    let mono32: Vec<u8> = (0..480_000)
        .flat_map(|i| sample32(i).to_le_bytes())
        .collect();
    let stereo16: Vec<u8> = (0..480_000)
        .flat_map(|i| [sample16(i), 0])
        .flat_map(i16::to_le_bytes)
        .collect();
    let (raw32, raw16) = (directory.join("mono32.raw"), directory.join("stereo16.raw"));
    fs::write(&raw32, mono32).unwrap();
    fs::write(&raw16, stereo16).unwrap();
    let config = directory.join("asound.conf");
    let (raw32, raw16) = (raw32.display(), raw16.display());
    let content = format!(
        r#"
pcm.null {{ type null hint {{ show on description "Nothing" }} }}
pcm.mono32 {{ type file slave.pcm null file /dev/null infile {raw32} format raw
              hint {{ show on description "Known content" }} }}
pcm.file16 {{ type file slave.pcm null file /dev/null infile {raw16} format raw }}
pcm.stereo16 {{ type linear slave {{ pcm file16 format S16_LE }} }}
pcm.onlyplays {{ type asym playback.pcm null }}
pcm.mulaw {{ type mulaw slave {{ pcm null format S16_LE }} }}
ctl.default {{ type hw card 0 }}
"#
    );
    fs::write(&config, content).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "inside::", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("ALSA_CONFIG_PATH", &config)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("4 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let noise = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !noise.contains("ALSA lib"),
        "alsa-lib is kept quiet: {noise}"
    );
}

mod inside {
    use super::*;

    fn capture(mut source: AlsaSource, time: Duration) -> (Kept, Vec<Event>) {
        let (kept, stop) = (Kept::default(), Stop::new().unwrap());
        let (events, received) = channel();
        thread::scope(|scope| {
            scope.spawn(|| source.capture(&kept, &|event| drop(events.send(event)), &stop));
            thread::sleep(time);
            stop.stop();
        });
        drop(events);
        (kept, received.iter().collect())
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn each_access_delivers_the_file() {
        if std::env::var_os(INSIDE).is_none() {
            return;
        }
        for access in [
            Access::MMapInterleaved,
            Access::MMapNonInterleaved,
            Access::RWInterleaved,
            Access::RWNonInterleaved,
        ] {
            let source = AlsaSource::open(
                "mono32",
                Options {
                    access: Some(access),
                    ..Options::default()
                },
            )
            .unwrap();
            let setup = source.setup().lock().unwrap().clone().unwrap();
            assert_eq!(
                (setup.rate, setup.channels, setup.format.as_str()),
                (48_000, 1, "S32_LE")
            );
            let (kept, events) = capture(source, Duration::from_millis(500));
            assert_eq!(events, [Event::Linked("alsa:mono32".into())]);
            let pieces = kept.0.into_inner().unwrap();
            let found = check(&pieces, 1, 32);
            println!("{access:?} {setup:?} {found:?}");
            assert!(
                found[0].right > 8_000 && found[0].wrong == 0,
                "{access:?}: {found:?}"
            );
            assert!(found[0].frames < 96_000, "held to real time: {found:?}");
        }
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn periods_are_taken_from_the_options() {
        let options = Options {
            period: Some(256),
            periods: Some(4),
            ..Options::default()
        };
        let source = AlsaSource::open("null", options).unwrap();
        let setup = source.setup().lock().unwrap().clone().unwrap();
        assert_eq!((setup.period, setup.buffer), (256, 1024));
        let setup = AlsaSource::open("null", Options::default())
            .unwrap()
            .setup()
            .lock()
            .unwrap()
            .clone()
            .unwrap();
        assert_eq!((setup.period, setup.buffer), (128, 8192));
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn what_is_wrong_is_said_with_the_name() {
        for (name, kind, word) in [
            ("nosuch", ErrorKind::Device, "there is no ALSA PCM nosuch"),
            (
                "hw:CARD=Nothing",
                ErrorKind::Device,
                "there is no ALSA PCM hw:CARD=Nothing",
            ),
            ("onlyplays", ErrorKind::Device, "only plays"),
            ("a\0b", ErrorKind::Invalid, "can't be the name"),
        ] {
            let error = AlsaSource::open(name, Options::default())
                .err()
                .expect(name);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn what_captures_is_listed() {
        let names: Vec<String> = sources().into_iter().map(|source| source.name).collect();
        assert!(names.contains(&"alsa:mono32".to_owned()), "{names:?}");
        assert!(!names.contains(&"alsa:null".to_owned()));
    }
}
