//! `v2m-engine listen`: live speech segments, for people and for scripts.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::SourceSpec;
use v2m_client::cursor::Hop;
use v2m_client::follow;
use v2m_client::progress::{Poll, RETRY, Source};
use v2m_client::segments::{Segments, Utterance};
use v2m_client::stream::Stream;
use v2m_dsp::vad::segment::Params;
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::{NS_PER_SAMPLE, Reader, SAMPLE_RATE, WINDOW};

use super::detection::Detection;
use super::signals::{self, Signals};

/// From one look of the live line to the next.
const REFRESH: Duration = Duration::from_millis(50);
/// After so long without any audio it says so, and waits on.
const SILENCE: Duration = Duration::from_secs(2);
/// How long it waits for an engine to come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// The level bar: dB of full scale at its left end, and its length.
const FLOOR: f64 = -60.0;
const BAR: usize = 20;
/// Samples of which the live line shows the level.
const NOW: u64 = 3 * WINDOW;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON object per segment, each on a line of its own
    #[arg(long)]
    json: bool,

    /// Listen to this source, rather than the one that the service is configured for
    #[arg(long, value_name = "SOURCE")]
    source: Option<SourceSpec>,

    #[command(flatten)]
    detection: Detection,

    /// Also print a segment in progress each time it has grown by this much
    #[arg(long, value_name = "MS")]
    partial_ms: Option<u32>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let params = Params {
        partial_ms: arguments.partial_ms,
        ..(&arguments.detection).into()
    };
    params.validate()?;
    let signals = Signals::watch()?;
    let locator = super::reach::locator(arguments.source.as_ref())?;
    let stream = Stream::new(locator, WINDOW, Hop::Samples(WINDOW), Some(PATIENCE));
    let stream = Arc::new(stream);
    let engine = stream.open()?;
    if let Some(status) = engine.status() {
        follow::check(&status)?;
    }
    let mut out = Printer {
        json: arguments.json,
        live: !arguments.json && std::io::stdout().is_terminal(),
        begin: engine.ring().committed() as i64,
        drawn: None,
    };
    if out.live {
        let whose = if engine.is_private() {
            "an engine of its own"
        } else {
            "the service"
        };
        eprintln!("{}, by {whose}; Ctrl-C ends", engine.source());
    }
    super::reach::tell_what_is_missing(&engine);
    // Not kept: a private one ends with the stream.
    drop(engine);
    let segments = Segments::new(stream.clone(), params)?;
    // What is being said then is the last segment. A second signal ends the process.
    signals.hand_over(move |signal| match stream.is_closed() {
        false => stream.close(),
        true => signals::end(signal),
    });
    match listen(&segments, &mut out) {
        // Whoever read it has seen enough.
        Err(Ended::Unread) => Ok(()),
        Err(Ended::Failed(error)) => Err(error),
        Ok(()) => Ok(()),
    }
}

/// Why it ended before its time.
enum Ended {
    Unread,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn listen(segments: &Segments, out: &mut Printer) -> Result<(), Ended> {
    let stream = segments.stream();
    let (mut arrived, mut told) = ((stream.committed(), Instant::now()), false);
    loop {
        match segments.poll()? {
            Poll::Ready(utterance) => match Described::read(&utterance) {
                Ok(described) => out.segment(&described)?,
                Err(error) if error.kind() == ErrorKind::Overrun => {
                    out.lost(utterance.window.count)?;
                }
                Err(error) => return Err(error.into()),
            },
            Poll::Overrun(lost) => out.lost(lost)?,
            Poll::Ended => return Ok(()),
            Poll::EngineLost => {
                recover(segments, out, arrived.0)?;
                (arrived, told) = ((stream.committed(), Instant::now()), false);
            }
            Poll::NoSpeechTrack => {
                segments.recover()?;
            }
            Poll::Pending => {
                if let Some(engine) = stream.engine() {
                    out.now(engine.ring(), segments.in_speech())?;
                }
                segments.wait(REFRESH);
                let committed = stream.committed();
                if committed != arrived.0 {
                    (arrived, told) = ((committed, Instant::now()), false);
                } else if !told
                    && arrived.1.elapsed() > SILENCE
                    && let Some(engine) = stream.engine()
                    && !engine.check()
                {
                    told = true;
                    let why = engine.waiting_for().unwrap_or_default();
                    let source = engine.source();
                    eprintln!("v2m-engine: no audio from {source} so far: {why}");
                }
            }
        }
    }
}

/// Waits for an engine to stand in for the one that is gone, of which `heard` samples were
/// there. Times go on where they were.
fn recover(segments: &Segments, out: &mut Printer, heard: u64) -> Result<(), Ended> {
    out.clear()?;
    eprintln!("v2m-engine: the engine is gone; waiting for it to come back");
    while !segments.recover()? {
        std::thread::sleep(RETRY);
    }
    eprintln!("v2m-engine: listening again");
    out.begin -= heard as i64 - segments.stream().committed() as i64;
    Ok(())
}

/// A segment and what is said of it.
#[derive(serde::Serialize)]
struct Described {
    /// Positions: first sample, and the one after the last.
    start: u64,
    end: u64,
    /// Seconds since the engine's ring was made.
    start_s: f64,
    end_s: f64,
    length_s: f64,
    /// CLOCK_MONOTONIC nanoseconds at which the first sample was captured.
    time_ns: i64,
    /// Mean over the segment's windows.
    probability: f64,
    /// RMS in dB of full scale; null for digital silence.
    level_db: Option<f64>,
    /// Whether it holds silence filled in for lost audio.
    gap: bool,
    #[serde(rename = "final")]
    is_final: bool,
}

impl Described {
    fn read(utterance: &Utterance) -> Result<Self> {
        let window = &utterance.window;
        let (ring, start) = (&window.ring, window.position);
        let end = start + window.count;
        let mut samples = vec![0.0; window.count as usize];
        ring.read_samples(start, &mut samples)?;
        let (first, last) = (start.div_ceil(WINDOW), end / WINDOW);
        let mut probabilities = vec![0.0; last.saturating_sub(first) as usize];
        ring.read_speech(first, &mut probabilities)?;
        probabilities.retain(|p| !p.is_nan());
        let sum: f64 = probabilities.iter().copied().map(f64::from).sum();
        let seconds = |count: u64| (count as i64 * NS_PER_SAMPLE) as f64 / 1e9;
        Ok(Self {
            start,
            end,
            start_s: seconds(start),
            end_s: seconds(end),
            length_s: seconds(end - start),
            time_ns: window.time_ns,
            probability: rounded(sum / probabilities.len().max(1) as f64),
            level_db: level_db(&samples).map(rounded),
            gap: window.gap,
            is_final: utterance.is_final,
        })
    }
}

/// Where it goes: lines of JSON, lines of text, or text with a live line below it.
struct Printer {
    json: bool,
    live: bool,
    /// The position where listening began; what text shows is counted from there. Below
    /// zero if that was with another engine.
    begin: i64,
    drawn: Option<Instant>,
}

impl Printer {
    fn segment(&mut self, segment: &Described) -> Result<(), Ended> {
        if self.json {
            let line = serde_json::to_string(segment)
                .map_err(|cause| Error::system("cannot write JSON", cause))?;
            return self.line(&line);
        }
        let begin = (self.begin * NS_PER_SAMPLE) as f64 / 1e9;
        let level = segment.level_db;
        let mut line = format!(
            "{:9.2} s to {:9.2} s  {:6.2} s  p {:.2}  |{}| {}",
            segment.start_s - begin,
            segment.end_s - begin,
            segment.length_s,
            segment.probability,
            bar(level),
            decibels(level),
        );
        if segment.gap {
            line += "  gap";
        }
        if !segment.is_final {
            line += "  ...";
        }
        self.line(&line)
    }

    fn lost(&mut self, samples: u64) -> Result<(), Ended> {
        if self.json {
            return self.line(&format!("{{\"lost\":{samples}}}"));
        }
        let seconds = samples as f64 / f64::from(SAMPLE_RATE);
        self.line(&format!("{seconds:.2} s of speech lost: too slow a reader"))
    }

    /// The live line: what is heard at this moment.
    fn now(&mut self, ring: &Reader, in_speech: bool) -> Result<(), Ended> {
        if !self.live || self.drawn.is_some_and(|drawn| drawn.elapsed() < REFRESH) {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        let committed = ring.committed();
        let mut samples = vec![0.0; NOW.min(committed) as usize];
        let _ = ring.read_samples(committed - samples.len() as u64, &mut samples);
        let level = level_db(&samples);
        let mut newest = [f32::NAN];
        if let Some(window) = ring.speech_committed().checked_sub(1) {
            let _ = ring.read_speech(window, &mut newest);
        }
        let state = if in_speech { "speech" } else { "" };
        let at = (committed as i64 - self.begin).max(0) as f64 / f64::from(SAMPLE_RATE);
        let (bar, level) = (bar(level), decibels(level));
        let p = newest[0];
        self.write(&format!(
            "\r\x1b[K{at:9.2} s {state:<24}  p {p:.2}  |{bar}| {level}"
        ))
    }

    /// Takes the live line away.
    fn clear(&mut self) -> Result<(), Ended> {
        if self.live {
            self.drawn = None;
            self.write("\r\x1b[K")?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), Ended> {
        let clear = if self.live { "\r\x1b[K" } else { "" };
        self.drawn = None;
        self.write(&format!("{clear}{line}\n"))
    }

    fn write(&self, text: &str) -> Result<(), Ended> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Err(Ended::Unread),
            Err(cause) => Err(Error::system("cannot write to standard output", cause).into()),
        }
    }
}

/// To four digits after the point, which is all that there is to know.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// RMS in dB of full scale.
fn level_db(samples: &[f32]) -> Option<f64> {
    let power: f64 = samples.iter().map(|&x| f64::from(x).powi(2)).sum();
    let mean = power / samples.len().max(1) as f64;
    (mean > 0.0).then(|| 10.0 * mean.log10())
}

fn bar(level: Option<f64>) -> String {
    let share = level.map_or(0.0, |db| (db - FLOOR) / -FLOOR);
    let filled = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{:<BAR$}", "#".repeat(filled))
}

fn decibels(level: Option<f64>) -> String {
    level.map_or("  silent".into(), |db| format!("{db:5.1} dB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_full_scale() {
        assert_eq!(level_db(&[0.0; 100]), None);
        assert_eq!(level_db(&[1.0, -1.0]), Some(0.0));
        assert_eq!(bar(None), " ".repeat(BAR));
        assert_eq!(bar(Some(0.0)), "#".repeat(BAR));
        assert_eq!(bar(Some(-30.0)).trim_end().len(), BAR / 2);
        assert_eq!(bar(Some(-300.0)).len(), BAR);
    }
}
