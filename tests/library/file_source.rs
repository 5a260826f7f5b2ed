//! Files as a source: what they hold, what is wrong with them, how they are paced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nix::time::{ClockId, clock_gettime};
use v2m_engine::capture::channels::Channels;
use v2m_engine::capture::file::{FileSource, Pace, play};
use v2m_engine::capture::ingest::heard;
use v2m_engine::capture::{Block, Sink};
use v2m_error::{ErrorKind, Result};

/// Format tags of the `fmt ` chunk.
const PCM: u16 = 1;
const FLOAT: u16 = 3;

/// A path of this test's own.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

/// A file that goes with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = path(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn open(&self) -> Result<FileSource> {
        FileSource::open(&self.0)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [
        &id[..],
        &(body.len() as u32).to_le_bytes(),
        body,
        &[0][..body.len() % 2],
    ]
    .concat()
}

fn fmt(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let frame = channels.wrapping_mul(bits / 8);
    let mut body = Vec::new();
    body.extend(tag.to_le_bytes());
    body.extend(channels.to_le_bytes());
    body.extend(rate.to_le_bytes());
    body.extend(rate.wrapping_mul(u32::from(frame)).to_le_bytes());
    body.extend(frame.to_le_bytes());
    body.extend(bits.to_le_bytes());
    body
}

fn riff(fmt: &[u8], data: &[u8]) -> Vec<u8> {
    chunk(
        b"RIFF",
        &[&b"WAVE"[..], &chunk(b"fmt ", fmt), &chunk(b"data", data)].concat(),
    )
}

fn wav16(channels: u16, rate: u32, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    riff(&fmt(PCM, channels, rate, 16), &data)
}

/// A ramp no two of whose neighbours are equal.
fn ramp(len: usize) -> Vec<i16> {
    (0..len)
        .map(|i| (i as i32 * 37 % 60_000 - 30_000) as i16)
        .collect()
}

fn as_float(samples: &[i16]) -> Vec<f32> {
    samples.iter().map(|&s| f32::from(s) / 32768.0).collect()
}

fn read_all(mut file: FileSource) -> Vec<f32> {
    let mut all = Vec::new();
    while let Some(block) = file.read().unwrap() {
        all.extend_from_slice(block);
    }
    assert!(file.read().unwrap().is_none(), "the end stays the end");
    all
}

#[test]
fn every_sample_format_means_the_same() {
    let wanted = [0.0f32, 0.5, -0.5, -1.0, 0.25];
    let bytes = |encode: &dyn Fn(f32) -> Vec<u8>| -> Vec<u8> {
        wanted.iter().flat_map(|&s| encode(s)).collect()
    };
    let whole = |s: f32, bits: i32| (f64::from(s) * 2f64.powi(bits - 1)) as i64;
    let extensible = |valid: u16| {
        let guid = [
            1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71,
        ];
        let head = fmt(0xfffe, 1, 16_000, 32);
        [
            &head[..],
            &22u16.to_le_bytes(),
            &valid.to_le_bytes(),
            &4u32.to_le_bytes(),
            &guid,
        ]
        .concat()
    };
    let i32_bytes = bytes(&|s| (whole(s, 32) as i32).to_le_bytes().to_vec());
    let files = [
        (
            "u8",
            fmt(PCM, 1, 16_000, 8),
            bytes(&|s| vec![(whole(s, 8) + 128) as u8]),
        ),
        (
            "i16",
            fmt(PCM, 1, 16_000, 16),
            bytes(&|s| (whole(s, 16) as i16).to_le_bytes().to_vec()),
        ),
        (
            "i24",
            fmt(PCM, 1, 16_000, 24),
            bytes(&|s| (whole(s, 24) as i32).to_le_bytes()[..3].to_vec()),
        ),
        ("i32", fmt(PCM, 1, 16_000, 32), i32_bytes.clone()),
        ("i24in32", extensible(24), i32_bytes),
        (
            "f32",
            fmt(FLOAT, 1, 16_000, 32),
            bytes(&|s| s.to_le_bytes().to_vec()),
        ),
        (
            "f64",
            fmt(FLOAT, 1, 16_000, 64),
            bytes(&|s| f64::from(s).to_le_bytes().to_vec()),
        ),
    ];
    for (name, fmt, data) in files {
        let file = Temporary::new(&format!("{name}.wav"), &riff(&fmt, &data));
        let source = file.open().unwrap();
        assert_eq!(source.frames(), Some(wanted.len() as u64), "{name}");
        assert_eq!(read_all(source), wanted, "{name}");
    }
}

fn channels(hear: &str) -> Arc<Channels> {
    Channels::new(hear.parse().unwrap(), Box::new(drop))
}

#[test]
fn channels_are_mixed_as_asked() {
    for count in [1u16, 2, 3, 6, 8] {
        let frames = 3000;
        let samples = ramp(frames * usize::from(count));
        let file = Temporary::new(&format!("{count}ch.wav"), &wav16(count, 44_100, &samples));
        let hear = |hear: &str| read_all(FileSource::open_with(&file.0, channels(hear)).unwrap());
        let mixed = hear("mix");
        assert_eq!(mixed.len(), frames);
        let last = hear(&count.to_string());
        let float = as_float(&samples);
        for (i, frame) in float.chunks(usize::from(count)).enumerate() {
            let mean = frame.iter().map(|&s| f64::from(s)).sum::<f64>() / f64::from(count);
            assert!(
                (f64::from(mixed[i]) - mean).abs() < 1e-6,
                "{count} channels, frame {i}"
            );
            assert_eq!(last[i], frame[usize::from(count) - 1]);
        }
        let error = FileSource::open_with(&file.0, channels(&(count + 1).to_string()));
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("no channel") && error.contains("ch.wav"),
            "{error}"
        );
    }
}

/// One voice among silence, whichever channel and rate: from the first sample, bit for bit.
#[test]
fn a_live_channel_is_heard_as_it_is() {
    for (count, live, rate, silent) in [
        (2u16, 1, 16_000, 0),
        (8, 2, 48_000, 0),
        (18, 17, 44_100, 0),
        (26, 9, 8_000, 0),
        // Silence before, longer than is listened ahead.
        (5, 4, 96_000, 50_000),
    ] {
        let voice = ramp(3000);
        let frames = (0..silent).map(|_| 0).chain(voice.iter().copied());
        let samples: Vec<i16> = frames
            .flat_map(|s| (0..count).map(move |c| if c == live { s } else { 0 }))
            .collect();
        let file = Temporary::new(&format!("live-{count}.wav"), &wav16(count, rate, &samples));
        let heard = read_all(file.open().unwrap());
        assert!(heard[..silent].iter().all(|s| *s == 0.0));
        assert_eq!(heard[silent..], as_float(&voice), "{count} channels");
    }
}

#[test]
fn blocks_are_twenty_milliseconds_and_at_most_1024_samples() {
    for (rate, len) in [(8_000, 160), (16_000, 320), (48_000, 960), (192_000, 1024)] {
        let samples = ramp(2500);
        let file = Temporary::new(&format!("{rate}.wav"), &wav16(1, rate, &samples));
        let mut source = file.open().unwrap();
        assert_eq!(source.rate(), rate);
        let mut left = samples.len();
        while let Some(block) = source.read().unwrap() {
            assert_eq!(block.len(), len.min(left));
            left -= block.len();
        }
        assert_eq!(left, 0);
    }
}

#[test]
fn a_file_of_unknown_or_false_length_is_read_to_its_end() {
    let samples = ramp(5000);
    let mut streamed = wav16(1, 16_000, &samples);
    streamed[4..8].fill(0xff);
    streamed[40..44].fill(0xff);
    let file = Temporary::new("streamed.wav", &streamed);
    let source = file.open().unwrap();
    assert_eq!(source.frames(), None);
    assert_eq!(read_all(source), as_float(&samples));

    let whole = wav16(1, 16_000, &samples);
    let file = Temporary::new("cut.wav", &whole[..whole.len() - 2001]);
    let got = read_all(file.open().unwrap());
    assert_eq!(got, as_float(&samples[..3999]));

    let file = Temporary::new("no-audio.wav", &wav16(1, 16_000, &[]));
    assert!(read_all(file.open().unwrap()).is_empty());
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let good = wav16(1, 16_000, &ramp(100));
    let wav = |tag, channels, rate, bits| riff(&fmt(tag, channels, rate, bits), &[0; 64]);
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("empty", vec![], "not an audio file"),
        (
            "text",
            b"This is no audio at all.\n".repeat(100),
            "not an audio file",
        ),
        (
            "cut-header.wav",
            good[..20].to_vec(),
            "ends before its first sample",
        ),
        (
            "no-data.wav",
            good[..36].to_vec(),
            "ends before its first sample",
        ),
        (
            "only-marker.flac",
            b"fLaC".to_vec(),
            "ends before its first sample",
        ),
        ("mp3.wav", wav(0x55, 2, 44_100, 0), "format isn't known"),
        ("12bit.wav", wav(PCM, 1, 44_100, 12), "bits per sample"),
        ("no-channels.wav", wav(PCM, 0, 44_100, 16), "channel"),
        ("no-rate.wav", wav(PCM, 1, 0, 16), "0 Hz"),
        (
            "slow.wav",
            wav(PCM, 1, 4_000, 16),
            "4000 Hz can't be converted",
        ),
        ("fast.wav", wav(PCM, 1, 500_000, 16), "8000 to 384000 Hz"),
    ];
    for (name, content, reason) in cases {
        let file = Temporary::new(name, &content);
        let error = file.open().err().unwrap_or_else(|| panic!("{name} opens"));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let message = error.to_string();
        assert!(
            message.contains(name) && message.contains(reason),
            "{message}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn what_is_no_file_is_said() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let missing = path("missing.wav");
    for (path, reason) in [
        (directory, "not a regular file"),
        (&missing, "No such file"),
    ] {
        let error = FileSource::open(path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let message = error.to_string();
        assert!(
            message.contains(path.to_str().unwrap()) && message.contains(reason),
            "{message}"
        );
    }
}

/// `wav` encoded by the `flac` command in blocks of 1000 frames.
fn flac(name: &str, wav: &[u8]) -> Temporary {
    let input = Temporary::new(&format!("{name}.wav"), wav);
    let output = path(&format!("{name}.flac"));
    let status = Command::new("flac")
        .args([
            "--silent",
            "--force",
            "--blocksize=1000",
            "--no-padding",
            "-o",
        ])
        .args([&output, &input.0])
        .status()
        .expect("the flac command encodes the test's files: install flac");
    assert!(status.success());
    Temporary(output)
}

#[test]
fn flac_holds_what_wav_holds() {
    let samples = ramp(2 * 12_345);
    let wav = Temporary::new("same.wav", &wav16(2, 44_100, &samples));
    let flac16 = flac("encoded16", &wav16(2, 44_100, &samples));
    let source = flac16.open().unwrap();
    assert_eq!((source.rate(), source.frames()), (44_100, Some(12_345)));
    assert_eq!(read_all(source), read_all(wav.open().unwrap()));

    let data: Vec<u8> = samples
        .iter()
        .flat_map(|&s| [7, s as u8, (s >> 8) as u8])
        .collect();
    let wav24 = riff(&fmt(PCM, 1, 96_000, 24), &data);
    let wav = Temporary::new("same24.wav", &wav24);
    let flac24 = flac("encoded24", &wav24);
    assert_eq!(
        read_all(flac24.open().unwrap()),
        read_all(wav.open().unwrap())
    );
}

#[test]
fn damage_in_a_flac_becomes_silence_of_the_same_length() {
    // Noise, so that the frames are large and the damage hits few of them.
    let mut x = 1u32;
    let samples: Vec<i16> = (0..20_000)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 16) as i16 | 1
        })
        .collect();
    let file = flac("damaged", &wav16(1, 16_000, &samples));
    let mut content = fs::read(&file.0).unwrap();
    let middle = content.len() / 2;
    for byte in &mut content[middle..middle + 8] {
        *byte ^= 0x55;
    }
    fs::write(&file.0, &content).unwrap();

    let got = read_all(file.open().unwrap());
    let wanted = as_float(&samples);
    assert_eq!(got.len(), wanted.len());
    let silent: Vec<usize> = (0..got.len()).filter(|&i| got[i] != wanted[i]).collect();
    assert!(
        !silent.is_empty() && silent.len().is_multiple_of(1000),
        "{} frames",
        silent.len()
    );
    assert!(silent.len() <= 3000);
    assert!(silent.iter().all(|&i| got[i] == 0.0));
    let (first, last) = (silent[0], silent[silent.len() - 1]);
    assert_eq!(last - first + 1, silent.len(), "one hole");
    assert!((8_000..12_000).contains(&first), "in the middle");
}

/// Keeps what it gets, and when.
#[derive(Default)]
struct Kept(Mutex<Vec<Seen>>);

struct Seen {
    samples: Vec<f32>,
    rate: u32,
    clock: u64,
    position: u64,
    time_ns: i64,
    delivered_ns: i64,
}

fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

impl Sink for Kept {
    fn block(&self, block: &Block<'_>) {
        self.0.lock().unwrap().push(Seen {
            samples: heard(block, 0, &mut vec![0.0; block.frames()]).to_vec(),
            rate: block.rate,
            clock: block.clock,
            position: block.position,
            time_ns: block.time_ns,
            delivered_ns: now_ns(),
        });
    }
}

#[test]
fn both_paces_deliver_the_file_on_its_own_time_line() {
    let samples = ramp(4_000);
    let file = Temporary::new("paced.wav", &wav16(1, 44_100, &samples));
    for pace in [Pace::RealTime, Pace::Unpaced] {
        let kept = Kept::default();
        let mut ready = 0;
        let before = now_ns();
        play(
            file.open().unwrap(),
            pace,
            &kept,
            &AtomicBool::new(false),
            || ready += 1,
        )
        .unwrap();
        let seen = kept.0.into_inner().unwrap();
        assert_eq!(seen.len(), 5);
        assert_eq!(ready, if pace == Pace::Unpaced { seen.len() } else { 0 });
        let start = seen[0].time_ns;
        assert!(start >= before);
        let mut position = 0;
        for block in &seen {
            assert_eq!(
                (block.rate, block.clock, block.position),
                (44_100, seen[0].clock, position)
            );
            assert_eq!(
                block.time_ns,
                start + (position * 1_000_000_000 / 44_100) as i64
            );
            position += block.samples.len() as u64;
            let captured = start + (position * 1_000_000_000 / 44_100) as i64;
            assert!(
                pace == Pace::Unpaced || block.delivered_ns >= captured,
                "delivered early"
            );
        }
        let all: Vec<f32> = seen.into_iter().flat_map(|block| block.samples).collect();
        assert_eq!(all, as_float(&samples));
    }
}

#[test]
fn stop_ends_it_before_the_next_block() {
    let file = Temporary::new("stopped.wav", &wav16(1, 16_000, &ramp(16_000)));
    let kept = Kept::default();
    let stop = AtomicBool::new(false);
    let mut blocks = 0;
    play(file.open().unwrap(), Pace::Unpaced, &kept, &stop, || {
        blocks += 1;
        stop.store(blocks == 4, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(kept.0.into_inner().unwrap().len(), 3);
}
