//! Which engine a command listens to: the service, or one of the command's own.

use v2m_client::locator::Locator;
use v2m_engine::config::SourceSpec;
use v2m_engine::{Error, Result};

/// The service if it runs, else an engine that ends with this process.
pub(super) fn locator(source: Option<&SourceSpec>) -> Result<Locator> {
    let program = std::env::current_exe()
        .map_err(|cause| Error::system("cannot find the engine's program", cause))?;
    Ok(Locator {
        source: source.map(ToString::to_string),
        program: Some(program),
        ..Locator::default()
    })
}
