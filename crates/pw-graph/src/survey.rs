//! A look at a running daemon: what it is, who manages it, and its default
//! source with its volume.

use pipewire::main_loop::MainLoopRc;

use super::connection::{Asks, Connection, new_context, settle};
use super::source::Source;
use super::volume::{Inaudible, Volume};
use crate::{Error, Result};
use v2m_client::quantum::Quantum;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    pub version: String,
    /// The session manager's name for itself.
    pub session_manager: Option<String>,
    /// What the graph runs at when nobody asks for anything.
    pub graph_default: Quantum,
    /// The source asked about, or why there is none.
    pub source: Result<Found, String>,
}

/// A source in the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As `--source` names it.
    pub name: String,
    /// Its volume, if that is why nothing is heard.
    pub inaudible: Option<Inaudible>,
}

/// Looks at the daemon and at `source` in it; waits a few seconds at most.
///
/// # Errors
/// As [`crate::sources`].
pub fn survey(remote: Option<&str>, source: &Source) -> Result<Survey> {
    pipewire::init();
    let main_loop = MainLoopRc::new(None).map_err(|e| Error::system("no PipeWire loop", e))?;
    let context = new_context(&main_loop, Asks::Nothing)?;
    let mut connection = Connection::open(&context, remote)?;
    settle(&main_loop, &mut connection, remote)?;
    let source = match connection.graph.node_of(source) {
        Err(why) => Err(why),
        Ok((id, name)) => {
            let volume = match connection.graph.is_muted_by_its_volume(id) {
                true => Some(Volume::listen(&connection.registry, id)?),
                false => None,
            };
            connection.touch();
            settle(&main_loop, &mut connection, remote)?;
            let inaudible = volume.and_then(|volume| volume.inaudible(&name));
            Ok(Found { name, inaudible })
        }
    };
    Ok(Survey {
        version: connection.version.clone().unwrap_or_default(),
        session_manager: connection.graph.session_manager().map(str::to_owned),
        graph_default: connection.graph_default,
        source,
    })
}
