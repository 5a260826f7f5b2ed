//! An audio file or a pipe as a source: decoded on an ordinary thread, which also chooses what
//! is heard of its channels, and delivered in real time or as fast as speech is detected in
//! it. Neither waits for clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use v2m_decode::{Decoder, Piece};
use v2m_ring::time::monotonic_ns;

use super::channels::Channels;
use super::{Block, Sink};
use ahead::HeardFrames;
use pipe::Pipe;
use v2m_dsp::resample;
use v2m_error::{Error, ErrorKind, Result};

mod ahead;
mod pipe;
mod player;

pub use player::KIND;

/// The longest block, in samples.
const LONGEST_BLOCK: usize = 1024;
/// Blocks per second where that is shorter: at low rates 1024 samples would
/// come in large steps.
const BLOCKS_PER_SECOND: u32 = 50;

/// A pipe out of which nothing came for so long, in nanoseconds, is one that paused.
const PAUSE: i64 = 500_000_000;

/// How fast a file is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As a microphone would: each block once its last sample's time has come.
    RealTime,
    /// As fast as `ready` lets it.
    Unpaced,
}

/// An opened file, read from its start to its end.
pub struct FileSource {
    path: PathBuf,
    /// Its audio comes when it comes.
    is_pipe: bool,
    decoder: Decoder,
    /// Frames that were lost and go out as zeros.
    silence: u64,
    /// Why it can't be read any further.
    failed: Option<Error>,
    heard: HeardFrames,
    block: Vec<f32>,
    block_len: usize,
}

impl FileSource {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](v2m_error::ErrorKind::Invalid), naming the file and the reason: it can't be
    /// opened, isn't a regular file, isn't audio of a format that can be read, is damaged
    /// before the first sample, or has a rate that can't be resampled.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Channels::auto())
    }

    /// The same, with what is to be heard of its channels.
    ///
    /// # Errors
    /// Also if it has no such channel.
    pub fn open_with(path: &Path, channels: Arc<Channels>) -> Result<Self> {
        Self::open_until(path, channels, Arc::default())
    }

    /// The same, also of a FIFO or, as `-`, of standard input, whose audio is waited for until
    /// `over` is set.
    ///
    /// # Errors
    /// As [`FileSource::open_with`].
    pub fn open_until(path: &Path, channels: Arc<Channels>, over: Arc<AtomicBool>) -> Result<Self> {
        Self::open_track(path, channels, over).map_err(|reason| {
            Error::new(
                reason.kind(),
                format!("can't play {}: {reason}", path.display()),
            )
        })
    }

    fn open_track(path: &Path, channels: Arc<Channels>, over: Arc<AtomicBool>) -> Result<Self> {
        let invalid = |cause: std::io::Error| Error::new(ErrorKind::Invalid, cause.to_string());
        let pipe = Pipe::at(path, over).map_err(invalid)?;
        let is_pipe = pipe.is_some();
        let decoder = match pipe {
            Some(pipe) => Decoder::stream(pipe, path)?,
            None => Decoder::open(path)?,
        };
        let rate = decoder.rate();
        resample::check_rate(rate)?;
        let heard = HeardFrames::new(channels, decoder.channels(), rate)?;
        let block_len = LONGEST_BLOCK.min((rate / BLOCKS_PER_SECOND) as usize);
        Ok(Self {
            path: path.to_owned(),
            is_pipe,
            decoder,
            silence: 0,
            failed: None,
            heard,
            block: Vec::with_capacity(block_len),
            block_len,
        })
    }

    /// Samples per second.
    pub fn rate(&self) -> u32 {
        self.decoder.rate()
    }

    /// The file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it comes when it comes, as out of a pipe.
    pub fn is_pipe(&self) -> bool {
        self.is_pipe
    }

    /// The file's length in frames, if its header says; a file that was cut off
    /// ends earlier.
    pub fn frames(&self) -> Option<u64> {
        self.decoder.frames()
    }

    /// The next block: 20 ms of what is heard, at most 1024 samples, the last one
    /// shorter. None at the end.
    ///
    /// Damage inside the file is logged and read as silence of the same length,
    /// or left out if the header doesn't say how long the file is. A file that
    /// was cut off ends where it was.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](v2m_error::ErrorKind::Device) if the file can't be read any further.
    pub fn read(&mut self) -> Result<Option<&[f32]>> {
        while self.failed.is_none() && self.heard.wants(self.block_len) {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.failed = Some(error),
            }
        }
        self.block.clear();
        self.heard.take(self.block_len, &mut self.block);
        // What was read before comes first.
        if let Some(error) = self.failed.take_if(|_| self.block.is_empty()) {
            return Err(error);
        }
        Ok(Some(&self.block[..]).filter(|block| !block.is_empty()))
    }

    /// Takes what follows; false at the end.
    fn advance(&mut self) -> Result<bool> {
        if self.silence > 0 {
            let piece = self.silence.min(ahead::PIECE as u64);
            self.silence -= piece;
            self.heard.push_silence(piece as usize)?;
            return Ok(true);
        }
        let named =
            |e: Error| Error::new(e.kind(), format!("can't play {}: {e}", self.path.display()));
        match self.decoder.next_piece().map_err(named)? {
            None => return Ok(false),
            Some(Piece::Lost(frames)) => self.silence = frames,
            Some(Piece::Frames {
                interleaved,
                channels,
            }) => self.heard.push(interleaved, channels)?,
        }
        Ok(true)
    }
}

/// Delivers `file` to `ingest` on the calling thread until it ends or `stop` is
/// set, which is looked at before every block.
///
/// Positions count the file's frames. Times are the file's own line, `start +
/// position / rate`, at either pace, where `start` is the call's
/// CLOCK_MONOTONIC; it also names the clock, so two calls can't be taken for
/// one. In real time each block waits for an absolute deadline: lateness
/// doesn't add up, and a thread that was held up catches up. Unpaced, `ready`
/// is called before every block and may wait. A pipe's line begins with its first
/// block, and anew where nothing came for [`PAUSE`]: the time between is a gap.
///
/// # Errors
/// As [`FileSource::read`]; [`ErrorKind::System`](v2m_error::ErrorKind::System) if the clock refuses.
pub fn play(
    mut file: FileSource,
    pace: Pace,
    ingest: &dyn Sink,
    stop: &AtomicBool,
    mut ready: impl FnMut(),
) -> Result<()> {
    let mut start = monotonic_ns();
    let (rate, is_pipe) = (file.rate(), file.is_pipe);
    let length = |position: u64| (u128::from(position) * 1_000_000_000 / u128::from(rate)) as i64;
    let mut position = 0;
    while let Some(samples) = file.read()? {
        let end = position + samples.len() as u64;
        let late = monotonic_ns() - (start + length(end));
        if is_pipe && pace == Pace::RealTime && (position == 0 || late > PAUSE) {
            start += late;
        }
        let time = |position: u64| start + length(position);
        match pace {
            Pace::RealTime => sleep_until(time(end))?,
            Pace::Unpaced => ready(),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (clock, time_ns) = (start as u64, time(position));
        ingest.block(&Block {
            rate,
            clock,
            position,
            time_ns,
            ..Block::mono(samples)
        });
        ingest.wake();
        position = end;
    }
    Ok(())
}

fn sleep_until(deadline_ns: i64) -> Result<()> {
    let deadline = TimeSpec::new(deadline_ns / 1_000_000_000, deadline_ns % 1_000_000_000);
    loop {
        let flags = ClockNanosleepFlags::TIMER_ABSTIME;
        match clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &deadline) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::system("can't wait on CLOCK_MONOTONIC", e)),
        }
    }
}
