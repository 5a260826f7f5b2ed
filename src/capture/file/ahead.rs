//! What is heard of a file's channels. It is listened to a little before it is handed on,
//! so that a word is heard from its beginning, whichever channel it is in.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::capture::Block;
use crate::capture::channels::Channels;
use crate::capture::ingest::heard;
use v2m_dsp::channels::{Aim, Chooser, MAX_CHANNELS, Mix, Planar};
use v2m_error::Result;

/// Listened to so much before: 1/4 s. Speech in another channel is found within less, and
/// by then the channel before has had none for longer.
const PER_SECOND: u32 = 4;
/// Frames that are listened to in one piece.
pub(super) const PIECE: usize = 512;

/// Frames on their way from the decoder to the reader.
pub(super) struct HeardFrames {
    channels: Arc<Channels>,
    chooser: Chooser,
    mix: Mix,
    count: usize,
    rate: u32,
    ahead: usize,
    /// Something was handed on.
    begun: bool,
    /// The frame of `waiting` that is handed on next.
    front: usize,
    /// Channels in pieces that were listened to, each with what is to be heard from it on.
    waiting: VecDeque<Piece>,
    /// Frames in `waiting` that were not handed on.
    frames: usize,
    /// The last piece, while it is being filled.
    filling: Vec<f32>,
    filled: usize,
    aim: Aim,
}

struct Piece {
    /// `PIECE` apart.
    planar: Vec<f32>,
    frames: usize,
    /// Another than before.
    aim: Option<Aim>,
}

impl HeardFrames {
    pub(super) fn new(channels: Arc<Channels>, names: &[String], rate: u32) -> Result<Self> {
        let chooser = channels.chooser(names, rate)?;
        let count = names.len().min(MAX_CHANNELS);
        let aim = chooser.aim();
        Ok(Self {
            channels,
            mix: Mix::new(count, aim),
            chooser,
            count,
            rate,
            // One channel is not listened to for a choice.
            ahead: match aim {
                Aim::Undecided => (rate / PER_SECOND) as usize,
                Aim::Weights(_) => 0,
            },
            begun: false,
            front: 0,
            waiting: VecDeque::new(),
            frames: 0,
            filling: vec![0.0; count * PIECE],
            filled: 0,
            aim,
        })
    }

    /// Whether more is needed to hand on `frames`.
    pub(super) fn wants(&self, frames: usize) -> bool {
        self.frames < frames + self.ahead
    }

    /// Takes frames of `channels` samples each.
    pub(super) fn push(&mut self, interleaved: &[f32], channels: usize) -> Result<()> {
        for frame in interleaved.chunks_exact(channels) {
            for (channel, sample) in frame.iter().take(self.count).enumerate() {
                self.filling[channel * PIECE + self.filled] = *sample;
            }
            self.fill()?;
        }
        self.listen()
    }

    /// Takes so many frames of silence.
    pub(super) fn push_silence(&mut self, frames: usize) -> Result<()> {
        for _ in 0..frames {
            for channel in 0..self.count {
                self.filling[channel * PIECE + self.filled] = 0.0;
            }
            self.fill()?;
        }
        self.listen()
    }

    fn fill(&mut self) -> Result<()> {
        self.filled += 1;
        if self.filled == PIECE {
            self.listen()
        } else {
            Ok(())
        }
    }

    /// Listens to what was filled in.
    fn listen(&mut self) -> Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let frames = std::mem::take(&mut self.filled);
        let planar = self.filling.clone();
        let changed = self
            .chooser
            .listen(Planar::new(&planar, PIECE, frames, self.count))?;
        self.channels.publish(&self.chooser, changed);
        let aim = self.chooser.aim();
        let aim = (aim != std::mem::replace(&mut self.aim, aim)).then_some(aim);
        self.frames += frames;
        self.waiting.push_back(Piece {
            planar,
            frames,
            aim,
        });
        Ok(())
    }

    /// Hands on up to `frames` of what is heard.
    pub(super) fn take(&mut self, frames: usize, out: &mut Vec<f32>) {
        let mut sum = [0.0; PIECE];
        while out.len() < frames {
            self.look_ahead();
            let Some(piece) = self.waiting.front() else {
                return;
            };
            let count = (piece.frames - self.front).min(frames - out.len());
            let channels = Planar::new(&piece.planar[self.front..], PIECE, count, self.count);
            let block = Block {
                channels,
                heard: self.mix.hear(channels, self.rate),
                ..Block::mono(&[])
            };
            out.extend_from_slice(heard(&block, 0, &mut sum[..count]));
            self.front += count;
            self.frames -= count;
            if self.front == piece.frames {
                self.waiting.pop_front();
                self.front = 0;
            }
        }
    }

    /// Takes up what was decided on what waits, the newest last.
    fn look_ahead(&mut self) {
        for piece in &mut self.waiting {
            match piece.aim.take() {
                Some(aim) if self.begun => self.mix.fade_to(aim, self.rate),
                Some(aim) => self.mix = Mix::new(self.count, aim),
                None => {}
            }
        }
        self.begun = true;
    }
}
