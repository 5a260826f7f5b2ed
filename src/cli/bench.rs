//! `v2m-engine bench`: how quick it is here, measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Subcommand;
use v2m_bench as bench;
use v2m_bench::load::Load;
use v2m_bench::receiver::Spec;
use v2m_bench::{Options, reader, svg};
use v2m_error::{Error, ErrorKind, Result};
use v2m_files as files;
use v2m_ring::Rate;

use super::signals::Signals;

/// Bytes of a list of receivers, at most.
const LONGEST: u64 = 1 << 20;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measure how long sound takes to readers in Rust, C and Python
    Latency(Box<Latency>),
    /// Record what arrives for a bench in another process
    #[command(hide = true)]
    Receiver {
        #[arg(long, default_value_t)]
        rate: Rate,
    },
}

/// Impulses are played at random moments through a virtual path into an engine of the
/// bench's own; each receiver in turn notes when its code held each of them.
#[derive(clap::Args)]
struct Latency {
    /// Measure in a PipeWire of the bench's own, as it does where there is no session
    #[arg(long, conflicts_with_all = ["physical", "node"])]
    private: bool,

    /// The same, with a graph at 1024 unless somebody asks for less, as desktops have it
    #[arg(long, conflicts_with_all = ["physical", "node"])]
    stock: bool,

    /// Samples per cycle at 48 kHz: forced on a private graph, asked for in a session
    #[arg(long, value_name = "SAMPLES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=8192))]
    quantum: u32,

    /// What runs beside it: none, cpu (a busy thread on every core) or gil (one in each
    /// Python interpreter)
    #[arg(long, default_value = "none")]
    load: Load,

    /// Seconds for each receiver, 25 impulses each
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=300))]
    duration: u32,

    /// How many turns each receiver has, in a different order each time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,

    /// Only receivers of streams at this rate, in Hz; may be given again [default: 16000, 48000]
    #[arg(long = "rate", value_name = "RATE")]
    rates: Vec<Rate>,

    /// Also write everything as one JSON document
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Also draw histogram and cumulative share of each receiver
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// The Python that has the module v2m_engine
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,

    /// Measure a real loop: a cable, or a loudspeaker and a microphone
    #[arg(long, conflicts_with = "node")]
    physical: bool,

    /// The sink to play to, a node's name [default: the session's]
    #[arg(long, value_name = "NODE", requires = "physical")]
    sink: Option<String>,

    /// The source to capture from, as for run [default: the session's]
    #[arg(long, value_name = "SOURCE", requires = "physical")]
    source: Option<String>,

    /// Play into this node of the session and capture from it, instead of pw-loopback
    #[arg(long, value_name = "NODE")]
    node: Option<String>,

    /// Further receivers, described in a JSON file: see benches/peers/README.md
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    match arguments.what {
        What::Latency(arguments) => latency(*arguments),
        What::Receiver { rate } => reader::main(rate),
    }
}

fn latency(arguments: Latency) -> Result<()> {
    let signals = Signals::watch()?;
    // Before minutes of measuring: can the results be kept?
    for file in [&arguments.json, &arguments.svg].into_iter().flatten() {
        write(file, "")?;
    }
    // What was started is ended in order.
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    signals.hand_over(move |_| asked.store(true, Ordering::Relaxed));
    let options = Options {
        private: arguments.private,
        stock: arguments.stock,
        quantum: arguments.quantum,
        load: arguments.load,
        duration: Duration::from_secs(arguments.duration.into()),
        rounds: arguments.rounds,
        rates: rates(&arguments.rates)?,
        python: arguments.python,
        physical: arguments.physical,
        sink: arguments.sink,
        source: arguments.source,
        node: arguments.node,
        peers: arguments
            .peers
            .as_deref()
            .map(peers)
            .transpose()?
            .unwrap_or_default(),
    };
    let report = bench::run(&options, &stop, |progress| eprintln!("{progress}"))?;
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|cause| Error::system("cannot write JSON", cause))?;
        write(file, &text)?;
    }
    if let Some(file) = &arguments.svg {
        write(file, &svg::draw(&report))?;
    }
    super::print_lines(report.text().trim_end())
}

/// Those asked for, or what speech software asks for and what graphs run at.
fn rates(asked: &[Rate]) -> Result<Vec<Rate>> {
    if asked.is_empty() {
        return Ok(vec![Rate::SPEECH, Rate::new(48_000)?]);
    }
    let mut rates = asked.to_vec();
    rates.sort_unstable();
    rates.dedup();
    Ok(rates)
}

fn peers(file: &Path) -> Result<Vec<Spec>> {
    let wrong = |cause: &dyn std::fmt::Display| {
        let message = format!("cannot read receivers from {}: {cause}", file.display());
        Error::new(ErrorKind::Invalid, message)
    };
    let text = files::read(file, LONGEST).map_err(|cause| wrong(&cause))?;
    let specs: Vec<Spec> = serde_json::from_slice(&text).map_err(|cause| wrong(&cause))?;
    for spec in &specs {
        if spec.command.is_empty() && spec.missing.is_none() {
            return Err(wrong(&format!("{} has no command", spec.name)));
        }
        if !(0.0..=60.0).contains(&spec.drain_s) {
            return Err(wrong(&format!("{}: drain_s is not 0 to 60", spec.name)));
        }
    }
    Ok(specs)
}

fn write(file: &Path, text: &str) -> Result<()> {
    files::write(file, text.as_bytes()).map_err(|cause| {
        let message = format!("cannot write {}: {cause}", file.display());
        Error::new(ErrorKind::System, message)
    })
}
