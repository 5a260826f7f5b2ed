//! A file's samples, all channels, and what is missing between them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use v2m_dsp::channels::names_for;
use v2m_error::{Error, ErrorKind, Result};

use crate::{FORMATS, rf64};

/// Frames that may be missing for each byte of a file: the densest coders of speech put some
/// 12 into one. More is a header that lies, and would be silence for days.
const MISSING_PER_BYTE: u64 = 64;

/// What follows in a file.
pub enum Piece<'a> {
    /// Samples, frame after frame, each of so many channels.
    Frames {
        /// The samples; whoever takes the vector away saves a copy.
        interleaved: &'a mut Vec<f32>,
        /// Channels of a frame; a damaged file may have others than it said.
        channels: usize,
    },
    /// So many frames were damaged: silence in their place.
    Lost(u64),
}

/// An opened file, read from its start to its end.
pub struct Decoder {
    path: PathBuf,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate: u32,
    channels: Vec<String>,
    frames: Option<u64>,
    /// The file's frame that follows everything decoded so far.
    position: u64,
    /// Frames that may yet be found to be missing.
    may_miss: u64,
    ended: bool,
    /// The last packet's samples, and its channels, while it waits behind what was lost.
    interleaved: Vec<f32>,
    waiting: Option<usize>,
}

impl Decoder {
    /// Opens the file at `path`, whatever its name ends in.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], with the reason and without the file's name: it can't be
    /// opened, isn't a regular file, isn't of a format that can be read, or is damaged before
    /// the first sample.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(Box::new(open(path)?), path)
    }

    /// The same of anything that bytes come from; `path` is what it is called in the log.
    ///
    /// # Errors
    /// As [`Decoder::open`].
    pub fn read(source: Box<dyn MediaSource>, path: &Path) -> Result<Self> {
        let unreadable = |why: &dyn std::fmt::Display| {
            invalid(format!(
                "not an audio file that can be read ({why}): it must be {FORMATS}"
            ))
        };
        // What comes in a pipe is of any length, and at its sender's pace.
        let bytes = source.byte_len();
        if bytes == Some(0) {
            return Err(unreadable(&"it is empty"));
        }
        let (source, length) = rf64::open(source).map_err(|e| unreadable(&e))?;
        let stream = MediaSourceStream::new(source, Default::default());
        let format = symphonia::default::get_probe()
            .probe(
                &Hint::new(),
                stream,
                FormatOptions::default(),
                MetadataOptions::default(),
            )
            .map_err(|e| match e {
                // In Symphonia's words: no suitable format reader found.
                Symphonia::Unsupported(_) => unreadable(&"its format isn't known"),
                Symphonia::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    unreadable(&"it ends before its first sample")
                }
                e => unreadable(&e),
            })?;

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
        let channels = parameters.channels.as_ref().map(channel_names);
        let channels = channels
            .filter(|names| !names.is_empty())
            .ok_or_else(|| invalid("its header has no channels".into()))?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|e| {
                invalid(format!(
                    "its encoding can't be decoded ({e}): convert it, for example by \
                     `ffmpeg -i FILE copy.flac`; what can be decoded is {FORMATS}"
                ))
            })?;

        let bits = parameters.bits_per_sample.unwrap_or(0);
        let frame = channels.len() as u64 * u64::from(bits / 8);
        let (track, frames) = (track.id, track.num_frames);
        Ok(Self {
            path: path.to_owned(),
            format,
            decoder,
            track,
            rate,
            channels,
            frames: frames.or_else(|| length.and_then(|bytes| bytes.checked_div(frame))),
            position: 0,
            may_miss: bytes.map_or(u64::MAX, |bytes| bytes.saturating_mul(MISSING_PER_BYTE)),
            ended: false,
            interleaved: Vec::new(),
            waiting: None,
        })
    }

    /// The same of what comes and can't be gone back in, such as a pipe.
    ///
    /// # Errors
    /// As [`Decoder::open`].
    pub fn stream(source: impl io::Read + Send + Sync + 'static, path: &Path) -> Result<Self> {
        Self::read(Box::new(ReadOnlySource::new(source)), path)
    }

    /// Samples per second of each channel.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The channels' names, as the header places them, or by their number.
    pub fn channels(&self) -> &[String] {
        &self.channels
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

    /// What follows; None at the end.
    ///
    /// Damage inside the file is logged and left out, or told as lost if the header says how
    /// long the file is. A file that was cut off ends where it was.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the file can't be read any further, or lies about what is missing.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        let channels = match self.waiting.take() {
            Some(channels) => channels,
            None => loop {
                let Some((lost, channels)) = self.decode()? else {
                    return Ok(None);
                };
                if lost > 0 {
                    self.waiting = channels;
                    return Ok(Some(Piece::Lost(lost)));
                }
                if let Some(channels) = channels {
                    break channels;
                }
            },
        };
        Ok(Some(Piece::Frames {
            interleaved: &mut self.interleaved,
            channels,
        }))
    }

    /// Takes the next packet: frames lost before or in it, and its channels if it has samples.
    fn decode(&mut self) -> Result<Option<(u64, Option<usize>)>> {
        if self.ended {
            return Ok(None);
        }
        let packet = match self.format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => {
                self.ended = true;
                return Ok(None);
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
                return Ok(None);
            }
            Err(e) => return Err(self.failed(&e)),
        };
        if packet.track_id != self.track {
            return Ok(Some((0, None)));
        }
        let starts = u64::try_from(packet.pts.get()).unwrap_or(0);
        let mut lost = match starts > self.position {
            true => self.lose_until(starts, "a damaged packet was dropped")?,
            false => 0,
        };
        match self.decoder.decode(&packet) {
            Ok(audio) => {
                let channels = audio.spec().channels().count();
                let rate = audio.spec().rate();
                if rate != self.rate {
                    let why = format!("its rate changes from {} to {rate} Hz", self.rate);
                    return Err(self.failed(&why));
                }
                audio.copy_to_vec_interleaved(&mut self.interleaved);
                if channels == 0 || self.interleaved.is_empty() {
                    return Ok(Some((lost, None)));
                }
                self.position += (self.interleaved.len() / channels) as u64;
                Ok(Some((lost, Some(channels))))
            }
            Err(e) => {
                let ends = starts.saturating_add(packet.dur.get());
                lost += self.lose_until(ends, &e.to_string())?;
                Ok(Some((lost, None)))
            }
        }
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> Error {
        let frame = self.position;
        let message = format!("it can't be read beyond frame {frame}: {why}");
        Error::new(ErrorKind::Device, message)
    }

    /// How much is missing up to `frame`. Only the file's length tells whether a frame number
    /// can be true, so without it there is none.
    ///
    /// # Errors
    /// The number can't be true in a file of this size.
    fn lose_until(&mut self, frame: u64, reason: &str) -> Result<u64> {
        let missing = self
            .frames
            .map_or(0, |frames| frame.min(frames).saturating_sub(self.position));
        self.may_miss = self.may_miss.checked_sub(missing).ok_or_else(|| {
            self.failed(&format_args!(
                "what follows says that it is frame {frame}, and so much can't be missing from \
                 a file of this size"
            ))
        })?;
        tracing::warn!(
            file = %self.path.display(),
            frame = self.position,
            silence = missing,
            reason,
            "damaged audio"
        );
        self.position += missing;
        Ok(missing)
    }
}

/// The regular file at `path`.
pub(crate) fn open(path: &Path) -> Result<File> {
    v2m_files::open(path).map_err(|e| invalid(format!("{e}: name an audio file ({FORMATS})")))
}

fn invalid(reason: String) -> Error {
    Error::new(ErrorKind::Invalid, reason)
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

#[cfg(test)]
mod tests;
