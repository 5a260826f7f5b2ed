//! Speech in any audio: as the engine judged it where it is live, by a model here elsewhere.

use std::ops::Range;
use std::sync::Mutex;

use v2m_dsp::vad::corpus::{lengths, own_position};
use v2m_dsp::vad::hearing::Hearing;
use v2m_dsp::vad::recording::{Recording, at_model_rate};
use v2m_dsp::vad::segment::{Levels, Params, Segment, Segmenter};

use crate::engine::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::judge;
use crate::ring::{Rate, Reader, WINDOW};

/// Judges audio, for any number of threads, which don't wait for each other.
pub struct Processor {
    params: Params,
    hearing: Hearing,
    /// Models that are not in use.
    idle: Mutex<Vec<Recording>>,
    /// Audio that comes in pieces.
    resumed: Mutex<Option<Sequence>>,
}

struct Sequence {
    recording: Recording,
    /// The probability of its last window; None before the first.
    last: Option<f32>,
}

/// What is known about a stretch of audio.
pub struct Judged {
    /// Of each window.
    pub probabilities: Vec<f32>,
    /// Where the first window begins, in samples at 16 kHz from the audio's beginning; in live
    /// audio it begins before that.
    start: i64,
    /// Where the audio ends, counted in the same way.
    pub end: u64,
    /// Of a piece that completes no window: of the last one before.
    before: Option<f32>,
    /// Of all of the audio, if a cut may depend on it.
    levels: Option<Levels>,
    /// The audio's own samples, and how many of them are a second.
    pub samples: u64,
    pub rate: u32,
}

impl Processor {
    /// One that goes by `params`.
    ///
    /// # Errors
    /// Those of [`Params::validate`].
    pub fn new(params: Params, hearing: Hearing) -> Result<Self> {
        params.validate()?;
        Ok(Self {
            params,
            hearing,
            idle: Mutex::default(),
            resumed: Mutex::default(),
        })
    }

    /// What counts as speech.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// How the model hears.
    pub fn hearing(&self) -> Hearing {
        self.hearing
    }

    /// A stretch of a ring, said to be of so many samples a second: its own, or 16 kHz, which
    /// stands for any. Blocks.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: another rate; those of [`judge::stretch`].
    pub fn live(&self, ring: &Reader, rate: u32, start: u64, end: u64) -> Result<Judged> {
        let own = ring.rate().hz();
        if rate != Rate::SPEECH.hz() && rate != own {
            let message = format!("sample_rate={rate}: audio of this stream has {own} Hz");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let (first, probabilities) = judge::stretch(ring, start, end, self.hearing)?;
        let rate = ring.rate();
        let at_16_khz = |position| Rate::SPEECH.convert(position, rate);
        Ok(Judged {
            probabilities,
            start: (first * WINDOW) as i64 - at_16_khz(start) as i64,
            end: at_16_khz(end) - at_16_khz(start),
            before: None,
            levels: self.levels_of(ring, start, end),
            samples: end - start,
            rate: rate.hz(),
        })
    }

    /// A recording of `length` samples, which `blocks` hands over in order; from its beginning
    /// to its end.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: a rate that can't be converted; those of `blocks`.
    pub fn whole<E: From<Error>>(
        &self,
        rate: u32,
        length: u64,
        blocks: impl FnOnce(&mut dyn FnMut(&[f32])) -> Result<(), E>,
    ) -> Result<Judged, E> {
        let mut probabilities = Vec::new();
        let mut recording = self.recording(rate)?;
        let mut levels = self.levels(rate);
        // If that fails, what was begun goes with it.
        blocks(&mut |block| {
            recording.push(block, &mut probabilities);
            if let Some(levels) = &mut levels {
                levels.push(block);
            }
        })?;
        recording.finish(&mut probabilities);
        lock(&self.idle).push(recording);
        let judged = Judged::of(probabilities, length, rate, None);
        Ok(Judged { levels, ..judged })
    }

    /// The next piece of audio that comes in pieces, one sequence for all threads.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: a rate that can't be converted, or another than before; those of
    /// `blocks`, after which the next piece follows on what was handed over.
    pub fn piece<E: From<Error>>(
        &self,
        rate: u32,
        length: u64,
        blocks: impl FnOnce(&mut dyn FnMut(&[f32])) -> Result<(), E>,
    ) -> Result<Judged, E> {
        let mut resumed = lock(&self.resumed);
        let Sequence { recording, last } = match &mut *resumed {
            Some(resumed) if resumed.recording.rate() != rate => {
                let message = format!(
                    "sample_rate={rate}: what is resumed has {} Hz; reset() before another rate",
                    resumed.recording.rate()
                );
                return Err(Error::new(ErrorKind::Invalid, message).into());
            }
            Some(resumed) => resumed,
            None => resumed.insert(Sequence {
                recording: self.recording(rate)?,
                last: None,
            }),
        };
        let mut probabilities = Vec::new();
        blocks(&mut |block| recording.push(block, &mut probabilities))?;
        let newest = probabilities.last().copied().or(*last);
        let before = std::mem::replace(last, newest);
        Ok(Judged::of(probabilities, length, rate, before))
    }

    /// Audio of which only the probabilities are there, and its length in samples; None: whole
    /// windows.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: so many windows are not of that length.
    pub fn given(&self, probabilities: Vec<f32>, length: Option<u64>, rate: u32) -> Result<Judged> {
        let windows = probabilities.len() as u64;
        let lengths = lengths(windows, rate);
        if let Some(length) = length.filter(|length| !lengths.contains(length)) {
            let message = format!(
                "length={length}: {windows} probabilities are of {} to {} samples at {rate} Hz",
                lengths.start(),
                lengths.end()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let all = windows * WINDOW;
        let length = length.unwrap_or_else(|| own_position(all, rate));
        let mut judged = Judged::of(probabilities, length, rate, None);
        judged.end = judged.end.min(all);
        Ok(judged)
    }

    /// Whether the probability of any window reaches the threshold; of a piece that completes
    /// none, that of the last before it.
    pub fn contains_speech(&self, judged: &Judged) -> bool {
        let speech = |p: &f32| *p >= self.params.threshold;
        if judged.probabilities.is_empty() {
            judged.before.as_ref().is_some_and(speech)
        } else {
            judged.probabilities.iter().any(speech)
        }
    }

    /// Where speech is, in samples at 16 kHz from the audio's beginning.
    ///
    /// # Errors
    /// Those of [`Segmenter::new`].
    pub fn segments(&self, judged: &Judged) -> Result<Vec<Segment>> {
        let mut segmenter = Segmenter::new(&self.params)?;
        // Positions are never negative: counted from the first window.
        let before = judged.start.min(0).unsigned_abs();
        segmenter.begin(0, before);
        let mut found = Vec::new();
        for (index, &p) in (0..).zip(&judged.probabilities) {
            let quietest = |range: Range<u64>| {
                let range = range.start.saturating_sub(before)..range.end.saturating_sub(before);
                Some(judged.levels.as_ref()?.quietest(range)? + before)
            };
            segmenter.push_heard(index, p, quietest, &mut found);
        }
        segmenter.finish(judged.end + before, &mut found);
        for segment in &mut found {
            segment.start -= before;
            segment.end -= before;
        }
        Ok(found)
    }

    /// Begins a new sequence of pieces.
    pub fn reset(&self) {
        let before = lock(&self.resumed).take();
        drop(before);
    }

    /// Those of audio of that rate, if they are needed.
    fn levels(&self, rate: u32) -> Option<Levels> {
        self.params.asks_for_quiet().then(|| Levels::new(rate))
    }

    /// Those of a stretch of a ring, unless it is overwritten meanwhile: its probabilities
    /// outlive it.
    fn levels_of(&self, ring: &Reader, start: u64, end: u64) -> Option<Levels> {
        let mut levels = self.levels(ring.rate().hz())?;
        let mut samples = vec![0.0; ring.rate().hz() as usize];
        let mut at = start;
        while at < end {
            let count = (end - at).min(samples.len() as u64);
            let now = &mut samples[..count as usize];
            ring.read_samples(at, now).ok()?;
            levels.push(now);
            at += count;
        }
        Some(levels)
    }

    /// A recording of its own for whoever asks.
    fn recording(&self, rate: u32) -> Result<Recording> {
        let mut idle = lock(&self.idle);
        match idle.iter().position(|recording| recording.rate() == rate) {
            Some(at) => Ok(idle.swap_remove(at)),
            None => {
                drop(idle);
                Recording::with_hearing(rate, self.hearing)
            }
        }
    }
}

impl Judged {
    fn of(probabilities: Vec<f32>, length: u64, rate: u32, before: Option<f32>) -> Self {
        Self {
            probabilities,
            start: 0,
            end: at_model_rate(length, rate),
            before,
            levels: None,
            samples: length,
            rate,
        }
    }
}
