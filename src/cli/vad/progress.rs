//! The line on a terminal: files done, audio heard, how fast, and how long it will take.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use v2m_error::text;

/// How often the line changes.
const INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct ProgressLine {
    /// None: nobody looks.
    shown: Option<Instant>,
    begun: Instant,
    files: usize,
    done: usize,
    bytes: u64,
    read: Arc<AtomicU64>,
    /// Seconds of audio in files that are done.
    audio: f64,
}

impl ProgressLine {
    /// Of so many files, `bytes` long together, of which `read` says how much was read.
    pub(super) fn new(files: usize, bytes: u64, read: Arc<AtomicU64>) -> Self {
        let now = Instant::now();
        Self {
            shown: std::io::stderr().is_terminal().then_some(now),
            begun: now,
            files,
            done: 0,
            bytes,
            read,
            audio: 0.0,
        }
    }

    /// One more file is done, with so many seconds of audio.
    pub(super) fn done(&mut self, audio: f64) {
        self.done += 1;
        self.audio += audio;
    }

    /// Shows the line if it is time.
    pub(super) fn show(&mut self) {
        let Some(shown) = self.shown.filter(|shown| shown.elapsed() >= INTERVAL) else {
            return;
        };
        self.shown = Some(shown + INTERVAL.max(shown.elapsed()));
        let read = self.read.load(Ordering::Relaxed);
        let line = line(
            (self.done, self.files),
            (read, self.bytes),
            self.audio,
            self.begun.elapsed().as_secs_f64(),
        );
        let mut out = std::io::stderr().lock();
        let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
    }

    /// Makes room for other lines.
    pub(super) fn clear(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

fn line(
    (done, files): (usize, usize),
    (read, bytes): (u64, u64),
    audio: f64,
    elapsed: f64,
) -> String {
    let mut line = format!("{done} of {}", text::counted(files as u64, "file"));
    if audio > 0.0 && elapsed > 0.0 {
        line += &format!(
            ", {} of audio, {:.0} x real time",
            clock(audio),
            audio / elapsed
        );
    }
    if read > 0 {
        let left = elapsed * bytes.saturating_sub(read) as f64 / read as f64;
        line += &format!(", {} left", clock(left.ceil()));
    }
    line
}

/// 1:02:03 or 2:03
fn clock(seconds: f64) -> String {
    let all = seconds as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was_read() {
        let text = line((3, 12), (250, 1000), 7200.0, 4.0);
        assert_eq!(
            text,
            "3 of 12 files, 2:00:00 of audio, 1800 x real time, 0:12 left"
        );
        assert_eq!(line((0, 2), (0, 1000), 0.0, 0.0), "0 of 2 files");
    }
}
