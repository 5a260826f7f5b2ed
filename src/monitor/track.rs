//! The ring as the monitor has read it: the waveform, and by position what is
//! known about it. An ordinary reader's view; it may come late and loses nothing
//! but the picture.

use std::collections::VecDeque;

use super::wave::{KEPT_SAMPLES, Wave};
use v2m_ring::{Event, EventLane, GapReason, Kind, Reader, WINDOW};

/// Probabilities kept: 5 min.
const WINDOWS: usize = 9_375;
/// Events of a kind kept.
const RECORDS: usize = 2_048;
/// Samples read at once.
const BLOCK: usize = 4_096;

/// Somebody speaks, or spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Utterance {
    pub(crate) start: u64,
    /// Where it ended; None: it goes on.
    pub(crate) end: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) wave: Wave,
    /// Stretches of filled silence; what continues one is part of it.
    pub(crate) gaps: VecDeque<Event>,
    pub(crate) turns: VecDeque<Utterance>,
    /// Positions at which the source changed.
    pub(crate) devices: VecDeque<u64>,
    probabilities: VecDeque<f32>,
    /// Window of the first probability kept.
    first_window: u64,
    /// Numbers of the next gap, turn and notice.
    next: [u64; 3],
}

impl Track {
    pub(crate) fn new() -> Self {
        Self {
            wave: Wave::new(0),
            gaps: VecDeque::new(),
            turns: VecDeque::new(),
            devices: VecDeque::new(),
            probabilities: VecDeque::new(),
            first_window: 0,
            next: [0; 3],
        }
    }

    /// Reads what is new in the ring; how far that is.
    pub(crate) fn follow(&mut self, ring: &Reader) -> u64 {
        self.follow_samples(ring);
        self.follow_speech(ring);
        self.follow_records(ring);
        self.wave.end()
    }

    fn follow_samples(&mut self, ring: &Reader) {
        let mut block = [0.0; BLOCK];
        let committed = ring.committed();
        let wanted = committed.saturating_sub(KEPT_SAMPLES);
        if self.wave.end() < wanted {
            self.wave = Wave::new(wanted);
        }
        while self.wave.end() < committed {
            let from = self.wave.end();
            let count = (committed - from).min(BLOCK as u64) as usize;
            if ring.read_samples(from, &mut block[..count]).is_ok() {
                self.wave.push(&block[..count]);
                continue;
            }
            // Overwritten: on with the oldest, but not so close to the writer that
            // it overtakes again at once.
            let margin = ring.layout().history() / 16;
            let fresh = ring.oldest().saturating_add(margin).min(committed);
            if fresh <= from {
                return;
            }
            self.wave = Wave::new(fresh);
        }
    }

    fn follow_speech(&mut self, ring: &Reader) {
        let committed = ring.speech_committed();
        let next = self.first_window + self.probabilities.len() as u64;
        let mut from = next.max(committed.saturating_sub(WINDOWS as u64));
        while from < committed {
            let mut one = [0.0];
            match ring.read_speech(from, &mut one) {
                Ok(()) => {
                    if from != self.first_window + self.probabilities.len() as u64 {
                        self.probabilities.clear();
                        self.first_window = from;
                    }
                    // NaN where there is none.
                    self.probabilities.push_back(one[0].clamp(0.0, 1.0));
                    from += 1;
                }
                // Overwritten; the lane holds at least as many windows as the samples' does.
                Err(_) => {
                    let kept = ring.layout().history() / WINDOW;
                    from = (from + 1).max(committed.saturating_sub(kept - kept / 16));
                }
            }
            if self.probabilities.len() > WINDOWS {
                self.probabilities.pop_front();
                self.first_window += 1;
            }
        }
    }

    fn follow_records(&mut self, ring: &Reader) {
        let kinds = [
            EventLane::Gaps,
            EventLane::SpeechEvents,
            EventLane::EngineEvents,
        ];
        for (at, kind) in kinds.into_iter().enumerate() {
            let committed = ring.records_committed(kind);
            let oldest = committed.saturating_sub(RECORDS as u64);
            for number in self.next[at].max(oldest)..committed {
                if let Some(record) = ring.record(kind, number) {
                    self.note(&record);
                }
            }
            self.next[at] = committed;
        }
        self.gaps.drain(..self.gaps.len().saturating_sub(RECORDS));
        self.turns.drain(..self.turns.len().saturating_sub(RECORDS));
        let devices = self.devices.len().saturating_sub(RECORDS);
        self.devices.drain(..devices);
    }

    fn note(&mut self, record: &Event) {
        const GAP: u32 = Kind::Gap as u32;
        const START: u32 = Kind::SpeechStart as u32;
        const END: u32 = Kind::SpeechEnd as u32;
        const DEVICE: u32 = Kind::Device as u32;
        match (record.kind, self.gaps.back_mut(), self.turns.back_mut()) {
            (GAP, Some(gap), _)
                if record.detail == GapReason::Continued as u32 && record.position == gap.end() =>
            {
                gap.length = gap.length.saturating_add(record.length);
            }
            (GAP, ..) => self.gaps.push_back(*record),
            (START, ..) => self.turns.push_back(Utterance {
                start: record.position,
                end: None,
            }),
            (END, _, Some(turn)) if turn.end.is_none() => turn.end = Some(record.position),
            (END, ..) => self.turns.push_back(Utterance {
                start: record.position.saturating_sub(record.length),
                end: Some(record.position),
            }),
            (DEVICE, ..) => self.devices.push_back(record.position),
            _ => {}
        }
    }

    /// The highest probability of speech in `[from, to)`; None where nobody has looked.
    pub(crate) fn speech(&self, from: u64, to: u64) -> Option<f32> {
        let index = |window: u64| {
            let index = window.saturating_sub(self.first_window);
            index.min(self.probabilities.len() as u64) as usize
        };
        let (from, to) = (index(from / WINDOW), index(to.div_ceil(WINDOW)));
        self.probabilities
            .range(from..to.max(from))
            .copied()
            .filter(|probability| !probability.is_nan())
            .reduce(f32::max)
    }

    pub(crate) fn newest_speech(&self) -> Option<f32> {
        let newest = self.probabilities.back().copied();
        newest.filter(|probability| !probability.is_nan())
    }

    /// Whether somebody speaks anywhere in `[from, to)`.
    pub(crate) fn is_speech(&self, from: u64, to: u64) -> bool {
        let newest_first = self.turns.iter().rev();
        newest_first
            .take_while(|turn| turn.end.is_none_or(|end| end > from))
            .any(|turn| turn.start < to)
    }

    /// The newest gap that touches `[from, to)`.
    pub(crate) fn gap(&self, from: u64, to: u64) -> Option<&Event> {
        let newest_first = self.gaps.iter().rev();
        newest_first
            .take_while(|gap| gap.end() > from)
            .find(|gap| gap.position < to)
    }

    /// Whether another source came in `[from, to)`.
    pub(crate) fn is_device_change(&self, from: u64, to: u64) -> bool {
        self.devices
            .iter()
            .any(|position| (from..to).contains(position))
    }
}

impl Default for Track {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v2m_ring::Ring;

    const HISTORY: u64 = 1 << 16;

    fn record(kind: Kind, position: u64, length: u64) -> Event {
        Event {
            kind: kind as u32,
            detail: 0,
            position,
            length,
            time_ns: 0,
        }
    }

    #[test]
    fn follows_samples_speech_gaps_and_turns() {
        let (ring, mut capture, mut speech, mut control) = Ring::create(HISTORY).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let mut track = Track::new();
        assert_eq!(track.follow(&reader), 0);
        assert_eq!(
            (track.newest_speech(), track.gap(0, u64::MAX)),
            (None, None)
        );

        capture.append(&[0.25; 5_000], 0);
        capture.gap(100, GapReason::Xrun, 0);
        capture.append_silence(100, 0);
        capture.gap(50, GapReason::Continued, 0);
        capture.append_silence(50, 0);
        for probability in [0.1, 0.9, 0.2] {
            speech.probability(probability);
        }
        speech.turn(record(Kind::SpeechStart, 600, 0));
        control.device("microphone", 0);
        assert_eq!(track.follow(&reader), 5_150);
        assert_eq!(track.wave.between(0, 4096).unwrap().peak(), 0.25);
        assert_eq!(track.gaps.len(), 1);
        assert_eq!(track.gap(0, 5_000), None);
        assert_eq!(track.gap(5_149, 5_150).unwrap().length, 150);
        assert_eq!(track.speech(0, 512), Some(0.1));
        assert_eq!(track.speech(0, 2_048), Some(0.9));
        assert_eq!(track.speech(1_536, 2_048), None);
        speech.probability(f32::NAN);
        track.follow(&reader);
        assert_eq!(
            (track.speech(1_536, 2_048), track.newest_speech()),
            (None, None)
        );
        assert_eq!(track.speech(0, 2_048), Some(0.9));
        assert!(track.is_speech(5_000, 5_001) && !track.is_speech(0, 600));
        assert!(track.is_device_change(5_150, 5_151));

        speech.turn(record(Kind::SpeechEnd, 2_000, 1_400));
        track.follow(&reader);
        assert!(track.is_speech(1_999, 5_000) && !track.is_speech(2_000, 5_000));
    }

    #[test]
    fn an_end_without_its_start_says_how_long_it_was() {
        let mut track = Track::new();
        track.note(&record(Kind::SpeechEnd, 2_000, 1_500));
        let turn = Utterance {
            start: 500,
            end: Some(2_000),
        };
        assert_eq!(track.turns, [turn]);
    }

    #[test]
    fn who_comes_late_goes_on_with_what_is_there() {
        let (ring, mut capture, mut speech, _control) = Ring::create(HISTORY).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let mut track = Track::new();
        capture.append(&[0.5; 1_000], 0);
        track.follow(&reader);
        for _ in 0..40 {
            capture.append(&[0.25; 5_000], 0);
        }
        for _ in 0..20_000 {
            speech.probability(0.5);
        }
        assert_eq!(track.follow(&reader), 201_000);
        assert!(track.wave.start() > 201_000 - HISTORY);
        assert!(track.wave.start() < 201_000 - HISTORY + HISTORY / 8);
        assert_eq!(track.wave.newest(HISTORY).unwrap().peak(), 0.25);
        assert_eq!(track.newest_speech(), Some(0.5));
        assert_eq!(track.follow(&reader), 201_000);
    }
}
