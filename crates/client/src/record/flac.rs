//! FLAC (RFC 9639): frames by flacenc, each as soon as its samples are there, and
//! the head, which is written anew at every sync.
//!
//! A sync ends a frame early, so that everything before it is in the file: block
//! sizes vary, and frames are counted by samples.

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, Frame, FrameOffset, StreamInfo};
use flacenc::config;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Context, Fill, FrameBuf};

use super::head::{Cue, HEAD, Head, Length, Notes, Origin, PROGRAM, Shape};
use crate::dsp::pcm;
use crate::error::{Error, Result};
use crate::ring::Rate;

/// The longest frame, in samples: 256 ms.
const BLOCK: usize = 4096;
/// The shortest that flacenc makes. RFC 9639 wants 16 but for the last one.
const SHORTEST: usize = 32;

/// Samples in, frames out; those of several channels are interleaved.
pub(super) struct Encoder {
    bits: u32,
    channels: usize,
    config: Verified<config::Encoder>,
    stream: StreamInfo,
    buffer: FrameBuf,
    /// Counts and hashes what was encoded.
    context: Context,
    pending: Vec<i32>,
}

impl Encoder {
    pub(super) fn new(bits: u32, shape: Shape) -> Result<Self> {
        let broken = |cause: &dyn std::fmt::Display| Error::system("cannot set up FLAC", cause);
        let config = config::Encoder::default().into_verified();
        let (rate, channels) = (shape.rate.hz() as usize, shape.channels as usize);
        Ok(Self {
            bits,
            channels,
            config: config.map_err(|(_, cause)| broken(&cause))?,
            stream: StreamInfo::new(rate, channels, bits as usize)
                .map_err(|cause| broken(&cause))?,
            buffer: FrameBuf::with_size(channels, BLOCK).map_err(|cause| broken(&cause))?,
            context: Context::new(bits as usize, channels),
            pending: Vec::with_capacity((BLOCK + SHORTEST) * channels),
        })
    }

    /// Samples of each channel in the frames so far.
    pub(super) fn samples(&self) -> u64 {
        self.context.total_samples() as u64
    }

    /// The MD5 sum of these.
    pub(super) fn digest(&self) -> [u8; 16] {
        self.context.md5_digest()
    }

    /// Takes samples; full frames go to `out`.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<u8>) -> Result<()> {
        for &sample in samples {
            self.pending.push(pcm::integer(sample, self.bits));
            // So many are kept that the next sync has enough for a frame.
            if self.pending.len() == (BLOCK + SHORTEST) * self.channels {
                self.frame(BLOCK, out)?;
            }
        }
        Ok(())
    }

    /// Ends the frame, so that all samples are in frames. With `last` also one
    /// that is too short to be followed by another.
    pub(super) fn flush(&mut self, last: bool, out: &mut Vec<u8>) -> Result<()> {
        if self.waiting() > BLOCK {
            self.frame(self.waiting() - SHORTEST, out)?;
        }
        match self.waiting() {
            0 => Ok(()),
            1..SHORTEST if !last => Ok(()),
            count => self.frame(count, out),
        }
    }

    /// Samples of each channel that are pending.
    fn waiting(&self) -> usize {
        self.pending.len() / self.channels
    }

    /// Encodes the first `count` of what is pending, of each channel.
    fn frame(&mut self, count: usize, out: &mut Vec<u8>) -> Result<()> {
        let failed =
            |cause: &dyn std::fmt::Debug| Error::system("cannot encode FLAC", format!("{cause:?}"));
        let first = self.samples();
        let count = count * self.channels;
        self.buffer
            .fill_interleaved(&self.pending[..count])
            .map_err(|cause| failed(&cause))?;
        let frame = flacenc::encode_fixed_size_frame(&self.config, &self.buffer, 0, &self.stream)
            .map_err(|cause| failed(&cause))?;
        let (mut header, subframes) = frame.into_parts();
        header.set_frame_offset(FrameOffset::StartSample(first));
        let frame = Frame::new(header, subframes.into_iter()).map_err(|cause| failed(&cause))?;
        let mut sink = ByteSink::with_capacity(frame.count_bits());
        frame.write(&mut sink).map_err(|cause| failed(&cause))?;
        out.extend_from_slice(sink.as_slice());
        self.context
            .fill_interleaved(&self.pending[..count])
            .map_err(|cause| failed(&cause))?;
        self.pending.drain(..count);
        Ok(())
    }
}

const STREAMINFO: u8 = 0;
const PADDING: u8 = 1;
const VORBIS_COMMENT: u8 = 4;
/// Where the notes begin.
const START: usize = 42;

/// The file's first [`HEAD`] bytes: stream information, comments, padding.
pub(super) fn head(
    bits: u32,
    shape: Shape,
    length: Length,
    digest: [u8; 16],
    notes: &Notes,
) -> Head {
    let samples = match length {
        Length::Known { samples, .. } => samples,
        Length::Unknown => 0,
    };
    let mut info = Vec::with_capacity(34);
    info.extend((SHORTEST as u16).to_be_bytes());
    info.extend((BLOCK as u16).to_be_bytes());
    // Frame sizes unknown; then 20 bits of rate, 3 of channels less one, 5 of
    // bits less one, 36 of length.
    info.extend([0; 6]);
    let packed = u64::from(shape.rate.hz()) << 44
        | u64::from(shape.channels - 1) << 41
        | u64::from(bits - 1) << 36
        | (samples & 0xf_ffff_ffff);
    info.extend(packed.to_be_bytes());
    info.extend(digest);
    let mut head = Vec::with_capacity(HEAD);
    head.extend(b"fLaC");
    head.extend(block(STREAMINFO, false, info.len()));
    head.extend(&info);
    debug_assert_eq!(head.len(), START);
    let head = notes.lay(head, HEAD, |bytes, last| block(PADDING, last, bytes - 4));
    debug_assert_eq!(head.bytes.len(), HEAD);
    head
}

/// What begins a block whose body is so long.
fn block(kind: u8, last: bool, body: usize) -> Vec<u8> {
    let length = (body as u32).to_be_bytes();
    [kind | u8::from(last) << 7, length[1], length[2], length[3]].into()
}

/// What a file says of itself. Cues are chapters there, as far as they fit.
pub(super) fn notes(origin: &Origin, cues: &[Cue]) -> Vec<u8> {
    let mut comments = vec![
        format!("ENCODER={PROGRAM}"),
        format!("COMMENT={}", origin.line()),
        format!("V2M_RING={}", origin.ring),
        format!("V2M_POSITION={}", origin.position),
        format!("V2M_SOURCE={}", origin.short_source()),
    ];
    if let Some((time_ns, moment)) = &origin.began {
        comments.push(format!("DATE={}", moment.iso()));
        comments.push(format!("V2M_MONOTONIC_NS={time_ns}"));
    }
    let size = |texts: &[String]| texts.iter().map(|text| 4 + text.len()).sum::<usize>();
    let mut taken = 4 + 8 + PROGRAM.len() + size(&comments);
    for (number, cue) in (1..).zip(cues) {
        let chapter = chapter(number, cue, origin.shape.rate);
        if taken + size(&chapter) > Notes::room(HEAD - START) {
            break;
        }
        taken += size(&chapter);
        comments.extend(chapter);
    }
    let mut body = (PROGRAM.len() as u32).to_le_bytes().to_vec();
    body.extend(PROGRAM.as_bytes());
    body.extend((comments.len() as u32).to_le_bytes());
    for comment in &comments {
        body.extend((comment.len() as u32).to_le_bytes());
        body.extend(comment.as_bytes());
    }
    [block(VORBIS_COMMENT, false, body.len()), body].concat()
}

/// How many of these cues a head has room for.
pub(super) fn room(origin: &Origin, cues: &[Cue]) -> usize {
    let notes = notes(origin, cues);
    let names = notes.windows(4).filter(|window| *window == b"NAME");
    names.count().min(cues.len())
}

/// The comments of a chapter, as the chapter extension of Vorbis comments has them.
fn chapter(number: u32, cue: &Cue, rate: Rate) -> [String; 2] {
    let ms = cue.sample * 1000 / u64::from(rate.hz());
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let (seconds, ms) = (ms / 1000 % 60, ms % 1000);
    [
        format!("CHAPTER{number:03}={hours:02}:{minutes:02}:{seconds:02}.{ms:03}"),
        format!("CHAPTER{number:03}NAME={}", cue.label),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::head::{origin, survives_power_loss};
    use super::*;

    #[test]
    fn the_head_is_one_page_whatever_it_holds() {
        for count in [0, 1, 50, 2000] {
            let cue = |n: u64| Cue {
                sample: n << 20,
                label: format!("speech {n}"),
            };
            let cues: Vec<Cue> = (0..count).map(cue).collect();
            let length = Length::Known {
                samples: 1 << 34,
                tail: 0,
            };
            let notes = Notes::new(notes(&origin(), &cues));
            assert_eq!(
                head(16, Shape::mono(Rate::SPEECH), length, [7; 16], &notes)
                    .bytes
                    .len(),
                HEAD
            );
            assert_eq!(room(&origin(), &cues) == cues.len(), count <= 50, "{count}");
        }
    }

    #[test]
    fn half_a_head_is_one_or_the_other() {
        let comments = |head: &[u8]| -> Vec<u8> {
            let (mut at, mut found, mut last) = (4, Vec::new(), false);
            while !last {
                last = head[at] & 0x80 != 0;
                let size = [0, head[at + 1], head[at + 2], head[at + 3]];
                let body = at + 4..at + 4 + u32::from_be_bytes(size) as usize;
                if head[at] & 0x7f == VORBIS_COMMENT {
                    found.push(head[body.clone()].to_vec());
                }
                at = body.end;
            }
            assert_eq!(at, HEAD);
            assert_eq!(found.len(), 1);
            found.concat()
        };
        let of = |samples, notes: &Notes| {
            let length = Length::Known { samples, tail: 0 };
            head(
                16,
                Shape::mono(Rate::SPEECH),
                length,
                [samples as u8; 16],
                notes,
            )
        };
        let mut unknown = origin();
        unknown.began = None;
        let mut shown = Notes::new(notes(&unknown, &[]));
        let mut before = of(0, &shown);
        for count in [0, 1, 2, 30, 60] {
            let cue = |n: u64| Cue {
                sample: n << 20,
                label: format!("speech {n}"),
            };
            let cues: Vec<Cue> = (0..count).map(cue).collect();
            shown = shown.turned(notes(&origin(), &cues)).unwrap();
            let after = of(1000 + count, &shown);
            survives_power_loss(&before, &after, comments);
            before = after;
        }
    }

    #[test]
    fn every_sample_gets_into_a_frame() {
        let mut encoder = Encoder::new(16, Shape::mono(Rate::SPEECH)).unwrap();
        let mut out = Vec::new();
        let noise = |n: usize| ((n * 7919) % 65_536) as f32 / 32_768.0 - 1.0;
        let noise = |count| (0..count).map(noise).collect::<Vec<f32>>();
        encoder.push(&noise(10_000), &mut out).unwrap();
        assert_eq!(encoder.samples(), 8192);
        encoder.flush(false, &mut out).unwrap();
        assert_eq!(encoder.samples(), 10_000);
        // A sync just after a full frame: none of it waits for the next.
        encoder.push(&noise(4100), &mut out).unwrap();
        encoder.flush(false, &mut out).unwrap();
        assert_eq!(encoder.samples(), 14_100);
        encoder.push(&noise(5), &mut out).unwrap();
        encoder.flush(false, &mut out).unwrap();
        assert_eq!(
            encoder.samples(),
            14_100,
            "too short a frame inside the stream"
        );
        encoder.flush(true, &mut out).unwrap();
        assert_eq!(encoder.samples(), 14_105);
    }
}
