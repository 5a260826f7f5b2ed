//! Which engine a command listens to: the service, or one of the command's own.

use v2m_engine::client::Connection;
use v2m_engine::config::SourceSpec;
use v2m_engine::ring::Reader;
use v2m_engine::{Error, ErrorKind, Result, text};

/// A connection, its ring, and what is captured.
pub(super) type Reached = (Connection, Reader, String);

/// The service if it runs and captures `source`, if that is asked for; else an engine
/// that ends with this process.
pub(super) fn reach(source: Option<&SourceSpec>) -> Result<Reached> {
    let asked = source.map(ToString::to_string);
    // As a peer's text comes to us.
    let shown = asked
        .as_ref()
        .map(|asked| text::printable(asked, text::MESSAGE));
    let service = Connection::service().and_then(open);
    match service {
        Ok(service) if shown.is_none_or(|shown| shown == service.2) => Ok(service),
        Err(error) if error.kind() != ErrorKind::Unavailable => Err(error),
        _ => {
            let program = std::env::current_exe()
                .map_err(|cause| Error::system("cannot find the engine's program", cause))?;
            let arguments: Vec<String> = asked
                .map(|source| vec!["--source".into(), source])
                .unwrap_or_default();
            open(Connection::private(&program, &arguments)?)
        }
    }
}

fn open(mut connection: Connection) -> Result<Reached> {
    let (ring, source) = connection.open(None)?;
    Ok((connection, ring, source))
}
