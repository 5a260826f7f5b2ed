//! Arguments, commands, exit codes: 0 done, 1 failed, 2 wrong usage.

mod bench;
mod detection;
mod doctor;
mod listen;
mod log;
mod monitor;
mod mute;
mod reach;
mod record;
mod run;
mod signals;
mod sources;
mod status;
mod vad;

use std::process::ExitCode;

#[cfg(feature = "ort")]
use crate::detect::runtime;
use clap::{CommandFactory, Parser, Subcommand};
use v2m_error::{Error, ErrorKind, Result};
use v2m_rt::bounded;

/// Captures the microphone for speech software, in real time, for any number of readers
#[derive(Parser)]
#[command(name = "v2m-engine", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Capture, until stopped
    Run(Box<run::Arguments>),
    /// Show how the running engine is doing
    Status(status::Arguments),
    /// Watch the running engine: waveform, speech, level, timing, losses, clients
    Monitor(monitor::Arguments),
    /// List what can be captured; the default is marked
    Sources(sources::Arguments),
    /// Record what is captured to files: WAV, FLAC, all of it or only speech
    Record(record::Arguments),
    /// Print speech as it is heard, segment by segment
    Listen(listen::Arguments),
    /// Find speech in files, on all cores: as text, JSON, RTTM, SRT, CSV, pictures
    Vad(vad::Arguments),
    /// Silence every microphone for all readers, until unmute; survives restarts
    Mute,
    /// Let readers hear microphones again
    Unmute,
    /// Check what the system grants an engine, and say how to fix what is missing
    Doctor(doctor::Arguments),
    /// Measure latencies here, on this machine
    Bench(bench::Arguments),
}

/// The command line as clap has it, for what is made from it.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    #[cfg(feature = "ort")]
    runtime::no_telemetry();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) if usage.use_stderr() && has_message(&usage) => {
            eprintln!("v2m-engine: {}", in_one_line(&usage.to_string()));
            return ExitCode::from(2);
        }
        // Help, or the version, as it was asked for.
        Err(help) => help.exit(),
    };
    let done = match arguments.command {
        Command::Run(arguments) => run::run(*arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Monitor(arguments) => monitor::run(&arguments),
        Command::Sources(arguments) => sources::run(&arguments),
        Command::Record(arguments) => record::run(arguments),
        Command::Listen(arguments) => listen::run(&arguments),
        Command::Vad(arguments) => match vad::run(arguments) {
            // Each file has said what is wrong with it.
            Ok(false) => return ExitCode::FAILURE,
            done => done.map(|_| ()),
        },
        Command::Mute => mute::run(true),
        Command::Unmute => mute::run(false),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Bench(arguments) => bench::run(arguments),
    };
    let code = match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("v2m-engine: {error}");
            if error.kind() == ErrorKind::Invalid {
                2
            } else {
                1
            }
        }
    };
    bounded::exit_past_those_left_behind(code.into());
    ExitCode::from(code)
}

/// Whether it says what is wrong, rather than what there is.
fn has_message(usage: &clap::Error) -> bool {
    usage.kind() != clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// What clap says of wrong usage in paragraphs, without those that `--help` shows.
fn in_one_line(usage: &str) -> Error {
    let told = usage.strip_prefix("error: ").unwrap_or(usage);
    let paragraphs = told
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.starts_with("Usage:"))
        .filter(|paragraph| !paragraph.starts_with("For more information"));
    let said = paragraphs.collect::<Vec<_>>().join("; ");
    Error::new(ErrorKind::Invalid, said + "; see --help")
}

/// Writes a value as one JSON document to standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|cause| Error::system("cannot write JSON", cause))?;
    print_lines(&text)
}

/// Writes text to standard output; a reader that has gone away is no error.
fn print_lines(text: &str) -> Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::system("cannot write to standard output", cause))
        }
        _ => Ok(()),
    }
}
