//! `v2m-engine record`: keeps what the engine captures.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{LogLevel, SourceSpec};
use v2m_client::locator::Locator;
use v2m_client::record::{Format, Multitrack, Options, Progress, Recorder, Stop};
use v2m_error::Result;
use v2m_error::text;
use v2m_ring::Rate;

use super::detection::Detection;
use super::signals::Signals;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The file (.wav or .flac, 16 bit), or - for standard output
    #[arg(value_name = "OUT")]
    path: PathBuf,

    /// What to write: wav16, wav32 (the engine's own float samples), flac, flac24; s16le or
    /// f32le (samples and nothing else) [default: by OUT's extension]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Keep only speech: one segment after the other, each marked by a cue
    #[arg(long)]
    speech: bool,

    /// Keep only speech, each segment in a file of its own beside OUT (or in it, if
    /// it is a directory), named by its time
    #[arg(long)]
    split: bool,

    #[command(flatten)]
    detection: Detection,

    /// Begin this far in the past, as far as the engine remembers (30s, 2m)
    #[arg(long, value_name = "TIME", value_parser = time)]
    last: Option<Duration>,

    /// End after this much audio, including what --last adds
    #[arg(long, value_name = "TIME", value_parser = time)]
    seconds: Option<Duration>,

    /// Sync the file to the disk this often: a crash costs at most this much [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    sync: Option<Duration>,

    /// Replace OUT if it exists
    #[arg(long)]
    overwrite: bool,

    /// Record this source, rather than the one that the service is configured for; given
    /// several times, each is a channel of one file, aligned to the sample
    #[arg(long, value_name = "SOURCE")]
    source: Vec<SourceSpec>,

    /// Samples per second: 8000, 16000, 24000, 32000 or 48000 [default: 16000]
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,

    /// How much to log to standard error [default: warn]
    #[arg(long, value_name = "LEVEL")]
    log: Option<LogLevel>,
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    let signals = Signals::watch()?;
    super::log::start(arguments.log.unwrap_or(LogLevel::Warn));
    let terminal = std::io::stderr().is_terminal();
    let defaults = Options::default();
    let options = Options {
        format: arguments.format,
        overwrite: arguments.overwrite,
        speech: arguments.speech,
        split: arguments.split,
        detection: (&arguments.detection).into(),
        last: arguments.last.unwrap_or(defaults.last),
        length: arguments.seconds,
        sync: arguments.sync.unwrap_or(defaults.sync),
        report: match terminal {
            true => Duration::from_millis(200),
            false => defaults.report,
        },
    };
    let rate = arguments.rate.unwrap_or_default();
    let locator = |source: Option<&SourceSpec>| {
        let locator = super::reach::locator(source)?;
        Ok(Locator { rate, ..locator })
    };
    let shown = |progress: &Progress| {
        if terminal {
            show(progress, rate);
        }
    };
    let (how, done) = match &arguments.source[..] {
        [_, _, ..] => {
            let locators = arguments.source.iter().map(Some).map(locator);
            let locators = locators.collect::<Result<_>>()?;
            let recorder = Multitrack::connect(locators, &arguments.path, options)?;
            recorder
                .engines()
                .for_each(super::reach::tell_what_is_missing);
            (recorder.how(), recorder.run(&stop_by(signals)?, shown))
        }
        one => {
            let locator = locator(one.first())?;
            let recorder = Recorder::connect(locator, &arguments.path, options)?;
            super::reach::tell_what_is_missing(recorder.engine());
            (recorder.how(), recorder.run(&stop_by(signals)?, shown))
        }
    };
    if terminal {
        eprintln!();
    }
    let progress = done?;
    if terminal {
        let files: Vec<_> = progress
            .files
            .iter()
            .map(|file| text::printable(&file.to_string_lossy(), text::MESSAGE))
            .collect();
        let files = match files.len() {
            0 => "no speech, no file".into(),
            1..=3 => files.join(", "),
            count => format!("{count} files"),
        };
        eprintln!("{files} ({how})");
    }
    Ok(())
}

/// The first signal ends the recording, the second one the process: a disk that hangs can't
/// be waited for in vain.
fn stop_by(signals: Signals) -> Result<Stop> {
    let stop = Stop::new()?;
    let asked = stop.clone();
    signals.hand_over(move |_| {
        if asked.is_asked() {
            eprintln!("v2m-engine: given up; the file holds what was synced");
            std::process::exit(1);
        }
        asked.ask();
    });
    Ok(stop)
}

/// The progress line: elapsed, size, level, losses.
fn show(progress: &Progress, rate: Rate) {
    let seconds = rate.seconds(progress.samples);
    let (minutes, seconds) = ((seconds / 60.0) as u64, seconds % 60.0);
    let level = match progress.level {
        Some(level) if level > 0.0 => format!("{:6.1} dBFS", 20.0 * level.log10()),
        _ => "   silent  ".into(),
    };
    let mut line = format!(
        "{:02}:{:02}:{:04.1}  {:7.1} MB  {level}  lost {:.1} s",
        minutes / 60,
        minutes % 60,
        seconds,
        progress.bytes as f64 / 1e6,
        rate.seconds(progress.lost)
    );
    if progress.files.len() > 1 {
        line += &format!("  {} files", progress.files.len());
    }
    if let Some(trouble) = &progress.trouble {
        line += &format!("  not written: {trouble}");
    }
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
}

/// `30`, `30s`, `1.5m`, `2h`, `200ms`.
fn time(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("a time is written 30s, 2m, 1h or 500ms".into()),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "a time is written 30s, 2m, 1h or 500ms")?;
    match Duration::try_from_secs_f64(number * unit) {
        Ok(time) if time <= Duration::from_secs(366 * 24 * 3600) => Ok(time),
        _ => Err("a time is 0 seconds to 366 days".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("1.5m", 90_000),
            ("200ms", 200),
            ("2h", 7_200_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "s", "-1", "1x", "nan", "1e99", "inf"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
