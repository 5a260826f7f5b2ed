//! What the monitor knows at one moment and how it is looked at. Pure: fed with
//! updates and a ring, changed by actions, drawn by `draw`.

use std::sync::Arc;

use super::ear::{SourceChannel, Update};
use super::facts;
use super::track::Track;
use super::wakes::{Since, Wakes};
use super::wave::BIN;
use v2m_client::reader_cursor::ReaderCursor;
use v2m_client::status::{Status, StreamStatus};
use v2m_ring::time::monotonic_ns;
use v2m_ring::{Reader, SAMPLE_RATE};

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
    /// The stream before, or after, the one that is shown.
    Previous,
    Next,
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

/// A source as it is heard.
#[derive(Debug, Default)]
struct Lane {
    heard: SourceChannel,
    track: Track,
    ring: Option<(Arc<Reader>, Option<Arc<ReaderCursor>>)>,
}

/// Which stream is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    heard: SourceChannel,
    rate: u32,
}

impl Shown {
    fn of(stream: &StreamStatus) -> Self {
        Self {
            heard: SourceChannel::of(stream),
            rate: stream.rate,
        }
    }
}

#[derive(Debug)]
pub(crate) struct MonitorState {
    /// What is heard, the engine's own source first; at least one.
    lanes: Vec<Lane>,
    /// None: the engine's own.
    shown: Option<Shown>,
    /// The engine's newest answer.
    pub(crate) status: Option<Status>,
    /// Why there is no engine, and since when (CLOCK_MONOTONIC); None: there is one.
    pub(crate) lost: Option<(i64, String)>,
    pub(crate) wakes: Wakes,
    pub(crate) view: View,
    pub(crate) now_ns: i64,
}

impl MonitorState {
    pub(crate) fn new() -> Self {
        Self {
            lanes: vec![Lane::default()],
            shown: None,
            status: None,
            lost: None,
            wakes: Wakes::default(),
            view: View {
                paused: None,
                since: Since::Commit,
                zoom: 3,
            },
            now_ns: monotonic_ns(),
        }
    }

    pub(crate) fn update(&mut self, update: Update) {
        match update {
            Update::Ring {
                heard,
                ring,
                reader_cursor,
            } => {
                let lane = Lane {
                    heard,
                    // Positions of another ring mean other moments.
                    track: Track::new(),
                    ring: Some((ring, reader_cursor)),
                };
                // The first one of an engine is that of its own source.
                let first = self.lost.take().is_some() || self.lanes[0].ring.is_none();
                let same = self
                    .lanes
                    .iter()
                    .position(|known| known.heard == lane.heard);
                match same {
                    _ if first => {
                        self.lanes = vec![lane];
                        self.show(None);
                    }
                    Some(at) => self.lanes[at] = lane,
                    None => self.lanes.push(lane),
                }
            }
            Update::Gone(heard) => {
                let mut number = 0..;
                self.lanes
                    .retain(|lane| number.next() == Some(0) || lane.heard != heard);
            }
            Update::Status(status) => {
                self.status = Some(*status);
                let shown = self.shown.as_ref();
                if shown.is_some_and(|shown| !self.streams().any(|it| Shown::of(it) == *shown)) {
                    self.show(None);
                }
            }
            Update::Wake(wake) => self.wakes.add(wake),
            Update::Lost(why) => {
                // What was read stays on the screen.
                let since = self.lost.take().map_or_else(monotonic_ns, |lost| lost.0);
                self.lost = Some((since, why.to_string()));
            }
        }
    }

    /// Reads what is new in the rings, at `now_ns`.
    pub(crate) fn follow(&mut self, now_ns: i64) {
        self.now_ns = now_ns;
        for lane in &mut self.lanes {
            let Some((ring, reader_cursor)) = &lane.ring else {
                continue;
            };
            let position = lane.track.follow(ring);
            if let Some(reader_cursor) = reader_cursor {
                reader_cursor.reached(position);
            }
        }
    }

    /// What is known of the audio of the stream that is shown.
    pub(crate) fn track(&self) -> &Track {
        let heard = self.shown.as_ref().map(|shown| &shown.heard);
        heard
            .and_then(|heard| self.track_of(heard))
            .unwrap_or(&self.lanes[0].track)
    }

    /// The same of another one; None: it isn't heard.
    pub(crate) fn track_of(&self, heard: &SourceChannel) -> Option<&Track> {
        let lane = self.lanes.iter().find(|lane| lane.heard == *heard);
        lane.map(|lane| &lane.track)
    }

    /// A lane's stream each.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &StreamStatus> {
        self.status.iter().flat_map(facts::lanes)
    }

    /// The number of the one that is shown among them.
    pub(crate) fn number(&self) -> usize {
        let shown = |stream| self.shown.as_ref() == Some(&Shown::of(stream));
        self.streams().position(shown).unwrap_or(0)
    }

    /// Which source's status and wake-ups are wanted; None: the engine's own.
    pub(crate) fn chosen(&self) -> Option<SourceChannel> {
        self.shown.as_ref().map(|shown| shown.heard.clone())
    }

    fn show(&mut self, shown: Option<Shown>) {
        if self.shown.as_ref().map(|it| &it.heard) != shown.as_ref().map(|it| &it.heard) {
            self.wakes.clear();
        }
        self.view.paused = None;
        self.shown = shown;
    }

    pub(crate) fn act(&mut self, action: Action) {
        let (start, end) = (self.track().wave.start(), self.track().wave.end());
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
            Action::Previous | Action::Next => {
                let (count, number) = (self.streams().count().max(1), self.number());
                let number = match action {
                    Action::Next => (number + 1) % count,
                    _ => (number + count - 1) % count,
                };
                let shown = self.streams().nth(number).map(Shown::of);
                self.show(shown.filter(|_| number > 0));
            }
        }
    }

    /// Position at the right edge of the picture.
    pub(crate) fn edge(&self) -> u64 {
        self.view.paused.unwrap_or_else(|| self.track().wave.end())
    }

    /// Seconds from `position` to the newest sample read.
    pub(crate) fn ago(&self, position: u64) -> f64 {
        let samples = self.track().wave.end().saturating_sub(position);
        samples as f64 / f64::from(SAMPLE_RATE)
    }
}

impl Default for MonitorState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v2m_error::{Error, ErrorKind};
    use v2m_ring::Ring;

    #[test]
    fn the_picture_stands_while_audio_goes_on() {
        let (ring, mut capture, ..) = Ring::create(1 << 16).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let reader_cursor = ReaderCursor::new("test").map(Arc::new).unwrap();
        let mut state = MonitorState::new();
        state.update(Update::Ring {
            heard: SourceChannel::default(),
            ring: Arc::new(reader),
            reader_cursor: Some(reader_cursor),
        });
        capture.append(&[0.5; 50_000], 0);
        state.follow(0);
        assert_eq!(state.edge(), 50_000);
        state.act(Action::Pause);
        capture.append(&[0.5; 1_000], 0);
        state.follow(0);
        assert_eq!((state.edge(), state.track().wave.end()), (50_000, 51_000));
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
        let mut state = MonitorState::new();
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
        let mut state = MonitorState::new();
        let lost = |why: &str| Update::Lost(Error::new(ErrorKind::Unavailable, why));
        state.update(lost("stopped"));
        let since = state.lost.clone().unwrap().0;
        std::thread::sleep(std::time::Duration::from_millis(2));
        state.update(lost("cannot reach an engine"));
        assert_eq!(state.lost, Some((since, "cannot reach an engine".into())));
        let (ring, ..) = Ring::create(1 << 16).unwrap();
        let ring = Arc::new(Reader::new(ring.duplicate().unwrap()).unwrap());
        state.update(Update::Ring {
            heard: SourceChannel::default(),
            ring,
            reader_cursor: None,
        });
        assert_eq!(state.lost, None);
    }
}
