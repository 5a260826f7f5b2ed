//! The speech track as it grows: a window of samples in, its probability and the turns
//! of speech out.

use std::sync::atomic::Ordering::Relaxed;

use nix::sched::sched_getcpu;

use super::{STEP, Shared, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::ring::{Event, Kind, NS_PER_SAMPLE, SpeechWriter};
use crate::time::monotonic_ns;
use crate::vad::segment::{Edge, OnOff};
use crate::vad::{Model, WINDOW};

/// The speech track as it grows.
pub(super) struct Track<'a> {
    shared: &'a Shared,
    model: Box<dyn Model>,
    /// The probability of silence, after nothing else.
    silence: f32,
    writer: SpeechWriter,
    turns: OnOff,
    /// Where the speech that goes on began.
    speech: u64,
    /// The window before held something else than audio.
    afresh: bool,
    /// The model failed on the window before.
    failing: bool,
    cpu: Option<usize>,
}

impl<'a> Track<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        mut model: Box<dyn Model>,
        writer: SpeechWriter,
        turns: OnOff,
    ) -> Self {
        let silence = model.probability(&[0.0; WINDOW]).unwrap_or(0.0);
        model.reset();
        Self {
            shared,
            model,
            silence,
            writer,
            turns,
            speech: 0,
            afresh: false,
            failing: false,
            cpu: sched_getcpu().ok(),
        }
    }

    /// The number of the next window.
    pub(super) fn window(&self) -> u64 {
        self.writer.window()
    }

    /// Judges the next window, which is complete, and publishes what comes of it.
    pub(super) fn step(&mut self) {
        let shared = self.shared;
        let start_ns = monotonic_ns();
        let judged = self.judge(self.writer.window() * STEP);
        let failed = matches!(&judged, Err(error) if error.kind() != ErrorKind::Overrun);
        if std::mem::replace(&mut self.failing, failed) || failed {
            *lock(&shared.problem) = judged.as_ref().err().map(Error::to_string);
        }
        let probability = judged.unwrap_or_else(|_| {
            shared.missed.fetch_add(1, Relaxed);
            self.afresh = true;
            f32::NAN
        });
        self.publish(probability);
        shared.cost.record(monotonic_ns() - start_ns);
        let unusable = self.model.unusable_samples();
        shared.unusable.store(unusable, Relaxed);
        let cpu = sched_getcpu().ok();
        if std::mem::replace(&mut self.cpu, cpu) != cpu {
            shared.migrations.fetch_add(1, Relaxed);
        }
    }

    /// The window's probability. After one that holds filled silence the model
    /// starts anew: what follows a gap is judged by itself.
    fn judge(&mut self, position: u64) -> Result<f32> {
        let mut samples = [0.0; WINDOW];
        let gap = self.shared.reader.has_gap(position, STEP);
        match self.shared.reader.read_samples(position, &mut samples) {
            // The edge of a gap that was longer than the ring.
            Err(error) if error.kind() == ErrorKind::Overrun && gap => {
                self.afresh = true;
                return Ok(self.silence);
            }
            read => read?,
        }
        if std::mem::replace(&mut self.afresh, gap) {
            self.model.reset();
        }
        self.model.probability(&samples)
    }

    /// Publishes what the model would say of the next windows if they lie deep in
    /// filled silence, at most `most` of them; whether there were any. When
    /// somebody listens again after a night, hours of it come at once.
    pub(super) fn pass_silence(&mut self, most: u64) -> bool {
        let window = self.writer.window();
        let Some((first, end)) = self.shared.reader.gap_at(window * STEP) else {
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
        let window = self.writer.window();
        let turn = match probability.is_nan() {
            true => self.turns.reset(window * STEP),
            false => self.turns.push(window, probability),
        };
        self.writer.probability(probability);
        self.turn(turn);
    }

    fn turn(&mut self, turn: Option<Edge>) {
        let (kind, position, length) = match turn {
            None => return,
            Some(Edge::Start(position)) => {
                self.speech = position;
                (Kind::SpeechStart, position, 0)
            }
            Some(Edge::End(position)) => (Kind::SpeechEnd, position, position - self.speech),
        };
        // The last end lies where no sample is yet: one sample after the last.
        let reader = &self.shared.reader;
        let last_ns = || Some(reader.time_ns(position.checked_sub(1)?)? + NS_PER_SAMPLE);
        let time_ns = reader.time_ns(position).or_else(last_ns);
        self.writer.turn(Event {
            kind: kind as u32,
            detail: 0,
            position,
            length,
            time_ns: time_ns.unwrap_or(0),
        });
    }

    /// Nothing follows: speech that goes on ends here.
    pub(super) fn end(&mut self) {
        let turn = self.turns.reset(self.writer.window() * STEP);
        self.turn(turn);
    }
}
