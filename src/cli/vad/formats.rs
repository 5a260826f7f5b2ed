//! What is written about a file.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use v2m_dsp::vad::SAMPLE_RATE;
use v2m_dsp::vad::corpus::Found;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A line for each segment: file, start and end in seconds, separated by tabs
    #[default]
    Text,
    /// A list of files: rate, duration, speech in seconds and samples, or what is wrong
    Json,
    /// What diarization tools score (NIST)
    Rttm,
    /// Subtitles
    Srt,
    /// A table with a header
    Csv,
}

#[derive(Serialize)]
struct Document<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speech: Option<Vec<Stretch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Stretch {
    start: f64,
    end: f64,
    start_sample: u64,
    end_sample: u64,
}

/// A position at 16 kHz in seconds.
pub(super) fn seconds(position: u64) -> f64 {
    position as f64 / f64::from(SAMPLE_RATE)
}

impl Format {
    /// Of a file of its own.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Json => "json",
            Self::Rttm => "rttm",
            Self::Srt => "srt",
            Self::Csv => "csv",
        }
    }

    /// Before the first file.
    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Json => "[",
            Self::Csv => "file,start,end\n",
            _ => "",
        }
    }

    /// After the last one.
    pub(super) fn tail(self) -> &'static str {
        match self {
            Self::Json => "\n]\n",
            _ => "",
        }
    }

    /// About one file, the first of all or not.
    pub(super) fn file(self, path: &Path, found: &Found, first: bool) -> String {
        let name = path.to_string_lossy();
        let mut out = String::new();
        let times = found
            .segments
            .iter()
            .map(|s| (seconds(s.start), seconds(s.end)));
        for (n, (start, end)) in times.enumerate() {
            // Writing to a string can't fail.
            let _ = match self {
                Self::Text => writeln!(out, "{}\t{start:.3}\t{end:.3}", one_line(&name)),
                Self::Csv => writeln!(out, "{},{start:.3},{end:.3}", quoted(&name)),
                Self::Rttm => {
                    let stem = path.file_stem().unwrap_or(path.as_os_str());
                    let id = stem.to_string_lossy().replace(char::is_whitespace, "_");
                    let length = end - start;
                    writeln!(
                        out,
                        "SPEAKER {id} 1 {start:.3} {length:.3} <NA> <NA> speech <NA> <NA>"
                    )
                }
                Self::Srt => {
                    let (from, to) = (clock(start), clock(end));
                    writeln!(out, "{}\n{from} --> {to}\n[speech]\n", n + 1)
                }
                Self::Json => Ok(()),
            };
        }
        if self == Self::Json {
            let stretch = |s: &v2m_dsp::vad::segment::Segment| Stretch {
                start: seconds(s.start),
                end: seconds(s.end),
                start_sample: found.own(s.start),
                end_sample: found.own(s.end),
            };
            let document = Document {
                file: &name,
                rate: Some(found.rate),
                duration: Some(seconds(found.length)),
                speech: Some(found.segments.iter().map(stretch).collect()),
                error: None,
            };
            out = element(&document, first);
        }
        out
    }

    /// About a file that can't be read: in JSON only, elsewhere the message says it.
    pub(super) fn failure(self, path: &Path, why: &str, first: bool) -> String {
        if self != Self::Json {
            return String::new();
        }
        let document = Document {
            file: &path.to_string_lossy(),
            rate: None,
            duration: None,
            speech: None,
            error: Some(why),
        };
        element(&document, first)
    }
}

/// An element of the list.
fn element(document: &Document<'_>, first: bool) -> String {
    let comma = if first { "" } else { "," };
    let text = serde_json::to_string(document).unwrap_or_default();
    format!("{comma}\n{text}")
}

/// 00:01:02,345
fn clock(seconds: f64) -> String {
    let ms = (seconds * 1000.0).round() as u64;
    let (s, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02},{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

fn quoted(name: &str) -> String {
    match name.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", name.replace('"', "\"\"")),
        false => name.to_owned(),
    }
}

/// A name that doesn't break the table.
fn one_line(name: &str) -> String {
    name.replace(['\t', '\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use v2m_dsp::vad::segment::Segment;

    fn found() -> Found {
        let segment = |start, end| Segment {
            start,
            end,
            is_final: true,
        };
        Found {
            segments: vec![segment(8000, 24_000), segment(57_600_000, 57_608_000)],
            probabilities: Vec::new(),
            length: 60_000_000,
            samples: 180_000_000,
            rate: 48_000,
        }
    }

    #[test]
    fn every_format_is_as_its_readers_want_it() {
        let path = Path::new("a b/c, d.wav");
        let write = |format: Format| format.file(path, &found(), true);
        let expected = "a b/c, d.wav\t0.500\t1.500\na b/c, d.wav\t3600.000\t3600.500\n";
        assert_eq!(write(Format::Text), expected);
        let expected = "\"a b/c, d.wav\",0.500,1.500\n\"a b/c, d.wav\",3600.000,3600.500\n";
        assert_eq!(write(Format::Csv), expected);
        let expected = "SPEAKER c,_d 1 0.500 1.000 <NA> <NA> speech <NA> <NA>\n\
                        SPEAKER c,_d 1 3600.000 0.500 <NA> <NA> speech <NA> <NA>\n";
        assert_eq!(write(Format::Rttm), expected);
        let expected = "1\n00:00:00,500 --> 00:00:01,500\n[speech]\n\n\
                        2\n01:00:00,000 --> 01:00:00,500\n[speech]\n\n";
        assert_eq!(write(Format::Srt), expected);
        let json = Format::Json.head().to_owned()
            + &write(Format::Json)
            + &Format::Json.failure(path, "it \"lies\"", false)
            + Format::Json.tail();
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json[0]["speech"][1]["start_sample"], 172_800_000);
        assert_eq!(json[0]["duration"], 3750.0);
        assert_eq!(json[1]["error"], "it \"lies\"");
    }
}
