//! Hears the ring for what is wrong with its source: a reader like any other, without a
//! thread of its own. It is asked ten times a second and may be late; what it could not
//! read in time is passed over.

use v2m_dsp::health::{Facts, Finding, Judge, Moment, WINDOW};
use v2m_ring::Reader;
use v2m_ring::time::monotonic_ns;

const STEP: u64 = WINDOW as u64;
/// Windows that a detector may be behind before they are taken without its word: a second.
const LATE: u64 = 31;
/// Windows that are caught up with at most, twice what the judge remembers: a file may be
/// played a thousand times faster than it lasts.
const CATCH_UP: u64 = 625;

/// A judge's place in a ring.
#[derive(Debug)]
pub struct HealthReader {
    reader: Reader,
    judge: Judge,
    /// Somebody writes the speech track.
    detects: bool,
    /// The window to be heard next.
    next: u64,
    /// Nothing was heard since it began or forgot.
    fresh: bool,
}

impl HealthReader {
    /// Begins with what comes now. `patience` as [`Judge::new`]; `detects`: there is or will
    /// be a speech track.
    pub fn new(reader: Reader, patience: usize, detects: bool) -> Self {
        Self {
            next: reader.committed() / STEP,
            reader,
            judge: Judge::new(patience),
            detects,
            fresh: true,
        }
    }

    /// How many windows it goes by, see [`Judge::remembered`].
    pub fn remembered(&self) -> usize {
        self.judge.remembered()
    }

    /// Hears what is new, and says what is wrong.
    pub fn look(&mut self, facts: &Facts<'_>) -> Vec<Finding> {
        self.hear();
        let now = Moment {
            position: self.reader.committed(),
            time_ns: monotonic_ns(),
        };
        self.judge.findings(facts, now)
    }

    /// What was heard so far is of another source, or long ago. Who has heard nothing keeps its
    /// place: a short file may be over before anybody knows that it began.
    pub fn forget(&mut self) {
        if std::mem::replace(&mut self.fresh, true) {
            return;
        }
        self.next = self.reader.committed() / STEP;
        self.judge.forget();
    }

    fn hear(&mut self) {
        self.fresh = false;
        let complete = self.reader.committed() / STEP;
        let late = complete.saturating_sub(LATE);
        let end = match self.detects {
            true => self.reader.speech_committed().clamp(late, complete),
            false => complete,
        };
        let skipped = end.saturating_sub(self.next + CATCH_UP);
        self.pass(skipped);
        while self.next < end {
            let position = self.next * STEP;
            let mut samples = [0.0; WINDOW];
            let read = self.reader.read_samples(position, &mut samples);
            let time_ns = self.reader.time_ns(position);
            match (read, time_ns) {
                (Ok(()), Some(time_ns)) if !self.reader.has_gap(position, STEP) => {
                    let moment = Moment { position, time_ns };
                    let probability = self.probability();
                    self.judge.window(&samples, probability, moment);
                    self.next += 1;
                }
                _ => self.pass(1),
            }
        }
    }

    fn pass(&mut self, windows: u64) {
        if windows > 0 {
            self.judge.gap(windows);
            self.next += windows;
        }
    }

    fn probability(&self) -> Option<f32> {
        let mut probability = [0.0];
        let read = self.reader.read_speech(self.next, &mut probability);
        read.ok().map(|()| probability[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v2m_dsp::health::{Kind, PATIENCE};
    use v2m_ring::{GapReason, Ring};

    fn kinds(reader: &mut HealthReader) -> Vec<Kind> {
        let found = reader.look(&Facts::default());
        found.iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn filled_silence_is_no_silence_and_zeros_are() {
        let (ring, mut capture, ..) = Ring::create(1 << 17).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let mut reader = HealthReader::new(reader, PATIENCE, false);
        capture.gap(64_000, GapReason::Interrupted, 0);
        capture.append_silence(64_000, 0);
        assert_eq!(kinds(&mut reader), []);
        capture.append(&[0.0; 64_000], 4_000_000_000);
        let found = reader.look(&Facts::default());
        assert_eq!(found[0].kind, Kind::Silence);
        assert_eq!(found[0].since.position, 64_000);
        assert_eq!(found[0].since.time_ns, 4_000_000_000);
        assert_eq!(reader.remembered(), 125);
        reader.forget();
        assert_eq!(kinds(&mut reader), []);
    }

    #[test]
    fn what_was_heard_before_a_long_gap_is_not_counted() {
        for (gap, remembered) in [(1_600, 62), (16_000, 62), (48_000, 31)] {
            let (ring, mut capture, ..) = Ring::create(1 << 17).unwrap();
            let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
            let mut reader = HealthReader::new(reader, PATIENCE, false);
            capture.append(&[0.1; 16_128], 0);
            reader.look(&Facts::default());
            capture.gap(gap, GapReason::Interrupted, 0);
            capture.append_silence(gap, 0);
            capture.append(&[0.1; 16_128], 4_000_000_000);
            reader.look(&Facts::default());
            let found = reader.remembered();
            assert!(found.abs_diff(remembered) <= 2, "{found} after {gap}");
        }
    }

    #[test]
    fn what_came_before_it_was_asked_is_heard() {
        let (ring, mut capture, ..) = Ring::create(1 << 17).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let mut reader = HealthReader::new(reader, PATIENCE, false);
        reader.forget();
        capture.append(&[0.0; 64_000], 0);
        reader.forget();
        assert_eq!(kinds(&mut reader), [Kind::Silence]);
    }

    #[test]
    fn what_was_overwritten_is_passed_over() {
        let (ring, mut capture, ..) = Ring::create(1 << 16).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let mut reader = HealthReader::new(reader, PATIENCE, false);
        for n in 0..40 {
            capture.append(&[0.25; 16_000], n * 1_000_000_000);
        }
        assert_eq!(kinds(&mut reader), [Kind::Silence, Kind::Dc]);
    }

    #[test]
    fn a_detector_that_is_late_is_not_waited_for() {
        let (ring, mut capture, ..) = Ring::create(1 << 17).unwrap();
        let reader = Reader::new(ring.duplicate().unwrap()).unwrap();
        let mut reader = HealthReader::new(reader, PATIENCE, true);
        capture.append(&[0.0; 50_000], 0);
        assert_eq!(kinds(&mut reader), [], "97 windows, 31 of them may be late");
        capture.append(&[0.0; 17_000], 3_125_000_000);
        assert_eq!(kinds(&mut reader), [Kind::Silence]);
    }
}
