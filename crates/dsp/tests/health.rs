//! Recorded speech as it is, softer, with DC, cut off, and very soft: what is said of it.
//! The recordings are those of Debian's pocketsphinx-testdata.

use std::path::Path;
use std::sync::OnceLock;

use v2m_dsp::health::{Facts, Finding, Judge, Kind, Moment, PATIENCE, WINDOW};
use v2m_dsp::resample::Resampler;
use v2m_dsp::vad::Model;
use v2m_dsp::vad::native::Native;

const RECORDINGS: &str = "/usr/share/pocketsphinx/test/data";

/// A recording and the probability of speech of each of its windows.
struct Recording {
    name: String,
    windows: Vec<[f32; WINDOW]>,
    probabilities: Vec<f32>,
}

/// All that are of 16 kHz and one channel.
fn recordings() -> &'static [Recording] {
    static ALL: OnceLock<Vec<Recording>> = OnceLock::new();
    ALL.get_or_init(read)
}

fn read() -> Vec<Recording> {
    let mut found = Vec::new();
    let mut model = Native::new();
    // Newer packages have damaged .wav files beside the .raw ones.
    for (place, kind, header) in [
        ("", "raw", 0),
        ("cards", "wav", 44),
        ("librivox", "wav", 44),
    ] {
        let directory = Path::new(RECORDINGS).join(place);
        let Ok(entries) = std::fs::read_dir(&directory) else {
            panic!(
                "{}: install pocketsphinx-testdata (packaging/setup.sh test)",
                directory.display()
            );
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension() != Some(kind.as_ref()) {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let samples = bytes[header..].as_chunks().0.iter();
            let samples: Vec<f32> = samples
                .map(|two| f32::from(i16::from_le_bytes(*two)) / 32_768.0)
                .collect();
            let windows = samples.as_chunks().0.to_vec();
            model.reset();
            let probabilities = windows
                .iter()
                .map(|window| model.probability(window).unwrap());
            found.push(Recording {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                probabilities: probabilities.collect(),
                windows,
            });
        }
    }
    assert!(found.len() >= 10, "{} recordings", found.len());
    found
}

/// What is said after each window of 12 seconds of a recording, changed by `change`, over and
/// over; with its probabilities or without.
fn said(recording: &Recording, heard: bool, change: impl Fn(f32) -> f32) -> Vec<Vec<Finding>> {
    let mut judge = Judge::new(PATIENCE);
    let windows = recording.windows.iter().zip(&recording.probabilities);
    let all = windows.cycle().take(12 * 16_000 / WINDOW).enumerate();
    all.map(|(n, (window, &probability))| {
        let moment = Moment {
            position: (n * WINDOW) as u64,
            time_ns: 0,
        };
        judge.window(&window.map(&change), heard.then_some(probability), moment);
        judge.findings(&Facts::default(), moment)
    })
    .collect()
}

fn gain(decibels: f32) -> f32 {
    10_f32.powf(decibels / 20.0)
}

fn has(findings: &[Finding], kind: Kind) -> bool {
    findings.iter().any(|finding| finding.kind == kind)
}

#[test]
fn speech_from_full_scale_to_40_db_below_is_well() {
    for (n, recording) in recordings().iter().enumerate() {
        for decibels in [0.0, -40.0, -7.0 * (n % 5) as f32 - 3.0] {
            for heard in [true, false] {
                let said = said(recording, heard, |sample| sample * gain(decibels));
                let found = said.iter().find(|found| !found.is_empty());
                assert!(
                    found.is_none(),
                    "{} at {decibels} dB: {found:?}",
                    recording.name
                );
            }
        }
    }
}

#[test]
fn what_is_done_to_speech_is_found() {
    for recording in recordings() {
        let peak = recording
            .windows
            .as_flattened()
            .iter()
            .fold(0.0, |peak: f32, s| peak.max(s.abs()));
        let last = |change: &dyn Fn(f32) -> f32| said(recording, true, change).pop().unwrap();
        let name = &recording.name;

        let limit = peak * gain(-12.0);
        let found = last(&|sample| sample.clamp(-limit, limit));
        assert!(has(&found, Kind::Clipping), "{name}: {found:?}");
        assert!(
            (found[0].value.unwrap() - 20.0 * limit.log10()).abs() < 1.0,
            "{name}: {found:?}"
        );

        let found = last(&|sample| (sample * gain(12.0) / peak).clamp(-1.0, 0.999_97));
        assert!(has(&found, Kind::Clipping), "{name}: {found:?}");
        assert!(found[0].text.contains("full scale"), "{name}: {found:?}");

        let found = last(&|sample| sample * 0.5 + 0.07);
        assert!(
            found.len() == 1 && has(&found, Kind::Dc),
            "{name}: {found:?}"
        );

        let found = last(&|sample| (sample * gain(-62.0) * 32_768.0).round() / 32_768.0);
        assert!(has(&found, Kind::TooQuiet), "{name}: {found:?}");
    }
}

/// Clipped where it was recorded, at 48 kHz; the resampler rounds the corners off.
#[test]
fn what_was_cut_off_before_the_resampler_is_found() {
    for name in ["Front_Center", "Front_Left", "Rear_Center", "Side_Right"] {
        let bytes = std::fs::read(format!("/usr/share/sounds/alsa/{name}.wav")).unwrap();
        let samples = bytes[44..].as_chunks().0.iter();
        let samples: Vec<f32> = samples
            .map(|two| f32::from(i16::from_le_bytes(*two)) / 32_768.0)
            .collect();
        for (over, limit) in [(0.0, 1.0), (12.0, 0.999), (15.0, 0.1), (20.0, 0.5)] {
            let scale = gain(over) * limit / 0.501;
            let cut: Vec<f32> = samples
                .repeat(6)
                .iter()
                .map(|sample| (sample * scale).clamp(-limit, limit))
                .collect();
            let mut resampler = Resampler::new(48_000, 16_000).unwrap();
            let mut resampled = vec![0.0; cut.len()];
            let mut count = 0;
            for part in cut.chunks(480) {
                count += resampler.process(part, &mut resampled[count..]);
            }
            let mut judge = Judge::new(PATIENCE);
            for window in resampled[..count].as_chunks().0 {
                judge.window(window, None, Moment::default());
            }
            let found = judge.findings(&Facts::default(), Moment::default());
            match found.first() {
                None => assert_eq!(over, 0.0, "{name}: {over} dB over {limit}"),
                Some(first) => {
                    assert_eq!(first.kind, Kind::Clipping, "{name}: {found:?}");
                    let decibels = 20.0 * limit.log10();
                    assert!(
                        (first.value.unwrap() - decibels).abs() < 1.5,
                        "{name}: {found:?}"
                    );
                    assert!(over > 0.0, "{name}: {found:?}");
                }
            }
        }
    }
}
