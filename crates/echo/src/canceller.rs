//! A linear filter and WebRTC's suppressor side by side, and a way around both for as long as
//! nothing plays: framing in front, since they want 10 ms at a time, and the options behind.

use std::collections::VecDeque;

use crate::choice::{Choice, Shares};
use crate::drift::Drift;
use crate::filter::Filter;
use crate::line::Line;
use crate::loudspeaker::Loudspeaker;
use crate::report::Meter;
use crate::stages::{Stage, Suppressor};
use crate::{Cleaned, Error, ErrorKind, Result};

/// What is softer at the far end is no sound: -80 dBFS.
const AUDIBLE: f32 = 1e-4;
/// What is louder than this at the far end shows how its echo moves: -50 dBFS.
const LOUD: f32 = 3e-3;
/// By so many samples, 0.9 ms and 1 ms, the loudspeaker is ahead of the microphone in the suppressor,
/// which after a pause no longer knows an echo that comes within half a millisecond: as where a
/// graph links a sink's monitor to what is recorded.
const AHEAD_48: usize = 44;
const AHEAD_16: usize = 16;
/// Where more of an echo than this can't be expected, -30 dB, nothing is learnt of it.
const UNEXPECTED: f32 = 1e-3;
/// Blocks by which the microphone may hear a block later than the filter's delay says: it reaches
/// into the next one, so do the drift and a look at two blocks at once.
const SPREAD: u64 = 0b1111;
/// How long a room may go on sounding after the loudspeaker: 1 s in frames.
const TAIL: u32 = 100;

/// Noise suppression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Noise {
    /// Noise stays.
    #[default]
    Off,
    /// Some 6 dB less.
    Low,
    /// Some 18 dB less.
    High,
}

/// Who sets the level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gain {
    /// Nobody.
    #[default]
    Off,
    /// Soft voices become louder, slowly.
    Auto,
}

/// What happens beside cancelling. Either counts all the time, whether something plays or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Noise suppression.
    pub noise: Noise,
    /// Who sets the level.
    pub gain: Gain,
}

impl Options {
    fn change_audio(self) -> bool {
        self != Self::default()
    }
}

/// Cancels what the far end plays from what the near end hears. For one thread below the
/// audio thread: some 0.1 ms of work for each 10 ms, and allocations now and then.
#[derive(Debug)]
pub struct Canceller {
    rate: u32,
    options: Options,
    /// Samples of 10 ms.
    frame: usize,
    /// Samples by which the suppressor's output comes later than its input.
    lag: usize,
    /// The microphone's newest samples, which the suppressor has not got yet.
    held: VecDeque<f32>,
    filter: Filter,
    /// Of the far end's clock against the microphone's.
    drift: Drift,
    /// The far end for the filter, without this drift.
    line: Line,
    loudspeaker: Loudspeaker,
    /// What these gave of a frame.
    played: Vec<f32>,
    /// What it left of the microphone's samples; the `lag` oldest come out with the next frame.
    filtered: VecDeque<f32>,
    /// Of what the filter left: the suppressor with noise behind it would be later than 20 ms.
    noise: Option<Stage>,
    gain: Option<Stage>,
    choice: Choice,
    shares: Shares,
    suppressor: Suppressor,
    /// The one before a jump: it has samples left.
    previous: Option<Suppressor>,
    /// Less than a frame of each.
    near: Vec<f32>,
    far: Vec<f32>,
    /// The microphone's samples that have not come out yet.
    raw: VecDeque<f32>,
    /// The suppressor's output of one frame, then what comes out while something plays.
    processed: Vec<f32>,
    spare: Vec<f32>,
    /// Samples that the suppressor gives for what was before the first.
    early: usize,
    /// Frames for which the far end is still heard.
    tail: u32,
    /// A bit for each of the newest frames, the newest lowest: not all is known that was played.
    unknown: u64,
    /// In the frame before, an echo couldn't be expected.
    was_unexpected: bool,
    /// How much of the output is not the microphone as it is: 0 or 1 outside of a fade.
    share: f32,
    meter: Meter,
}

impl Canceller {
    /// A canceller at `rate`: 16000 or 48000 Hz.
    pub fn new(rate: u32, options: Options) -> Result<Self> {
        // By measurement; the tests hold it. At 48 kHz the library's bands bend the phase: it
        // is the delay at which the voice's range fits best.
        let (lag, ahead) = match rate {
            16_000 => (128, AHEAD_16),
            48_000 => (430, AHEAD_48),
            _ => {
                let message = format!("echo is cancelled at 16000 or 48000 Hz, not at {rate}");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        };
        let frame = rate as usize / 100;
        let (noise, noise_lag) = Stage::noise(rate, options).unzip();
        let wait = lag - noise_lag.unwrap_or(0);
        Ok(Self {
            rate,
            options,
            frame,
            lag,
            held: std::iter::repeat_n(0.0, ahead).collect(),
            filter: Filter::new(frame),
            drift: Drift::default(),
            line: Line::new(frame, ahead),
            loudspeaker: Loudspeaker::new(frame),
            played: Vec::with_capacity(2 * frame),
            filtered: std::iter::repeat_n(0.0, wait).collect(),
            noise,
            gain: Stage::gain(rate, options),
            choice: Choice::new(frame),
            shares: Shares::FILTERED,
            suppressor: Suppressor::new(rate),
            previous: None,
            near: Vec::with_capacity(frame),
            far: Vec::with_capacity(frame),
            raw: VecDeque::with_capacity(frame + lag + ahead),
            processed: vec![0.0; frame],
            spare: vec![0.0; frame],
            early: lag + ahead,
            tail: 0,
            unknown: 0,
            was_unexpected: false,
            share: 0.0,
            meter: Meter::new(frame),
        })
    }

    /// So many samples are in here at most: what comes out is that much behind what went in.
    pub fn delay(&self) -> usize {
        self.lag + self.held.len() + self.frame
    }

    /// Takes what the microphone heard and what the loudspeaker played in the same time, in
    /// pieces of any length, and appends what is ready to `cleaned`. Of `far`, what is no number
    /// is not known: its echo is not taken for a voice, and nothing is learnt of it.
    ///
    /// # Panics
    /// Unless both are of one length.
    pub fn process(&mut self, near: &[f32], far: &[f32], cleaned: &mut Cleaned) {
        assert_eq!(near.len(), far.len(), "both ends in the same time");
        let (mut near, mut far) = (near, far);
        while !near.is_empty() {
            let count = near.len().min(self.frame - self.near.len());
            self.near.extend_from_slice(&near[..count]);
            self.far.extend_from_slice(&far[..count]);
            (near, far) = (&near[count..], &far[count..]);
            if self.near.len() == self.frame {
                self.process_frame(cleaned);
                self.near.clear();
                self.far.clear();
            }
        }
    }

    /// What follows is not what was heard before: another source, another room. Learns anew;
    /// samples that are in here still come out.
    pub fn jump(&mut self) {
        let new = Suppressor::new(self.rate);
        self.previous = Some(std::mem::replace(&mut self.suppressor, new));
        self.filter = Filter::new(self.frame);
        self.loudspeaker = Loudspeaker::new(self.frame);
        self.drift = Drift::default();
        self.choice = Choice::new(self.frame);
        self.meter.jump();
    }

    fn process_frame(&mut self, cleaned: &mut Cleaned) {
        self.raw.extend(&self.near);
        let known = self.far.iter().all(|sample| sample.is_finite());
        self.unknown = self.unknown << 1 | u64::from(!known);
        // Numbers that aren't would stay in the filters for ever.
        for sample in self.near.iter_mut().chain(&mut self.far) {
            *sample = if sample.is_finite() {
                sample.clamp(-8.0, 8.0)
            } else {
                0.0
            };
        }
        let audible = self.far.iter().any(|sample| sample.abs() > AUDIBLE);
        self.tail = if audible {
            TAIL
        } else {
            self.tail.saturating_sub(1)
        };

        for sample in &mut self.near {
            self.held.push_back(*sample);
            *sample = self.held.pop_front().unwrap_or_default();
        }
        let previous = self.previous.take().is_some_and(|mut previous| {
            previous.process(&self.near, &self.far, &mut self.spare);
            true
        });
        self.suppressor
            .process(&self.near, &self.far, &mut self.processed);
        if previous {
            self.processed[..self.lag].copy_from_slice(&self.spare[..self.lag]);
        }

        let heard = self.tail > 0;
        let unexpected = self.unexpected();
        self.choose(heard, unexpected);
        // What comes out was heard in this frame and the one before.
        let is_unexpected = unexpected > UNEXPECTED;
        let told = is_unexpected || self.was_unexpected;
        self.was_unexpected = is_unexpected;
        if let Some(gain) = &mut self.gain {
            gain.process(&mut self.processed);
        }
        let wanted = f32::from(u8::from(heard || self.options.change_audio()));
        let step = (wanted - self.share) / self.frame as f32;
        let first = std::mem::take(&mut self.early);
        for (index, &processed) in self.processed.iter().enumerate() {
            let share = self.share + step * (index + 1) as f32;
            if index < first {
                continue;
            }
            let Some(raw) = self.raw.pop_front() else {
                break;
            };
            // To the bit where nothing plays.
            let clean = match share {
                0.0 => raw,
                1.0 => processed,
                _ => raw + share * (processed - raw),
            };
            cleaned.samples.push(clean);
            cleaned
                .windows
                .extend(self.meter.add(raw, clean, heard, told));
        }
        self.early = first.saturating_sub(self.frame);
        self.share = wanted;
    }

    /// How much of the echo in this frame, as a share of its energy, comes of what isn't known.
    fn unexpected(&self) -> f32 {
        if self.unknown == 0 {
            return 0.0;
        }
        let energies = self.filter.energies();
        let (mut all, mut unexpected) = (0.0, 0.0);
        for (partition, energy) in energies.enumerate() {
            all += energy;
            if self.unknown >> partition & SPREAD != 0 {
                unexpected += energy;
            }
        }
        // Of a room that isn't known yet, all that is heard.
        if all > 0.0 { unexpected / all } else { 1.0 }
    }

    /// Makes the suppressor's output what comes out while something plays, or with an option.
    fn choose(&mut self, heard: bool, unexpected: f32) {
        self.spare.copy_from_slice(&self.near);
        let slope = self.drift.slope();
        self.line.process(&self.far, slope, &mut self.played);
        if heard || self.played.len() != self.frame {
            self.loudspeaker.bend(&mut self.played);
            self.filter.push(&self.played);
        }
        if heard {
            self.filter.process(&mut self.spare);
        }
        if heard && unexpected <= UNEXPECTED {
            self.loudspeaker
                .learn(&self.filter, &self.near, &self.spare);
            self.filter.learn();
            let (response, bins) = self.filter.response();
            let loud = self.far.iter().any(|sample| sample.abs() > LOUD);
            if self.drift.watch(response, bins, loud) {
                self.filter.doubt();
            }
        } else {
            self.drift.pause();
        }
        let before = self.shares;
        self.shares = if heard {
            let frames = (&self.near[..], &self.spare[..], &self.processed[..]);
            self.choice.choose(frames, unexpected)
        } else {
            Shares::FILTERED
        };
        if self.choice.is_filter_wrong() {
            self.filter.doubt();
        }
        if let Some(noise) = &mut self.noise {
            noise.process(&mut self.spare);
        }
        self.filtered.extend(&self.spare);
        let filtered = self.filtered.drain(..self.frame);
        let step = 1.0 / self.frame as f32;
        for (index, (sample, filtered)) in self.processed.iter_mut().zip(filtered).enumerate() {
            let shares = before.towards(self.shares, (index + 1) as f32 * step);
            *sample = shares.suppressed * *sample + shares.filtered * filtered;
        }
    }
}
