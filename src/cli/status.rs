//! `v2m-engine status`: how the running engine is.

use std::fmt::Write;

use v2m_engine::Result;
use v2m_engine::client::Connection;
use v2m_engine::status::Status;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let status = Connection::service()?.status()?;
    if arguments.json {
        super::print_json(&status)
    } else {
        super::print_lines(text(&status).trim_end())
    }
}

fn text(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10} {value}");
    };
    let state = format!("{:?}", status.state).to_lowercase();
    line(
        "engine",
        format!(
            "{} (pid {}), {state}, up {:.0} s",
            status.version, status.pid, status.uptime_s
        ),
    );
    let source = &status.source;
    let captured = source
        .linked
        .as_deref()
        .or(source.waiting.as_deref())
        .unwrap_or("nothing yet");
    line(
        "source",
        format!("{} through {}: {captured}", source.asked, source.backend),
    );
    if source.rate > 0 {
        let quantum = match source.quantum {
            0 => String::new(),
            samples => format!(
                ", quantum {samples} ({:.1} ms)",
                f64::from(samples) * 1000.0 / f64::from(source.rate)
            ),
        };
        line("rate", format!("{} Hz{quantum}", source.rate));
    }
    let seconds = status.ring.position as f64 / 16_000.0;
    line(
        "ring",
        format!(
            "position {} ({seconds:.1} s), keeps {} samples",
            status.ring.position, status.ring.history
        ),
    );
    let lost = &status.losses;
    line(
        "lost",
        format!(
            "{} samples in {} gaps; {} xruns, {} repeats",
            lost.lost_samples, lost.gaps, lost.xruns, lost.repeated
        ),
    );
    line("clients", status.clients.to_string());
    for thread in &status.threads {
        let given = match thread.why_not.is_empty() {
            true => format!("by {}", thread.by),
            false => format!("by {}; {}", thread.by, thread.why_not.join("; ")),
        };
        let (name, role) = (&thread.name, &thread.role);
        line(
            "thread",
            format!(
                "{name} ({role}): {}, asked for {}, {given}",
                thread.got, thread.asked
            ),
        );
    }
    for grant in &status.grants {
        let answer = grant.why_not.as_deref().unwrap_or("granted");
        line("asked", format!("{}: {answer}", grant.asked));
    }
    for degraded in &status.degraded {
        line("degraded", degraded.clone());
    }
    out
}
