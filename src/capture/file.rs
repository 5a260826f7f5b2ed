//! A WAV or FLAC file as a source: decoded on an ordinary thread, which also chooses what
//! is heard of its channels, and delivered in real time or as fast as the slowest reader
//! wants it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::time::monotonic_ns;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::channels::Channels;
use super::{Block, Sink};
use crate::channels::names_for;
use crate::{Error, ErrorKind, Result, files, resample};
use ahead::Heard;

mod ahead;
mod player;

pub use player::KIND;

/// The longest block, in samples.
const LONGEST_BLOCK: usize = 1024;
/// Blocks per second where that is shorter: at low rates 1024 samples would
/// come in large steps.
const BLOCKS_PER_SECOND: u32 = 50;

/// How fast a file is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As a microphone would: each block once its last sample's time has come.
    RealTime,
    /// As fast as it is taken.
    Unpaced,
}

/// An opened file, read from its start to its end.
pub struct FileSource {
    path: PathBuf,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate: u32,
    frames: Option<u64>,
    /// The file's frame that follows everything decoded so far.
    position: u64,
    /// Frames that were lost and go out as zeros.
    silence: u64,
    ended: bool,
    /// Why it can't be read any further.
    failed: Option<Error>,
    /// The last packet's samples.
    interleaved: Vec<f32>,
    /// How many channels it has, until it is listened to.
    pending: Option<usize>,
    heard: Heard,
    block: Vec<f32>,
    block_len: usize,
}

impl FileSource {
    /// Opens the WAV (integer PCM of 8 to 32 bits, float, A-law, µ-law; up to 26
    /// channels) or FLAC file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the file and the reason: it can't be
    /// opened, isn't a regular file, isn't WAV or FLAC, is damaged before the
    /// first sample, or has a rate that can't be resampled.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Channels::auto())
    }

    /// The same, with what is to be heard of its channels.
    ///
    /// # Errors
    /// Also if it has no such channel.
    pub fn open_with(path: &Path, channels: Arc<Channels>) -> Result<Self> {
        Self::open_track(path, channels).map_err(|reason| {
            Error::new(
                reason.kind(),
                format!("can't play {}: {reason}", path.display()),
            )
        })
    }

    fn open_track(path: &Path, channels: Arc<Channels>) -> Result<Self> {
        let invalid = |reason: String| Error::new(ErrorKind::Invalid, reason);

        let file =
            files::open(path).map_err(|e| invalid(format!("{e}: name a WAV or FLAC file")))?;

        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let format = symphonia::default::get_probe()
            .probe(
                &Hint::new(),
                stream,
                FormatOptions::default(),
                MetadataOptions::default(),
            )
            .map_err(|e| invalid(format!("not a WAV or FLAC file with audio ({e})")))?;

        let track = format
            .default_track(TrackType::Audio)
            .ok_or_else(|| invalid("it has no audio track".into()))?;
        let parameters = track
            .codec_params
            .as_ref()
            .and_then(|parameters| parameters.audio())
            .ok_or_else(|| invalid("its header doesn't describe the audio".into()))?;
        let rate = parameters
            .sample_rate
            .ok_or_else(|| invalid("its header has no sample rate".into()))?;
        resample::check_rate(rate)?;
        let names = parameters.channels.as_ref().map(channel_names);
        let names = names
            .filter(|names| !names.is_empty())
            .ok_or_else(|| invalid("its header has no channels".into()))?;
        let heard = Heard::new(channels, &names, rate)?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|e| invalid(format!("its encoding can't be decoded ({e})")))?;

        let (track, frames) = (track.id, track.num_frames);
        let block_len = LONGEST_BLOCK.min((rate / BLOCKS_PER_SECOND) as usize);
        Ok(Self {
            path: path.to_owned(),
            format,
            decoder,
            track,
            rate,
            frames,
            position: 0,
            silence: 0,
            ended: false,
            failed: None,
            interleaved: Vec::new(),
            pending: None,
            heard,
            block: Vec::with_capacity(block_len),
            block_len,
        })
    }

    /// Samples per second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length in frames, if its header says; a file that was cut off
    /// ends earlier.
    pub fn frames(&self) -> Option<u64> {
        self.frames
    }

    /// The next block: 20 ms of what is heard, at most 1024 samples, the last one
    /// shorter. None at the end.
    ///
    /// Damage inside the file is logged and read as silence of the same length,
    /// or left out if the header doesn't say how long the file is. A file that
    /// was cut off ends where it was.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the file can't be read any further.
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

    /// Takes what is missing before the last packet, that packet, or the next; false at the
    /// end.
    fn advance(&mut self) -> Result<bool> {
        if self.silence > 0 {
            let piece = self.silence.min(ahead::PIECE as u64);
            self.silence -= piece;
            self.heard.push_silence(piece as usize)?;
        } else if let Some(channels) = self.pending.take() {
            self.heard.push(&self.interleaved, channels)?;
        } else {
            return self.decode();
        }
        Ok(true)
    }

    /// Takes the next packet; false at the end.
    fn decode(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let packet = match self.format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => {
                self.ended = true;
                return Ok(false);
            }
            Err(Symphonia::IoError(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                self.ended = true;
                if let Some(frames) = self.frames {
                    tracing::warn!(
                        file = %self.path.display(),
                        frame = self.position,
                        frames,
                        "the file ends before its time: it was cut off, or its end is damaged"
                    );
                }
                return Ok(false);
            }
            Err(e) => {
                let (path, frame) = (self.path.display(), self.position);
                return Err(Error::new(
                    ErrorKind::Device,
                    format!("can't read {path} beyond frame {frame}: {e}"),
                ));
            }
        };
        if packet.track_id != self.track {
            return Ok(true);
        }
        let starts = u64::try_from(packet.pts.get()).unwrap_or(0);
        if starts > self.position {
            self.lose_until(starts, "a damaged packet was dropped");
        }
        match self.decoder.decode(&packet) {
            Ok(audio) => {
                audio.copy_to_vec_interleaved(&mut self.interleaved);
                let channels = audio.spec().channels().count();
                self.pending = Some(channels);
                self.position += (self.interleaved.len() / channels) as u64;
            }
            Err(e) => self.lose_until(starts.saturating_add(packet.dur.get()), &e.to_string()),
        }
        Ok(true)
    }

    /// Puts silence in place of what is missing up to `frame`. Only the file's
    /// length tells whether a frame number can be true, so without it there is none.
    fn lose_until(&mut self, frame: u64, reason: &str) {
        let missing = self
            .frames
            .map_or(0, |frames| frame.min(frames).saturating_sub(self.position));
        tracing::warn!(
            file = %self.path.display(),
            frame = self.position,
            silence = missing,
            reason,
            "damaged audio"
        );
        self.silence += missing;
        self.position += missing;
    }
}

/// The channels' names as the header places them, or by their number.
fn channel_names(channels: &symphonia::core::audio::Channels) -> Vec<String> {
    use symphonia::core::audio::{Channels, Position};
    let count = channels.count();
    let known = [
        (Position::FRONT_LEFT, "FL"),
        (Position::FRONT_RIGHT, "FR"),
        (Position::FRONT_CENTER, "FC"),
        (Position::LFE1, "LFE"),
        (Position::REAR_LEFT, "RL"),
        (Position::REAR_RIGHT, "RR"),
        (Position::FRONT_LEFT_CENTER, "FLC"),
        (Position::FRONT_RIGHT_CENTER, "FRC"),
        (Position::REAR_CENTER, "RC"),
        (Position::SIDE_LEFT, "SL"),
        (Position::SIDE_RIGHT, "SR"),
    ];
    if let Channels::Positioned(positions) = channels
        && count > 2
    {
        let named = known
            .iter()
            .filter(|(position, _)| positions.contains(*position));
        let names: Vec<String> = named.map(|(_, name)| (*name).to_owned()).collect();
        if names.len() == count {
            return names;
        }
    }
    names_for(count)
}

/// Delivers `file` to `ingest` on the calling thread until it ends or `stop` is
/// set, which is looked at before every block.
///
/// Positions count the file's frames. Times are the file's own line, `start +
/// position / rate`, at either pace, where `start` is the call's
/// CLOCK_MONOTONIC; it also names the clock, so two calls can't be taken for
/// one. In real time each block waits for an absolute deadline: lateness
/// doesn't add up, and a thread that was held up catches up. Unpaced, `ready`
/// is called before every block and may wait.
///
/// # Errors
/// As [`FileSource::read`]; [`ErrorKind::System`] if the clock refuses.
pub fn play(
    mut file: FileSource,
    pace: Pace,
    ingest: &dyn Sink,
    stop: &AtomicBool,
    mut ready: impl FnMut(),
) -> Result<()> {
    let start = monotonic_ns();
    let rate = file.rate();
    let time =
        |position: u64| start + (u128::from(position) * 1_000_000_000 / u128::from(rate)) as i64;
    let mut position = 0;
    while let Some(samples) = file.read()? {
        let end = position + samples.len() as u64;
        match pace {
            Pace::RealTime => sleep_until(time(end))?,
            Pace::Unpaced => ready(),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (clock, time_ns) = (start as u64, time(position));
        ingest.block(&Block {
            samples,
            rate,
            clock,
            position,
            time_ns,
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
