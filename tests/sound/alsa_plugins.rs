//! ALSA capture against alsa-lib's own plugins and the tests' microphone, which
//! is one too (`tests/rig/alsa_mic.c`): no hardware, a configuration of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::known::{CYCLE, Kept, apart, check, sample16, sample32};
use v2m_engine::capture::Event;
use v2m_engine::capture::alsa::{Access, AlsaSource, Options, Stop, sources};
use v2m_engine::capture::channels::Channels;
use v2m_error::ErrorKind;

/// Set where alsa-lib reads the test's configuration, which it does once a process.
const INSIDE: &str = "V2M_TEST_ALSA_INSIDE";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("alsa-plugins")
}

/// What the microphone's faults are read from.
fn faults() -> PathBuf {
    directory().join("faults")
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
    let (mic, faults) = (directory.join("alsa_mic.so"), faults());
    let built = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-DPIC", "-o"])
        .arg(&mic)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/alsa_mic.c"))
        .args(["-lasound", "-lm"])
        .status();
    assert!(built.unwrap().success(), "alsa_mic.c does not compile");
    fs::write(&faults, [0; 4]).unwrap();
    let config = directory.join("asound.conf");
    let (raw32, raw16) = (raw32.display(), raw16.display());
    let (mic, faults) = (mic.display(), faults.display());
    let content = format!(
        r#"
pcm.null {{ type null hint {{ show on description "Nothing" }} }}
pcm.mono32 {{ type file slave.pcm null file /dev/null infile {raw32} format raw
              hint {{ show on description "Known content" }} }}
pcm.file16 {{ type file slave.pcm null file /dev/null infile {raw16} format raw }}
pcm.stereo16 {{ type linear slave {{ pcm file16 format S16_LE }} }}
pcm.onlyplays {{ type asym playback.pcm null }}
pcm_type.test_mic {{ lib "{mic}" }}
pcm.mic {{ type test_mic faults "{faults}" }}
pcm.mic32 {{ type test_mic rate 44100 channels 2 format S32_LE }}
pcm.bytes {{ type test_mic format U8 }}
pcm.slow {{ type test_mic rate 4000 }}
pcm.mic8 {{ type test_mic channels 8 }}
pcm.plugged {{ type plug slave.pcm mic8 }}
pcm.choosy {{ type test_mic starts_at 32000 }}
pcm.stubborn {{ type test_mic starts_at 4000 }}
ctl.default {{ type hw card 0 }}
"#
    );
    fs::write(&config, content).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "alsa_plugins::inside::", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("ALSA_CONFIG_PATH", &config)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("10 passed"),
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
            let found = check(&pieces, 32);
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
            (
                "nosuch",
                ErrorKind::Device,
                "there is no ALSA PCM nosuch (ENOENT: No such file or directory): \
                 take the one that captures here, mono32",
            ),
            (
                "hw:CARD=Nothing",
                ErrorKind::Device,
                "there is no ALSA PCM hw:CARD=Nothing",
            ),
            (
                "onlyplays",
                ErrorKind::Device,
                "ALSA PCM onlyplays only plays, it offers no capture: \
                 take the one that captures here, mono32",
            ),
            (
                "bytes",
                ErrorKind::Device,
                "ALSA PCM bytes can't be used: none of its formats is S16, S24, S32 or FLOAT; \
                 it offers 1 channel at 48000 Hz, U8",
            ),
            (
                "slow",
                ErrorKind::Device,
                "use 8000 to 384000 Hz; it offers 1 channel at 4000 Hz, S16_LE",
            ),
            ("a\0b", ErrorKind::Invalid, "can't be the name"),
        ] {
            let error = AlsaSource::open(name, Options::default())
                .err()
                .expect(name);
            assert_eq!(error.kind(), kind, "{error}");
            let error = error.to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
    }

    /// Has the microphone fail so; see `alsa_mic.c`.
    fn fail(how: u32) {
        use std::os::unix::fs::FileExt;
        let file = fs::File::options().write(true).open(faults()).unwrap();
        file.write_all_at(&how.to_ne_bytes(), 0).unwrap();
    }

    /// Also when an assertion fails: the scope waits for the capture.
    struct StopAtEnd<'a>(&'a Stop);

    impl Drop for StopAtEnd<'_> {
        fn drop(&mut self) {
            self.0.stop();
        }
    }

    /// Captures the microphone, which fails so for `time` in the middle.
    fn through(how: u32, time: Duration) -> (usize, Vec<Event>) {
        let mut source = AlsaSource::open("mic", Options::default()).unwrap();
        let (kept, stop) = (Kept::default(), Stop::new().unwrap());
        let (events, received) = channel();
        thread::scope(|scope| {
            scope.spawn(|| source.capture(&kept, &|event| drop(events.send(event)), &stop));
            let _stop = StopAtEnd(&stop);
            thread::sleep(Duration::from_millis(400));
            fail(how);
            thread::sleep(time);
            if time.is_zero() {
                // Happens once, and says that it did.
                let start = Instant::now();
                while fs::read(faults()).unwrap() != [0; 4] {
                    assert!(start.elapsed() < Duration::from_secs(20), "no {how}");
                }
            }
            fail(0);
            let count = || kept.0.lock().unwrap().len();
            let (before, start) = (count(), Instant::now());
            while count() < before + 100 {
                assert!(
                    start.elapsed() < Duration::from_secs(20),
                    "no audio after {how}"
                );
                thread::sleep(Duration::from_millis(10));
            }
        });
        drop(events);
        let pieces = kept.0.into_inner().unwrap();
        let lives = pieces.chunk_by(|a, b| a.clock == b.clock).count();
        let found = check(&apart(pieces), 16);
        println!("fault {how}: {lives} lives, {found:?}");
        // A stream that could resume in time has lost nothing.
        let parts = if how == 3 { 1..=2 } else { 2..=2 };
        assert!(parts.contains(&found.len()), "one loss: {found:?}");
        for part in &found {
            assert!(part.wrong == 0 && part.right > 10_000, "{found:?}");
        }
        if lives == 1 && found.len() == 2 {
            // Content tells time: what the loss was said to be is what it was.
            let [before, after] = [0, 1].map(|part| found[part].offset.unwrap());
            let off = (after + CYCLE - before) % CYCLE;
            assert!(off.min(CYCLE - off) <= PERIOD, "off by {off}: {found:?}");
        }
        (lives, received.iter().collect())
    }

    const PERIOD: u64 = 128;

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn what_the_tests_microphone_records_is_exact() {
        for (pcm, channels, bits, rate) in [
            ("mic", 1, 16, 48_000),
            ("mic32", 2, 32, 44_100),
            ("mic8", 8, 16, 48_000),
            ("plugged", 8, 16, 48_000),
        ] {
            let source = AlsaSource::open(pcm, Options::default()).unwrap();
            let setup = source.setup().lock().unwrap().clone().unwrap();
            assert_eq!(setup.channels, channels, "as many as there are, unmixed");
            let (kept, _) = capture(source, Duration::from_millis(600));
            let found = check(&kept.0.into_inner().unwrap(), bits);
            println!("{pcm}: {found:?}");
            assert_eq!((found[0].rate, found[0].wrong), (rate, 0), "{found:?}");
            assert!(found[0].right > 10_000, "{found:?}");
        }
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn a_channel_is_had_by_number_and_name_or_refused_with_those_there_are() {
        let open = |channel: &str| {
            let channels = Channels::new(channel.parse().unwrap(), Box::new(drop));
            let source = AlsaSource::later(Some("mic8"), Options::default());
            let mut source = source.with_channels(channels);
            source.prepare().map(|()| source)
        };
        for (channel, silent) in [("1", false), ("aux0", false), ("2", true), ("AUX7", true)] {
            let (kept, _) = capture(open(channel).unwrap(), Duration::from_millis(300));
            let pieces = kept.0.into_inner().unwrap();
            let mut samples = pieces.iter().flat_map(|piece| &piece.samples);
            assert!(pieces.len() > 10);
            assert_eq!(samples.all(|sample| *sample == 0.0), silent, "{channel}");
        }
        for channel in ["9", "FL"] {
            let error = open(channel).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let text = error.to_string();
            assert!(
                text.contains("ALSA PCM mic8") && text.contains("AUX0, AUX1"),
                "{text}"
            );
        }
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn what_does_not_start_at_one_rate_is_tried_at_the_others() {
        let source = AlsaSource::open("choosy", Options::default()).unwrap();
        let agreed = source.setup();
        assert_eq!(agreed.lock().unwrap().clone().unwrap().rate, 48_000);
        let (kept, events) = capture(source, Duration::from_millis(600));
        assert_eq!(
            events,
            [Event::Linked("alsa:choosy".into())],
            "nobody need know"
        );
        let found = check(&kept.0.into_inner().unwrap(), 16);
        println!("{found:?}");
        assert_eq!((found.len(), found[0].rate, found[0].wrong), (1, 32_000, 0));
        assert!(found[0].right > 8_000, "{found:?}");
        // 4000 Hz is offered too, but not by us.
        let source = AlsaSource::open("stubborn", Options::default()).unwrap();
        let (kept, events) = capture(source, Duration::from_millis(200));
        assert!(
            matches!(&events[..], [Event::Waiting(why)] if why.contains("stubborn starts at no rate")),
            "{events:?}"
        );
        assert!(kept.0.into_inner().unwrap().is_empty());
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn a_stream_that_stops_is_started_again_and_the_loss_counted() {
        let linked = Event::Linked("alsa:mic".into());
        // An xrun; a suspend with and without the way back.
        for how in [2, 3, 5] {
            let (lives, events) = through(how, Duration::ZERO);
            assert_eq!((lives, &events[..]), (1, &[linked.clone()][..]));
        }
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn a_stream_that_says_nothing_is_noticed_and_taken_up() {
        // The watchdog starts it again once, then says so.
        let (lives, events) = through(1, Duration::from_millis(5_500));
        let words: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
        assert!(words[1].contains("runs but gives no audio"), "{words:?}");
        assert!(words[2].contains("Linked") && words.len() == 3, "{words:?}");
        assert_eq!(lives, 2, "opened anew");
        // A short silence is over before anybody is told.
        let (lives, events) = through(1, Duration::from_millis(2_500));
        assert_eq!((lives, events.len()), (1, 1), "{events:?}");
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn a_device_that_goes_is_taken_again_when_it_is_back() {
        let (lives, events) = through(4, Duration::from_millis(700));
        let words: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
        assert!(words[1].contains("ALSA PCM mic is gone"), "{words:?}");
        assert!(words[2].contains("Linked") && words.len() == 3, "{words:?}");
        assert_eq!(lives, 2);
    }

    #[test]
    #[ignore = "run by plugins() with the configuration"]
    fn what_captures_is_listed() {
        let names: Vec<String> = sources().into_iter().map(|source| source.name).collect();
        assert!(names.contains(&"alsa:mono32".to_owned()), "{names:?}");
        assert!(!names.contains(&"alsa:null".to_owned()));
    }
}
