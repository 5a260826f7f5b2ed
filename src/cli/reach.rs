//! Which engine a command listens to: the service, or one of the command's own.

use std::sync::Arc;
use std::time::Duration;

use crate::config::SourceSpec;
use v2m_client::engine::Engine;
use v2m_client::locator::Locator;
use v2m_client::quantum::Quantum;
use v2m_error::{Error, Result};

/// For utterances and recordings. The service if it runs, else an engine that ends with this process.
pub(super) fn locator(source: Option<&SourceSpec>) -> Result<Locator> {
    let program = std::env::current_exe()
        .map_err(|cause| Error::system("cannot find the engine's program", cause))?;
    Ok(Locator {
        source: source.map(ToString::to_string),
        program: Some(program),
        latency: Some(Quantum::RELAXED),
        ..Locator::default()
    })
}

/// An engine knows within this whether its source is there.
const KNOWN: Duration = Duration::from_secs(2);

/// Says on standard error what is missing, as soon as the engine knows; it is waited for.
/// One of this process says so itself.
pub(super) fn tell_what_is_missing(engine: &Arc<Engine>) {
    if engine.is_private() {
        return;
    }
    let engine = engine.clone();
    std::thread::spawn(move || {
        if let Some(why) = engine.missing_within(KNOWN) {
            eprintln!("v2m-engine: {why}; waiting for it");
        }
    });
}
