//! `v2m-engine sources`: what can be captured, from PipeWire and from ALSA.

use v2m_engine::Result;
use v2m_engine::capture::{alsa, pipewire};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut sources = alsa::sources();
    match pipewire::sources(None) {
        Ok(graph) => drop(sources.splice(0..0, graph)),
        Err(error) if sources.is_empty() => return Err(error),
        Err(error) => eprintln!("v2m-engine: {error}"),
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
            "{mark} {:<width$}  {}",
            source.name, source.description
        ))?;
    }
    Ok(())
}
