//! `v2m-engine sources`: what can be captured, by each backend.

use v2m_engine::Result;
use v2m_engine::capture::KINDS;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut sources = Vec::new();
    let mut failed = None;
    for kind in KINDS {
        match (kind.sources)() {
            Ok(found) => sources.extend(found),
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
            "{mark} {:<width$}  {}",
            source.name, source.description
        ))?;
    }
    Ok(())
}
