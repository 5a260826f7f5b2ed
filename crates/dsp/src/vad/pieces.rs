//! Speech in audio that comes in pieces: where it starts and ends, as soon as that is known.

use super::SAMPLE_RATE;
use super::corpus::own_position;
use super::hearing::Hearing;
use super::recording::{Recording, at_model_rate, check};
use super::segment::{Edge, OnOff, Params};
use crate::Result;

/// What became known. Positions are samples at the audio's own rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Speech from here on, the pad before it included.
    Start(u64),
    /// It ended here, the pad after it included.
    End(u64),
    /// What had started was too short to be speech, and ended here.
    Misfire(u64),
}

impl Event {
    /// `start`, `end`, `misfire`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::End(_) => "end",
            Self::Misfire(_) => "misfire",
        }
    }

    /// Where, in samples of the audio's own.
    pub fn position(self) -> u64 {
        match self {
            Self::Start(at) | Self::End(at) | Self::Misfire(at) => at,
        }
    }
}

/// One stream of pieces of any length.
pub struct Pieces {
    recording: Recording,
    on_off: OnOff,
    min_speech: u64,
    pad: u64,
    /// Samples taken.
    given: u64,
    /// Windows judged.
    judged: u64,
    /// Where speech in progress began, without its pad.
    started: Option<u64>,
    /// Of the last window.
    probability: Option<f32>,
    scratch: Vec<f32>,
}

impl Pieces {
    /// Of `params`: thresholds, `min_silence_ms`, `pad_ms`, and `min_speech_ms`, which tells
    /// an end from a misfire.
    ///
    /// Errors: those of [`Params::validate`] and of [`Recording::new`].
    pub fn new(params: &Params, rate: u32, hearing: Hearing) -> Result<Self> {
        let samples = |ms: u32| u64::from(ms) * u64::from(SAMPLE_RATE) / 1000;
        Ok(Self {
            recording: Recording::with_hearing(rate, hearing)?,
            on_off: OnOff::new(params)?,
            min_speech: samples(params.min_speech_ms),
            pad: samples(params.pad_ms),
            given: 0,
            judged: 0,
            started: None,
            probability: None,
            scratch: Vec::new(),
        })
    }

    /// Samples per second of what is given.
    pub fn rate(&self) -> u32 {
        self.recording.rate()
    }

    /// Samples taken so far.
    pub fn position(&self) -> u64 {
        self.given
    }

    /// Whether speech goes on.
    pub fn in_speech(&self) -> bool {
        self.started.is_some()
    }

    /// That the last window that is full holds speech; None before the first.
    pub fn probability(&self) -> Option<f32> {
        self.probability
    }

    /// Takes what follows, and appends what became known by it.
    ///
    /// Errors: those of [`check`]; nothing of the piece was taken.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<Event>) -> Result<()> {
        check(samples, self.given)?;
        self.given += samples.len() as u64;
        self.scratch.clear();
        self.recording.push(samples, &mut self.scratch);
        self.hear(out);
        Ok(())
    }

    /// The audio ends: judges its last window, which is filled up with silence, and ends
    /// speech that goes on. As new from then on.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        self.scratch.clear();
        self.recording.finish(&mut self.scratch);
        self.hear(out);
        let end = at_model_rate(self.given, self.rate());
        if let Some(edge) = self.on_off.reset(end) {
            self.tell(edge, end, out);
        }
        self.reset();
    }

    /// Forgets what was given.
    pub fn reset(&mut self) {
        self.recording.reset();
        self.on_off.reset(0);
        (self.given, self.judged) = (0, 0);
        (self.started, self.probability) = (None, None);
    }

    fn hear(&mut self, out: &mut Vec<Event>) {
        for n in 0..self.scratch.len() {
            let p = self.scratch[n];
            if let Some(edge) = self.on_off.push(self.judged, p) {
                self.tell(edge, u64::MAX, out);
            }
            self.judged += 1;
            self.probability = Some(p);
        }
    }

    /// Edges as events; none after `end`.
    fn tell(&mut self, edge: Edge, end: u64, out: &mut Vec<Event>) {
        let rate = self.rate();
        let own = |position| own_position(position, rate);
        match edge {
            Edge::Start(at) => {
                self.started = Some(at);
                out.push(Event::Start(own(at.saturating_sub(self.pad))));
            }
            Edge::End(at) => {
                let began = self.started.take().unwrap_or(at);
                let padded = own((at + self.pad).min(end));
                out.push(match at.saturating_sub(began) {
                    long if long > self.min_speech => Event::End(padded),
                    0 if self.min_speech == 0 => Event::End(padded),
                    _ => Event::Misfire(padded),
                });
            }
        }
    }
}
