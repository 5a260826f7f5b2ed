//! `v2m-engine doctor`: what the system grants, and what would mend it.

use crate::config::{Config, Layer};
use crate::doctor::{self, CheckStatus, Facts};
use v2m_error::{Error, ErrorKind, Result};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = Config::load(Layer::default())?;
    let checks = doctor::judge(&Facts::gather(&config));
    let report = if arguments.json {
        doctor::json(&checks)
    } else {
        doctor::text(&checks)
    };
    super::print_lines(report.trim_end())?;
    match doctor::worst(&checks) {
        CheckStatus::Broken => Err(Error::new(
            ErrorKind::System,
            "something is broken: see above for what mends it",
        )),
        _ => Ok(()),
    }
}
