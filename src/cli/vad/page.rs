//! A page of all files' pictures: a click plays the stretch, or from there on.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use v2m_dsp::vad::corpus::Found;
use v2m_error::text;

use super::formats::seconds;
use super::picture::{LEFT, RIGHT, WIDTH, clock, escaped};

const STYLE: &str = include_str!("page.css");

/// What it does: needs nothing from anywhere else.
const SCRIPT: &str = include_str!("page.js");

/// The page's entries, as they are found.
#[derive(Default)]
pub(super) struct Page {
    files: usize,
    audio: f64,
    speech: f64,
    figures: String,
}

impl Page {
    /// One file, with the name of its picture in the page's folder.
    pub(super) fn add(&mut self, folder: &Path, path: &Path, picture: &Path, found: &Found) {
        let length = seconds(found.length);
        let times: Vec<(f64, f64)> = found
            .segments
            .iter()
            .map(|s| (seconds(s.start), seconds(s.end)))
            .collect();
        let speech: f64 = times.iter().map(|(from, to)| to - from).sum();
        self.files += 1;
        self.audio += length;
        self.speech += speech;
        let name = escaped(&path.to_string_lossy());
        let audio = escaped(&address(&between(folder, path)));
        let picture = escaped(&address(picture));
        let list = serde_json::to_string(&times).unwrap_or_default();
        // Writing to a string can't fail.
        let _ = write!(
            self.figures,
            "<figure data-audio=\"{audio}\" data-duration=\"{length}\" data-speech=\"{list}\">\n\
             <img loading=\"lazy\" src=\"{picture}\" width=\"1000\" height=\"210\" \
             alt=\"Waveform, probability and segments of {name}\">\n\
             <figcaption><a href=\"{audio}\">{name}</a>: {} of speech in {}</figcaption>\n\
             <details><summary>{}</summary>",
            clock(speech),
            clock(length),
            text::counted(times.len() as u64, "segment")
        );
        for (from, to) in &times {
            let (from, to) = (clock(*from), clock(*to));
            let _ = write!(
                self.figures,
                "<button type=\"button\">{from} to {to}</button>"
            );
        }
        self.figures.push_str("</details>\n</figure>\n");
    }

    /// One that can't be read.
    pub(super) fn add_failure(&mut self, why: &str) {
        let why = escaped(why);
        let _ = writeln!(self.figures, "<p class=\"error\">{why}</p>");
    }

    /// The document.
    pub(super) fn finish(&self) -> String {
        let script = SCRIPT
            .replace("WIDTH", &WIDTH.to_string())
            .replace("LEFT", &LEFT.to_string())
            .replace("RIGHT", &RIGHT.to_string());
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>Speech in {files}</title>\n<style>{STYLE}</style>\n\
             <h1>Speech in {files}</h1>\n\
             <p>{} of speech in {} of audio. A click on a picture plays the stretch of speech \
             that it hits, or from there on.</p>\n{}\
             <div id=\"player\"><audio controls preload=\"none\"></audio>\
             <span id=\"now\"></span></div>\n<script>{script}</script>\n</html>\n",
            clock(self.speech),
            clock(self.audio),
            self.figures,
            files = text::counted(self.files as u64, "file"),
        )
    }
}

/// The way from a folder to a file.
fn between(folder: &Path, file: &Path) -> PathBuf {
    let absolute = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (folder, file) = (absolute(folder), absolute(file));
    let common = folder.components().zip(file.components());
    let common = common.take_while(|(a, b)| a == b).count();
    let up = folder
        .components()
        .skip(common)
        .map(|_| Component::ParentDir);
    up.chain(file.components().skip(common)).collect()
}

/// A path as the address of a link: what has a meaning there is written in hexadecimal.
fn address(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut out = String::new();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_page_to_the_file() {
        let way = between(Path::new("/a/b/pictures"), Path::new("/a/c/x.wav"));
        assert_eq!(way, Path::new("../../c/x.wav"));
        let text = address(Path::new("../50% \"loud\"#1?.wav"));
        assert_eq!(text, "../50%25%20%22loud%22%231%3F.wav");
    }
}
