//! `v2m-engine sources`: what can be captured, by each backend.

use crate::capture::{KINDS, SourceInfo};
use v2m_error::Result;
use v2m_error::text::counted;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut sources: Vec<SourceInfo> = Vec::new();
    let mut failed = None;
    for kind in KINDS {
        match (kind.sources)() {
            Ok(mut found) => {
                // One is captured when nothing else is asked for: that of the first who has one.
                if sources.iter().any(|source| source.default) {
                    found.iter_mut().for_each(|source| source.default = false);
                }
                sources.extend(found);
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if sources.is_empty() => return Err(error),
        Some(error) => eprintln!("v2m-engine: {error}"),
        None => {}
    }
    if arguments.json {
        return super::print_json(&sources);
    }
    if sources.is_empty() {
        return super::print_lines("no sources: neither PipeWire nor ALSA knows a microphone");
    }
    let width = sources
        .iter()
        .map(|source| source.name.chars().count())
        .max()
        .unwrap_or(0);
    for source in sources {
        let mark = if source.default { '*' } else { ' ' };
        super::print_lines(&format!(
            "{mark} {:<width$}  {}{}",
            source.name,
            source.description,
            details(&source)
        ))?;
    }
    Ok(())
}

/// ` (2 channels, 48000 Hz, muted)`, as far as it is known.
fn details(source: &SourceInfo) -> String {
    let channels = source.channels.map(|channels| counted(channels, "channel"));
    let rate = source.rate.map(|rate| format!("{rate} Hz"));
    let muted = source.muted.then(|| "muted".to_owned());
    let known: Vec<String> = [channels, rate, muted].into_iter().flatten().collect();
    match known.is_empty() {
        true => String::new(),
        false => format!(" ({})", known.join(", ")),
    }
}
