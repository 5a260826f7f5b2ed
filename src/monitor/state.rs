//! What the monitor knows at one moment and how it is looked at. Pure: fed with
//! updates and a ring, changed by actions, drawn by `draw`.

use std::sync::Arc;

use super::ear::Update;
use super::track::Track;
use super::wakes::{Since, Wakes};
use super::wave::BIN;
use crate::reader_cursor::ReaderCursor;
use crate::ring::{Reader, SAMPLE_RATE};
use crate::status::Status;
use crate::time::monotonic_ns;

/// Samples of one dot of the waveform at the nearest zoom: 8 ms.
const NEAREST: u64 = BIN;
/// Zooms, each twice as far as the one before: up to 256 ms for a dot.
const ZOOMS: u32 = 6;
/// Columns that the view moves by at once.
const STEP: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Stop the picture, or let it go on.
    Pause,
    /// Show less time, in more detail.
    Nearer,
    /// Show more time.
    Farther,
    /// Stop the picture and go back in time.
    Back,
    Forward,
    /// Count wake-ups from the capture instead of from the writing, and back.
    Histogram,
    Reset,
}

/// How the waveform is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Position at the right edge while the picture stands; None: it moves.
    pub(crate) paused: Option<u64>,
    /// From when wake-ups are counted.
    pub(crate) since: Since,
    zoom: u32,
}

impl View {
    /// Samples that one column of the screen shows: two dots.
    pub(crate) fn column(&self) -> u64 {
        2 * (NEAREST << self.zoom)
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) track: Track,
    /// The engine's newest answer.
    pub(crate) status: Option<Status>,
    /// Why there is no engine, and since when (CLOCK_MONOTONIC); None: there is one.
    pub(crate) lost: Option<(i64, String)>,
    pub(crate) wakes: Wakes,
    pub(crate) view: View,
    pub(crate) now_ns: i64,
    ring: Option<(Arc<Reader>, Option<Arc<ReaderCursor>>)>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            track: Track::new(),
            status: None,
            lost: None,
            wakes: Wakes::default(),
            view: View {
                paused: None,
                since: Since::Commit,
                zoom: 3,
            },
            now_ns: monotonic_ns(),
            ring: None,
        }
    }

    pub(crate) fn update(&mut self, update: Update) {
        match update {
            Update::Ring {
                ring,
                reader_cursor,
            } => {
                // Positions of another ring mean other moments.
                self.track = Track::new();
                self.view.paused = None;
                self.wakes.clear();
                self.lost = None;
                self.ring = Some((ring, reader_cursor));
            }
            Update::Status(status) => self.status = Some(*status),
            Update::Wake(wake) => self.wakes.add(wake),
            Update::Lost(why) => {
                // What was read stays on the screen.
                let since = self.lost.take().map_or_else(monotonic_ns, |lost| lost.0);
                self.lost = Some((since, why.to_string()));
            }
        }
    }

    /// Reads what is new in the ring, at `now_ns`.
    pub(crate) fn follow(&mut self, now_ns: i64) {
        self.now_ns = now_ns;
        if let Some((ring, reader_cursor)) = &self.ring {
            let position = self.track.follow(ring);
            if let Some(reader_cursor) = reader_cursor {
                reader_cursor.reached(position);
            }
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        let (start, end) = (self.track.wave.start(), self.track.wave.end());
        let step = STEP * self.view.column();
        match action {
            Action::Pause => {
                self.view.paused = match self.view.paused {
                    Some(_) => None,
                    None => Some(end),
                }
            }
            Action::Nearer => self.view.zoom = self.view.zoom.saturating_sub(1),
            Action::Farther => self.view.zoom = (self.view.zoom + 1).min(ZOOMS - 1),
            Action::Back => {
                let edge = self.view.paused.unwrap_or(end);
                self.view.paused = Some(edge.saturating_sub(step).max(start));
            }
            Action::Forward => {
                // Back at the present, the picture moves again.
                let edge = self.view.paused.map(|edge| edge + step);
                self.view.paused = edge.filter(|&edge| edge < end);
            }
            Action::Histogram => {
                self.view.since = match self.view.since {
                    Since::Commit => Since::Capture,
                    Since::Capture => Since::Commit,
                }
            }
            Action::Reset => self.wakes.clear(),
        }
    }

    /// Position at the right edge of the picture.
    pub(crate) fn edge(&self) -> u64 {
        self.view.paused.unwrap_or_else(|| self.track.wave.end())
    }

    /// Seconds from `position` to the newest sample read.
    pub(crate) fn ago(&self, position: u64) -> f64 {
        let samples = self.track.wave.end().saturating_sub(position);
        samples as f64 / f64::from(SAMPLE_RATE)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Ring;
    use crate::{Error, ErrorKind};

    #[test]
    fn the_picture_stands_while_audio_goes_on() {
        let (ring, mut capture, ..) = Ring::create(1 << 16).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let reader_cursor = ReaderCursor::new("test").map(Arc::new).unwrap();
        let mut state = State::new();
        state.update(Update::Ring {
            ring: Arc::new(reader),
            reader_cursor: Some(reader_cursor),
        });
        capture.append(&[0.5; 50_000], 0);
        state.follow(0);
        assert_eq!(state.edge(), 50_000);
        state.act(Action::Pause);
        capture.append(&[0.5; 1_000], 0);
        state.follow(0);
        assert_eq!((state.edge(), state.track.wave.end()), (50_000, 51_000));
        state.act(Action::Pause);
        assert_eq!(state.edge(), 51_000);
        // Back as far as there is something, forward until it moves again.
        state.act(Action::Back);
        assert_eq!(state.edge(), 51_000 - 8 * 2_048);
        for _ in 0..20 {
            state.act(Action::Back);
        }
        assert_eq!(state.edge(), 0);
        for _ in 0..4 {
            state.act(Action::Forward);
        }
        assert_eq!(state.view.paused, None);
    }

    #[test]
    fn zooms_end_somewhere() {
        let mut state = State::new();
        let mut columns = |action| {
            let mut widths = Vec::new();
            for _ in 0..8 {
                state.act(action);
                widths.push(state.view.column());
            }
            widths
        };
        assert_eq!(columns(Action::Nearer)[2..], [256; 6]);
        assert_eq!(columns(Action::Farther)[4..], [8_192; 4]);
    }

    #[test]
    fn a_lost_engine_is_remembered_from_its_first_absence() {
        let mut state = State::new();
        let lost = |why: &str| Update::Lost(Error::new(ErrorKind::Unavailable, why));
        state.update(lost("stopped"));
        let since = state.lost.clone().unwrap().0;
        std::thread::sleep(std::time::Duration::from_millis(2));
        state.update(lost("cannot reach an engine"));
        assert_eq!(state.lost, Some((since, "cannot reach an engine".into())));
        let (ring, ..) = Ring::create(1 << 16).unwrap();
        let ring = Arc::new(Reader::new(ring.duplicate().unwrap()).unwrap());
        state.update(Update::Ring {
            ring,
            reader_cursor: None,
        });
        assert_eq!(state.lost, None);
    }
}
