//! `v2m-generate DIRECTORY`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Write v2m-engine's manual pages, completions and default configuration
#[derive(Parser)]
struct Arguments {
    /// Gets man/, completions/ and config.toml
    directory: PathBuf,
}

fn main() -> ExitCode {
    match v2m_generate::generate(&Arguments::parse().directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("v2m-generate: {error}");
            ExitCode::FAILURE
        }
    }
}
