//! The speech track of one source as it grows: a window of samples in, its probability and
//! the turns of speech out, into the ring of every rate.
//!
//! A round: [`begin`](SpeechTrack::begin) looks what waits, then, window by window,
//! [`next`](SpeechTrack::next) reads what is to be judged and [`judged`](SpeechTrack::judged) publishes
//! what was found; readers are told after the last one.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use nix::sched::sched_getcpu;

use super::source::SourceProgress;
use super::{BEHIND, PASSED, RUN, WorkerShared, lock};
use crate::detect::detector::{DetectorSession, Due};
use v2m_dsp::vad::WINDOW;
use v2m_dsp::vad::segment::{Edge, OnOff};
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::time::monotonic_ns;
use v2m_ring::{Event, Kind, Notifier, Rate, SpeechWriter};

const STEP: u64 = WINDOW as u64;

/// What a round at a source's windows came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Nothing waits.
    Idle,
    /// Some were judged, others may wait.
    Worked,
    /// As many as are judged at once, and others wait.
    Late,
}

/// Where the track is written.
struct TrackOutput {
    rate: Rate,
    writer: SpeechWriter,
    notifier: Notifier,
}

impl TrackOutput {
    /// Speech begins or ends: an event of the ring at 16 kHz, at this one's rate.
    fn turn(&mut self, event: &Event) {
        self.writer.turn(Event {
            position: self.rate.convert(event.position, Rate::SPEECH),
            length: self.rate.convert(event.length, Rate::SPEECH),
            ..*event
        });
    }
}

/// The speech track as it grows.
pub(super) struct SpeechTrack {
    pub(super) source: Arc<SourceProgress>,
    shared: Arc<WorkerShared>,
    session: DetectorSession,
    /// The window that is judged now.
    samples: [f32; WINDOW],
    /// Windows still to be judged before anybody is told.
    left: u64,
    /// The commit of the one window that waited as the round began; None: several did.
    written_ns: Option<i64>,
    /// The probability of silence, after nothing else.
    silence: f32,
    /// The first is at 16 kHz.
    outputs: Vec<TrackOutput>,
    window: u64,
    turns: OnOff,
    /// The beginning of the speech that goes on, at 16 kHz.
    speech: Option<Event>,
    /// The window before held something else than audio.
    afresh: bool,
    /// The model failed on the window before.
    failing: bool,
    cpu: Option<usize>,
    behind: bool,
    /// What came before the model was there is no lateness.
    loading: bool,
}

impl SpeechTrack {
    pub(super) fn new(
        source: Arc<SourceProgress>,
        shared: Arc<WorkerShared>,
        (session, silence): (DetectorSession, f32),
        writer: SpeechWriter,
        notifier: Notifier,
        turns: OnOff,
    ) -> Self {
        Self {
            window: writer.window(),
            source,
            shared,
            session,
            samples: [0.0; WINDOW],
            left: 0,
            written_ns: None,
            silence,
            outputs: vec![TrackOutput {
                rate: Rate::SPEECH,
                writer,
                notifier,
            }],
            turns,
            speech: None,
            afresh: false,
            failing: false,
            cpu: sched_getcpu().ok(),
            behind: false,
            loading: true,
        }
    }

    /// Another ring, whose audio begins with this window.
    pub(super) fn add(&mut self, mut writer: SpeechWriter, notifier: Notifier, begin: u64) {
        writer.skip_to(begin.min(self.window), self.silence);
        // Judged before this ring came to be told.
        for window in writer.window()..self.window {
            let mut probability = [f32::NAN];
            let _ = self.source.reader.read_speech(window, &mut probability);
            writer.probability(probability[0]);
        }
        let rate = writer.rate();
        let mut output = TrackOutput {
            rate,
            writer,
            notifier,
        };
        // Its end will be told there, too.
        self.speech.iter().for_each(|start| output.turn(start));
        output.notifier.notify();
        self.remove(rate);
        self.outputs.push(output);
    }

    pub(super) fn remove(&mut self, rate: Rate) {
        self.outputs.retain(|output| output.rate != rate);
    }

    fn notify(&self) {
        for output in &self.outputs {
            output.notifier.notify();
        }
    }

    /// Looks what waits; not too much of it is for this round.
    pub(super) fn begin(&mut self) -> Round {
        self.left = 0;
        if self.source.drained.load(Acquire) {
            return Round::Idle;
        }
        let waiting = self.waiting();
        if waiting == 0 {
            if std::mem::take(&mut self.behind) {
                self.source.caught_up.fetch_add(1, Relaxed);
            }
            self.loading = false;
            // A last look: what came before the order is judged.
            if self.source.draining.load(Acquire) && self.waiting() == 0 {
                self.end();
                self.source.drained.store(true, Release);
                self.notify();
            }
            return Round::Idle;
        }
        if self.pass_silence(waiting.min(PASSED)) {
            self.notify();
            return Round::Worked;
        }
        if !self.loading {
            let late = match waiting > BEHIND {
                true => waiting - self.source.filled_after(self.window).min(waiting - 1),
                false => waiting,
            };
            self.behind |= late > BEHIND;
            self.source.worst.fetch_max(late - 1, Relaxed);
        }
        self.left = waiting.min(RUN);
        let alone = waiting == 1 && self.source.live;
        self.written_ns = alone.then(|| self.source.reader.written_ns());
        match waiting > RUN {
            true => Round::Late,
            false => Round::Worked,
        }
    }

    /// Reads the next window of this round that is to be judged; false: there is no more. After
    /// one that holds filled silence the model starts anew: what follows a gap is judged by
    /// itself.
    pub(super) fn next(&mut self) -> bool {
        while self.left > 0 {
            let position = self.window * STEP;
            let gap = self.source.reader.has_gap(position, STEP);
            match self.source.reader.read_samples(position, &mut self.samples) {
                Ok(()) => {
                    if std::mem::replace(&mut self.afresh, gap) {
                        self.session.reset();
                    }
                    return true;
                }
                // The edge of a gap that was longer than the ring.
                Err(error) if error.kind() == ErrorKind::Overrun && gap => {
                    self.afresh = true;
                    self.found(Ok(self.silence));
                }
                Err(error) => self.found(Err(error)),
            }
        }
        false
    }

    /// The window that was read.
    pub(super) fn due(&mut self) -> Due<'_> {
        Due {
            session: &mut self.session,
            window: &mut self.samples,
            found: Ok(f32::NAN),
        }
    }

    /// Publishes what was found in the window that was to be judged, which took `ns`.
    pub(super) fn judged(&mut self, found: Result<f32>, ns: i64) {
        self.shared.cost.record(ns);
        let unusable = self.session.unusable_samples();
        self.source.unusable.store(unusable, Relaxed);
        let cpu = sched_getcpu().ok();
        if std::mem::replace(&mut self.cpu, cpu) != cpu {
            self.shared.migrations.fetch_add(1, Relaxed);
        }
        self.found(found);
    }

    /// What was found in the next window of this round, told with the round's last one.
    fn found(&mut self, found: Result<f32>) {
        let failed = matches!(&found, Err(error) if error.kind() != ErrorKind::Overrun);
        if std::mem::replace(&mut self.failing, failed) || failed {
            *lock(&self.shared.problem) = found.as_ref().err().map(Error::to_string);
        }
        let probability = found.unwrap_or_else(|_| {
            self.source.missed.fetch_add(1, Relaxed);
            self.afresh = true;
            f32::NAN
        });
        self.publish(probability);
        self.left -= 1;
        if self.left == 0 {
            if let Some(written_ns) = self.written_ns.take() {
                self.shared.delay.record(monotonic_ns() - written_ns);
            }
            self.notify();
        }
    }

    fn waiting(&self) -> u64 {
        let complete = self.source.reader.complete_windows();
        complete.saturating_sub(self.window)
    }

    /// Publishes what the model would say of the next windows if they lie deep in
    /// filled silence, at most `most` of them; whether there were any. When
    /// somebody listens again after a night, hours of it come at once.
    fn pass_silence(&mut self, most: u64) -> bool {
        let window = self.window;
        let Some((first, end)) = self.source.reader.gap_at(window * STEP) else {
            return false;
        };
        // A window at the edge holds what the resampler made of the last audio.
        if window * STEP < first + STEP {
            return false;
        }
        let end = (end / STEP).saturating_sub(1).min(window + most);
        for _ in window..end {
            self.publish(self.silence);
            self.afresh = true;
        }
        end > window
    }

    fn publish(&mut self, probability: f32) {
        let window = self.window;
        let turn = match probability.is_nan() {
            true => self.turns.reset(window * STEP),
            false => self.turns.push(window, probability),
        };
        for output in &mut self.outputs {
            output.writer.probability(probability);
        }
        self.window += 1;
        self.turn(turn);
    }

    fn turn(&mut self, turn: Option<Edge>) {
        let (kind, position) = match turn {
            None => return,
            Some(Edge::Start(position)) => (Kind::SpeechStart, position),
            Some(Edge::End(position)) => (Kind::SpeechEnd, position),
        };
        // The last end lies where no sample is yet: one sample after the last.
        let reader = &self.source.reader;
        let sample_ns = reader.rate().ns(1);
        let last_ns = || Some(reader.time_ns(position.checked_sub(1)?)? + sample_ns);
        let time_ns = reader.time_ns(position).or_else(last_ns);
        let began = self.speech.take();
        let event = Event {
            kind: kind as u32,
            detail: 0,
            position,
            length: began.map_or(0, |began| position - began.position),
            time_ns: time_ns.unwrap_or(0),
        };
        for output in &mut self.outputs {
            output.turn(&event);
        }
        self.speech = (kind == Kind::SpeechStart).then_some(event);
    }

    /// Nothing follows: speech that goes on ends here.
    fn end(&mut self) {
        let turn = self.turns.reset(self.window * STEP);
        self.turn(turn);
    }
}
