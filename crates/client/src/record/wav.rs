//! WAV: the head that grows into RF64 in place, and cues.
//!
//! ```text
//! RIFF │ JUNK │ fmt │ fact, JUNK │ bext │ LIST INFO │ cue, LIST adtl │ JUNK │ data │ audio …
//! RF64 │ ds64 │      (float only)  ╰──── notes, in two places that take turns ─╯     past 4 GiB
//! ```
//!
//! RF64: EBU Tech 3306; bext: EBU Tech 3285.

use super::head::{Cue, HEAD, Head, Length, Notes, Origin, PROGRAM, Shape};
use crate::dsp::pcm;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    Float,
    Integer16,
}

impl Sample {
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Float => 4,
            Self::Integer16 => 2,
        }
    }

    /// Samples as their bytes.
    pub(super) fn encode(self, samples: &[f32]) -> Vec<u8> {
        match self {
            Self::Float => bytemuck::cast_slice(samples).to_vec(),
            Self::Integer16 => {
                let integers = samples.iter().copied().map(pcm::int16);
                integers.flat_map(i16::to_le_bytes).collect()
            }
        }
    }
}

/// The file's first [`HEAD`] bytes.
pub(super) fn head(sample: Sample, shape: Shape, length: Length, notes: &Notes) -> Head {
    let (samples, data, riff) = match length {
        Length::Known { samples, tail } => {
            let data = samples * sample.bytes() * u64::from(shape.channels);
            (samples, data, HEAD as u64 - 8 + data + tail)
        }
        Length::Unknown => (0, u64::from(u32::MAX), u64::from(u32::MAX)),
    };
    let large = riff > u64::from(u32::MAX);
    let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();

    let mut head = Vec::with_capacity(HEAD);
    head.extend(if large { b"RF64" } else { b"RIFF" });
    head.extend(short(riff));
    head.extend(b"WAVE");
    // Its place is kept from the beginning: a file may get as large as this.
    if large {
        let sizes = [riff, data, samples].map(u64::to_le_bytes).concat();
        put(&mut head, b"ds64", &[&sizes[..], &[0; 4]].concat());
    } else {
        put(&mut head, b"JUNK", &[0; 28]);
    }
    put(&mut head, b"fmt ", &format(sample, shape));
    if sample == Sample::Float {
        put(&mut head, b"fact", &short(samples));
        // What turns from one place to the other is aligned: no sector's border is in it.
        put(&mut head, b"JUNK", &[0; 2]);
    }
    debug_assert_eq!(head.len(), start(sample));
    let mut head = notes.lay(head, HEAD - 8, |bytes, _last| {
        [&b"JUNK"[..], &(bytes as u32 - 8).to_le_bytes()].concat()
    });
    head.bytes.extend(b"data");
    let size = if large { [0xff; 4] } else { short(data) };
    head.bytes.extend(size);
    debug_assert_eq!(head.bytes.len(), HEAD);
    head
}

/// Where the notes begin.
fn start(sample: Sample) -> usize {
    match sample {
        Sample::Float => 96,
        Sample::Integer16 => 72,
    }
}

/// What a file says of itself: cues stand there as far as they fit.
pub(super) fn notes(sample: Sample, origin: &Origin, cues: &[Cue]) -> Vec<u8> {
    let mut notes = described(origin);
    notes.extend(chunks(&cues[..room(sample, origin, cues)]));
    notes
}

fn described(origin: &Origin) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b"bext", &broadcast(origin));
    put(&mut out, b"LIST", &info(origin));
    out
}

/// The cues as chunks to stand after the audio: none if the head has room for all.
pub(super) fn tail(sample: Sample, origin: &Origin, cues: &[Cue]) -> Vec<u8> {
    match room(sample, origin, cues) < cues.len() {
        true => chunks(cues),
        false => Vec::new(),
    }
}

/// How many of these cues the head has room for.
pub(super) fn room(sample: Sample, origin: &Origin, cues: &[Cue]) -> usize {
    let room = Notes::room(HEAD - 8 - start(sample));
    fitting(cues, room - described(origin).len())
}

/// How many of the first cues fit into so many bytes.
fn fitting(cues: &[Cue], room: usize) -> usize {
    let fits = |count: &usize| chunks(&cues[..*count]).len() <= room;
    // A cue takes 44 bytes and its label: the search is short.
    let most = cues.len().min(room / 44);
    (0..=most).rev().find(fits).unwrap_or(0)
}

fn chunks(cues: &[Cue]) -> Vec<u8> {
    let mut out = Vec::new();
    if cues.is_empty() {
        return out;
    }
    let mut points = (cues.len() as u32).to_le_bytes().to_vec();
    let mut labels = b"adtl".to_vec();
    for (name, cue) in (1_u32..).zip(cues) {
        // A cue can't point past 4 G samples (74 hours): the last one there is.
        let sample = u32::try_from(cue.sample).unwrap_or(u32::MAX).to_le_bytes();
        let name = name.to_le_bytes();
        points.extend([&name[..], &sample, b"data", &[0; 8], &sample].concat());
        let label = [&name[..], cue.label.as_bytes(), &[0]].concat();
        put(&mut labels, b"labl", &label);
    }
    put(&mut out, b"cue ", &points);
    put(&mut out, b"LIST", &labels);
    out
}

fn put(out: &mut Vec<u8>, id: &[u8; 4], body: &[u8]) {
    out.extend(id);
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    out.extend(&[0][..body.len() % 2]);
}

fn format(sample: Sample, shape: Shape) -> Vec<u8> {
    let (bytes, rate) = (sample.bytes() as u32, shape.rate.hz());
    let frame = bytes * shape.channels;
    let mut body = Vec::new();
    // PCM is 1, IEEE float 3.
    body.extend(if bytes == 4 { 3_u16 } else { 1 }.to_le_bytes());
    body.extend((shape.channels as u16).to_le_bytes());
    body.extend(rate.to_le_bytes());
    body.extend((rate * frame).to_le_bytes());
    body.extend((frame as u16).to_le_bytes());
    body.extend((bytes as u16 * 8).to_le_bytes());
    if sample == Sample::Float {
        body.extend(0_u16.to_le_bytes());
    }
    body
}

/// The Broadcast extension, version 1.
fn broadcast(origin: &Origin) -> Vec<u8> {
    let field = |text: &str, length: usize| {
        let ascii = text.chars().map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c as u8
            } else {
                b'?'
            }
        });
        let mut bytes: Vec<u8> = ascii.take(length).collect();
        bytes.resize(length, 0);
        bytes
    };
    let moment = origin.began.as_ref().map(|(_, moment)| moment);
    let mut body = field(&origin.line(), 256);
    body.extend(field(PROGRAM, 32));
    body.extend(field(&origin.ring, 32));
    body.extend(field(&moment.map_or(String::new(), |m| m.date()), 10));
    body.extend(field(&moment.map_or(String::new(), |m| m.time()), 8));
    body.extend(
        moment
            .map_or(0, |m| m.samples_since_midnight(origin.shape.rate))
            .to_le_bytes(),
    );
    body.extend(1_u16.to_le_bytes());
    body.resize(602, 0);
    body
}

fn info(origin: &Origin) -> Vec<u8> {
    let mut body = b"INFO".to_vec();
    let mut text = |id: &[u8; 4], text: &str| put(&mut body, id, &[text.as_bytes(), &[0]].concat());
    text(b"ISFT", PROGRAM);
    if let Some((_, moment)) = &origin.began {
        text(b"ICRD", &moment.iso());
    }
    text(b"ICMT", &origin.line());
    body
}

#[cfg(test)]
mod tests {
    use super::super::head::{origin, survives_power_loss};
    use super::*;
    use crate::ring::Rate;

    /// The chunks of a head: id, size, offset of the body.
    fn walk(head: &[u8]) -> Vec<(String, u64, usize)> {
        let mut at = 12;
        let mut chunks = Vec::new();
        while at < head.len() {
            let id = String::from_utf8(head[at..at + 4].to_vec()).unwrap();
            let size = u32::from_le_bytes(head[at + 4..at + 8].try_into().unwrap());
            chunks.push((id, u64::from(size), at + 8));
            at += 8 + size as usize + size as usize % 2;
        }
        chunks
    }

    /// A head with these cues, as the first of a file.
    fn head(sample: Sample, length: Length, cues: &[Cue]) -> Vec<u8> {
        let notes = Notes::new(super::notes(sample, &origin(), cues));
        super::head(sample, Shape::mono(Rate::SPEECH), length, &notes).bytes
    }

    fn cues(count: u64) -> Vec<Cue> {
        let cue = |n| Cue {
            sample: n * 1000,
            label: format!("speech {n}"),
        };
        (0..count).map(cue).collect()
    }

    #[test]
    fn is_one_page_whatever_it_holds() {
        for sample in [Sample::Float, Sample::Integer16] {
            for count in [0, 1, 10, 60, 61, 1000] {
                for samples in [0, 1, 1 << 20, 1 << 33] {
                    let length = Length::Known { samples, tail: 0 };
                    let head = head(sample, length, &cues(count));
                    assert_eq!(head.len(), HEAD);
                    let chunks = walk(&head);
                    let (id, size, body) = chunks.last().unwrap();
                    assert_eq!((id.as_str(), *body), ("data", HEAD));
                    let data = samples * sample.bytes();
                    let largest = u64::from(u32::MAX) - HEAD as u64 + 8;
                    let said = if data > largest {
                        u64::from(u32::MAX)
                    } else {
                        data
                    };
                    assert_eq!(*size, said);
                }
            }
        }
    }

    #[test]
    fn grows_into_rf64_in_place() {
        let limit = (u64::from(u32::MAX) + 8 - HEAD as u64) / 4;
        let of = |samples| {
            let length = Length::Known { samples, tail: 0 };
            head(Sample::Float, length, &[])
        };
        let (last, first) = (of(limit), of(limit + 1));
        assert_eq!((&last[..4], &first[..4]), (&b"RIFF"[..], &b"RF64"[..]));
        assert_eq!(
            (&last[12..16], &first[12..16]),
            (&b"JUNK"[..], &b"ds64"[..])
        );
        let number = |at: usize| u64::from_le_bytes(first[at..at + 8].try_into().unwrap());
        assert_eq!(number(20), HEAD as u64 - 8 + (limit + 1) * 4);
        assert_eq!(number(28), (limit + 1) * 4);
        assert_eq!(number(36), limit + 1);
        assert_eq!(&first[4..8], &[0xff; 4]);
        assert_eq!(&first[HEAD - 4..], &[0xff; 4]);
    }

    #[test]
    fn cues_that_do_not_fit_go_to_the_tail() {
        let few = cues(5);
        assert!(tail(Sample::Float, &origin(), &few).is_empty());
        let many = cues(200);
        let end = tail(Sample::Float, &origin(), &many);
        assert_eq!(&end[..4], b"cue ");
        assert_eq!(u32::from_le_bytes(end[8..12].try_into().unwrap()), 200);
        // The border: no cue is in neither.
        for count in 0..100 {
            let cues = cues(count);
            let length = Length::Known {
                samples: 1,
                tail: 0,
            };
            let head = head(Sample::Float, length, &cues);
            let points = walk(&head).into_iter().find(|(id, ..)| id == "cue ");
            let inside = points.map_or(0, |(_, size, _)| (size - 4) / 24);
            let all_inside = super::tail(Sample::Float, &origin(), &cues).is_empty();
            assert_eq!(all_inside, inside == count, "{count} cues");
        }
    }

    #[test]
    fn half_a_head_is_one_or_the_other() {
        let found = |head: &[u8]| -> Vec<u8> {
            let chunks = walk(head);
            assert_eq!(chunks.last().map(|(_, _, at)| *at), Some(HEAD));
            let noted = chunks
                .iter()
                .filter(|(id, ..)| id != "JUNK" && id != "data");
            let bodies = noted.skip_while(|(id, ..)| id != "bext");
            bodies
                .flat_map(|(_, size, at)| head[*at..*at + *size as usize].to_vec())
                .collect()
        };
        for sample in [Sample::Float, Sample::Integer16] {
            let known = |samples, tail| Length::Known { samples, tail };
            let mut unknown = origin();
            unknown.began = None;
            let mut notes = Notes::new(super::notes(sample, &unknown, &[]));
            let mut before = super::head(sample, Shape::mono(Rate::SPEECH), known(0, 0), &notes);
            for (samples, count) in [(1000, 0), (2000, 1), (3000, 9), (1 << 33, 40), (1 << 33, 0)] {
                let next = super::notes(sample, &origin(), &cues(count));
                notes = notes.turned(next).unwrap();
                let after =
                    super::head(sample, Shape::mono(Rate::SPEECH), known(samples, 0), &notes);
                survives_power_loss(&before, &after, found);
                before = after;
            }
        }
    }
}
