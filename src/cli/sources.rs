//! `v2m-engine sources`: what can be captured.

use v2m_engine::Result;
use v2m_engine::capture::pipewire;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let sources = pipewire::sources(None)?;
    if arguments.json {
        return super::print_json(&sources);
    }
    if sources.is_empty() {
        return super::print_lines(
            "no sources: PipeWire knows no microphone and no sink to monitor",
        );
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
