//! Whole screens from a known state, as they stand in `screens/`, and what colours
//! say, which a text can't show.

use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::{Theme, screen};
use crate::monitor::ear::{SourceChannel, Update};
use crate::monitor::state::{Action, MonitorState};
use crate::monitor::wakes::Wake;
use v2m_client::status::{
    EchoStatus, MicrophoneState, MicrophoneStatus, ReaderStatus, Status, StreamStatus,
};
use v2m_error::{Error, ErrorKind};
use v2m_ring as ring;
use v2m_ring::{Event, GapReason, Kind, Reader, Ring, WINDOW};

const COLORS: Theme = Theme::new(true, true);
const PLAIN: Theme = Theme::new(false, false);
const NO_COLORS: Theme = Theme::new(false, true);

/// The status that is documented as an example.
fn example() -> Status {
    let document = include_str!("../../../docs/status.md");
    let (_, rest) = document.split_once("```json\n").unwrap();
    let (json, _) = rest.split_once("```").unwrap();
    serde_json::from_str(json).unwrap()
}

/// Eleven seconds: a rising tone, speech in its second third, two losses, a new device.
fn state(speech_track: bool) -> MonitorState {
    let (ring, mut capture, mut speech, mut control) = Ring::create(1 << 18).unwrap();
    let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
    let tone = |from: u64, count: u64| -> Vec<f32> {
        let sample = |n: u64| ((n % 200) as f32 / 100.0 - 1.0) * n as f32 / 400_000.0;
        (from..from + count).map(sample).collect()
    };
    capture.append(&tone(0, 40_000), 0);
    capture.gap(800, GapReason::Xrun, 0);
    capture.count_lost(800);
    capture.append_silence(800, 0);
    capture.append(&tone(40_800, 59_200), 0);
    capture.gap(16_000, GapReason::Interrupted, 0);
    capture.append_silence(16_000, 0);
    control.device("microphone", 0);
    capture.append(&tone(116_000, 60_000), 0);
    if speech_track {
        for window in 0..176_000 / WINDOW {
            let spoken = (60_000 / WINDOW..100_000 / WINDOW).contains(&window);
            speech.probability(if spoken { 0.97 } else { 0.04 });
        }
        for (kind, position, length) in [
            (Kind::SpeechStart, 60_000, 0),
            (Kind::SpeechEnd, 100_000, 40_000),
        ] {
            speech.turn(Event {
                kind: kind as u32,
                detail: 0,
                position,
                length,
                time_ns: 0,
            });
        }
    }
    let mut state = MonitorState::new();
    let ring = Arc::new(reader);
    state.update(Update::Ring {
        heard: SourceChannel {
            source: "default".into(),
            channel: "auto".into(),
        },
        ring,
        reader_cursor: None,
    });
    let mut status = example();
    status.source.waiting = None;
    status.vad.problem = None;
    status.degraded.clear();
    status.health.clear();
    (status.source.echo, status.virtual_microphone) = (None, None);
    status.readers.push(ReaderStatus {
        pid: 4900,
        name: Some("v2m-engine monitor".into()),
        age_s: 3.0,
        observes: true,
        ..Default::default()
    });
    status.clients = 2;
    state.update(Update::Status(Box::new(status)));
    for n in 0..200_i64 {
        state.update(Update::Wake(Wake {
            at_ns: n,
            after_commit_ns: 30_000 + n * n * 100,
            after_capture_ns: Some(1_700_000 + n * n * 100),
        }));
    }
    state.follow(0);
    state
}

fn draw(state: &MonitorState, theme: Theme, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let draw = |frame: &mut ratatui::Frame<'_>| {
        let area = frame.area();
        screen(state, theme, area, frame.buffer_mut());
    };
    terminal.draw(draw).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let rows = buffer.content().chunks(buffer.area.width.into());
    let row = |row: &[ratatui::buffer::Cell]| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        row.trim_end().to_owned() + "\n"
    };
    rows.map(row).collect()
}

#[track_caller]
fn looks_like(buffer: &Buffer, expected: &str) {
    let text = text(buffer);
    assert!(
        text == expected,
        "the screen has changed; if it is meant to look so, this is its file:\n{text}"
    );
}

#[test]
fn the_whole_screen() {
    let state = state(true);
    looks_like(
        &draw(&state, COLORS, 80, 24),
        include_str!("screens/80x24.txt"),
    );
    looks_like(
        &draw(&state, COLORS, 132, 40),
        include_str!("screens/132x40.txt"),
    );
}

#[test]
fn the_smallest_screen_has_the_echo_and_the_virtual_microphone() {
    let mut state = state(true);
    let mut status = state.status.clone().unwrap();
    status.source.echo = Some(EchoStatus {
        far: Some("alsa_output.usb-headset".into()),
        plays: true,
        cancelled_db: 31.5,
        ..EchoStatus::default()
    });
    status.virtual_microphone = Some(MicrophoneStatus {
        node: "v2m-engine.microphone".into(),
        state: MicrophoneState::Recorded,
        latency_ms: 212,
        ..MicrophoneStatus::default()
    });
    state.update(Update::Status(Box::new(status)));
    looks_like(
        &draw(&state, COLORS, 80, 24),
        include_str!("screens/echo.txt"),
    );
    // Beside several sources, too.
    let mut several = self::several();
    several.update(Update::Status(Box::new(Status {
        streams: several.status.clone().unwrap().streams,
        ..state.status.clone().unwrap()
    })));
    let shown = text(&draw(&several, PLAIN, 80, 24));
    assert!(shown.contains("32 dB off"), "{shown}");
    assert!(shown.contains("recorded, 212 ms"), "{shown}");
    assert!(shown.contains("clients"), "{shown}");
}

#[test]
fn without_colours_and_in_ascii() {
    let state = state(true);
    let plain = draw(&state, PLAIN, 80, 24);
    looks_like(&plain, include_str!("screens/ascii.txt"));
    assert!(text(&plain).is_ascii());
    looks_like(
        &draw(&state, NO_COLORS, 80, 24),
        include_str!("screens/no-color.txt"),
    );
    for theme in [PLAIN, NO_COLORS] {
        for cell in draw(&state, theme, 80, 24).content() {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
        }
    }
}

#[test]
fn colours_shade_speech_and_losses() {
    let state = state(true);
    let buffer = draw(&state, COLORS, 80, 24);
    // By column: which positions it shows, and what they are.
    let right = 176_000_u64.div_ceil(2_048);
    for x in 0..80_u16 {
        let from = (right - 80 + u64::from(x)) * 2_048;
        let touches = |start: u64, end: u64| from < end && from + 2_048 > start;
        let cell = &buffer[(x, 5)];
        if touches(40_000, 40_800) || touches(100_000, 116_000) {
            assert_eq!(cell.fg, Color::Red, "column {x}");
        } else if touches(60_000, 100_000) {
            assert_eq!(cell.bg, Color::Indexed(22), "column {x}");
        } else {
            assert_eq!(
                (cell.fg, cell.bg),
                (Color::Cyan, Color::Reset),
                "column {x}"
            );
        }
    }
}

#[test]
fn pausing_zooming_and_counting_from_the_capture_show() {
    let mut state = state(true);
    for action in [
        Action::Back,
        Action::Back,
        Action::Nearer,
        Action::Histogram,
    ] {
        state.act(action);
    }
    looks_like(
        &draw(&state, COLORS, 80, 24),
        include_str!("screens/paused.txt"),
    );
}

#[test]
fn without_a_detector_without_audio_without_an_engine() {
    let mut state = state(false);
    let shown = text(&draw(&state, COLORS, 80, 24));
    assert!(shown.contains("speech not yet"), "{shown}");
    state.update(Update::Lost(Error::new(
        ErrorKind::Unavailable,
        "the engine has stopped",
    )));
    let shown = text(&draw(&state, COLORS, 80, 24));
    assert!(
        shown.contains("gone") && shown.contains("the engine has stopped"),
        "{shown}"
    );
    // The very first frame.
    let shown = text(&draw(&MonitorState::new(), COLORS, 80, 24));
    assert!(
        shown.contains("waveform") && shown.contains("q quit"),
        "{shown}"
    );
}

/// Three streams: the first as above, its second rate, and one of another source.
fn several() -> MonitorState {
    let mut state = state(true);
    let mut status = state.status.clone().unwrap();
    let own = StreamStatus {
        rate: 16_000,
        waiting: None,
        health: Vec::new(),
        ..status.streams[0].clone()
    };
    let fast = StreamStatus {
        rate: 48_000,
        clients: 3,
        ..own.clone()
    };
    let other = StreamStatus {
        source: "monitor:alsa_output.usb-headset".into(),
        rate: 24_000,
        gaps: 0,
        ..own.clone()
    };
    let gone = StreamStatus {
        source: "app:Firefox".into(),
        state: ring::State::Waiting,
        linked: None,
        waiting: Some("no program is called Firefox".into()),
        ..other.clone()
    };
    // Opened by nobody but who looks on, as the monitor does.
    let unread = StreamStatus {
        source: "app:unread".into(),
        ..other.clone()
    };
    status.streams = vec![own, fast, other, gone, unread];
    for stream in &status.streams {
        status.readers.push(ReaderStatus {
            source: stream.source.clone(),
            rate: stream.rate,
            observes: stream.source == "app:unread",
            ..Default::default()
        });
    }
    let (ring, mut capture, ..) = Ring::create(1 << 18).unwrap();
    let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
    let loud = |n: u64| [0.3, 0.003][(n / 8_000 % 2) as usize];
    capture.append(&(0..100_000).map(loud).collect::<Vec<f32>>(), 0);
    state.update(Update::Ring {
        heard: SourceChannel::of(&status.streams[2]),
        ring: Arc::new(reader),
        reader_cursor: None,
    });
    state.update(Update::Status(Box::new(status)));
    state.follow(0);
    state
}

#[test]
fn several_streams_have_a_lane_each() {
    let mut state = several();
    looks_like(
        &draw(&state, COLORS, 80, 24),
        include_str!("screens/lanes.txt"),
    );
    // The one that is shown has the rest of the screen, and is among the lanes.
    state.act(Action::Next);
    state.act(Action::Next);
    assert_eq!(
        state.chosen().unwrap().source,
        "monitor:alsa_output.usb-headset"
    );
    assert_eq!(state.track().wave.end(), 100_000);
    looks_like(
        &draw(&state, COLORS, 132, 40),
        include_str!("screens/lanes-large.txt"),
    );
    state.act(Action::Next);
    let shown = text(&draw(&state, PLAIN, 80, 24));
    assert!(
        shown.is_ascii() && shown.contains("> app:Firefox"),
        "{shown}"
    );
    assert!(shown.contains("no audio: no program is"), "{shown}");
    assert!(!shown.contains("app:unread"), "{shown}");
    // Round, and back to the engine's own.
    state.act(Action::Next);
    assert_eq!((state.number(), state.chosen()), (0, None));
    state.act(Action::Previous);
    assert_eq!(state.number(), 3);
    // What is gone is no longer shown; one alone looks as it always did.
    let mut status = state.status.clone().unwrap();
    status.streams.truncate(1);
    state.update(Update::Status(Box::new(status)));
    assert_eq!((state.number(), state.chosen()), (0, None));
    let shown = text(&draw(&state, COLORS, 80, 24));
    assert!(!shown.contains("streams"), "{shown}");
}

#[test]
fn lanes_fit_into_any_size_and_show_odd_names() {
    let mut state = several();
    let mut status = state.status.clone().unwrap();
    let (stream, reader) = (status.streams[0].clone(), status.readers[2].clone());
    for n in 0..60 {
        let source = format!("\u{1b}[2J wide 漢字 {n} {}", "x".repeat(300));
        status.streams.push(StreamStatus {
            source: source.clone(),
            ..stream.clone()
        });
        status.readers.push(ReaderStatus {
            source,
            rate: stream.rate,
            ..reader.clone()
        });
    }
    state.update(Update::Status(Box::new(status)));
    for _ in 0..70 {
        state.act(Action::Next);
        for (width, height) in [(80, 24), (81, 25), (200, 50), (400, 120)] {
            let shown = text(&draw(&state, COLORS, width, height));
            assert!(
                shown.contains("▸") && shown.contains("streams 64"),
                "{shown}"
            );
            assert!(!shown.contains('\u{1b}'));
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let mut state = state(true);
    let mut status = example();
    status.source.linked = None;
    status.source.waiting = Some("the source rig-mic is not there".into());
    state.update(Update::Status(Box::new(status)));
    let shown = text(&draw(&state, COLORS, 80, 24));
    let expected = "No audio: the source rig-mic is not there (and 2 more)";
    assert!(shown.contains(expected), "{shown}");
    // What is wrong with a source that is heard, with what to do where there is room.
    let mut status = example();
    status.source.waiting = None;
    state.update(Update::Status(Box::new(status)));
    let shown = text(&draw(&state, COLORS, 132, 24));
    let expected = "full scale under the sound (and 1 more)  -> take another socket";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn more_clients_than_room_and_hostile_names() {
    let mut state = state(true);
    let mut status = example();
    let reader = |n: u64| ReaderStatus {
        pid: u32::MAX,
        name: Some("\u{1b}[2J wide 漢字 ".repeat(9)),
        age_s: 1e9,
        position: Some(0),
        lag: Some(u64::MAX - n),
        lag_ms: Some(1e15),
        ..Default::default()
    };
    status.readers = (0..100).map(reader).collect();
    status.clients = 200;
    status.ring.history = u64::MAX;
    state.update(Update::Status(Box::new(status)));
    let shown = text(&draw(&state, COLORS, 80, 24));
    assert!(shown.contains("and 198 more"), "{shown}");
    assert!(!shown.contains('\u{1b}'));
}

#[test]
fn any_size_can_be_drawn() {
    let state = state(true);
    for width in [1, 10, 79, 80, 81, 200, 400] {
        for height in [1, 2, 3, 23, 24, 25, 50, 120] {
            let shown = text(&draw(&state, COLORS, width, height));
            let small = width < 80 || height < 24;
            assert_eq!(shown.contains("waveform"), !small, "{width} x {height}");
        }
    }
    let shown = text(&draw(&state, COLORS, 60, 10));
    assert!(shown.starts_with("This terminal is 60 x 10.\nThe monitor needs 80 x 24.\n"));
}
