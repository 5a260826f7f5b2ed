//! A look at a running daemon: what it is, who manages it, and its default
//! source, with the properties that only the source itself knows.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use libspa::param::ParamType;
use libspa::pod::deserialize::PodDeserializer;
use libspa::pod::{Pod, Value, ValueArray};
use libspa_sys as spa_sys;
use pipewire::loop_::Timeout;
use pipewire::main_loop::MainLoopRc;
use pipewire::node::Node;
use pipewire::permissions::PermissionFlags;
use pipewire::properties::PropertiesBox;
use pipewire::registry::GlobalObject;
use pipewire::types::ObjectType;

use super::connection::{Connection, new_context, silent_error};
use super::graph::Source;
use crate::{Error, Result};
use v2m_client::latency::Latency;

/// How long the daemon may take for each answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a daemon says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Its version.
    pub version: String,
    /// The session manager's name for itself.
    pub session_manager: Option<String>,
    /// What the graph runs at when nobody asks for anything.
    pub graph_default: Latency,
    /// The source asked about, or why there is none.
    pub source: Result<Found, String>,
}

/// A source in the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As `--source` names it.
    pub name: String,
    /// Muted, or its volume is zero; `None` if it doesn't say.
    pub muted: Option<bool>,
}

/// Looks at the daemon and at `source` in it; waits a few seconds at most.
///
/// # Errors
/// As [`crate::sources`].
pub fn survey(remote: Option<&str>, source: &Source) -> Result<Survey> {
    pipewire::init();
    let main_loop = MainLoopRc::new(None).map_err(|e| Error::system("no PipeWire loop", e))?;
    let context = new_context(&main_loop)?;
    let mut connection = Connection::open(&context, remote)?;
    settle(&main_loop, &mut connection, remote)?;
    let source = match connection.graph.node_of(source) {
        Err(why) => Err(why),
        Ok((id, name)) => Ok(Found {
            name,
            muted: muted(&main_loop, &mut connection, remote, id)?,
        }),
    };
    Ok(Survey {
        version: connection.version.clone().unwrap_or_default(),
        session_manager: connection.graph.session_manager().map(str::to_owned),
        graph_default: connection.graph_default,
        source,
    })
}

/// Until the daemon has told everything that it was asked.
pub fn settle(
    main_loop: &MainLoopRc,
    connection: &mut Connection,
    remote: Option<&str>,
) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !connection.pump()? {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(silent_error(remote, PATIENCE));
        }
        // A millisecond more, as the loop rounds down.
        let timeout = Timeout::Finite(left + Duration::from_millis(1));
        main_loop.loop_().iterate(timeout);
    }
    Ok(())
}

fn muted(
    main_loop: &MainLoopRc,
    connection: &mut Connection,
    remote: Option<&str>,
    id: u32,
) -> Result<Option<bool>> {
    let global = GlobalObject {
        id,
        permissions: PermissionFlags::empty(),
        type_: ObjectType::Node,
        version: 3,
        props: None::<PropertiesBox>,
    };
    let refused = |e| Error::system("PipeWire shows nothing of its source", e);
    let node: Node = connection.registry.bind(&global).map_err(refused)?;
    let answer = Rc::new(Cell::new(None));
    let heard = answer.clone();
    let listener = node
        .add_listener_local()
        .param(move |_, kind, _, _, pod| {
            if let (ParamType::Props, Some(says)) = (kind, pod.and_then(says_muted)) {
                heard.set(Some(heard.get().unwrap_or(false) || says));
            }
        })
        .register();
    node.enum_params(0, Some(ParamType::Props), 0, u32::MAX);
    connection.touch();
    settle(main_loop, connection, remote)?;
    drop(listener);
    Ok(answer.get())
}

/// Whether properties say that nothing is heard; `None` if they say nothing of it.
fn says_muted(pod: &Pod) -> Option<bool> {
    let (_, value) = PodDeserializer::deserialize_any_from(pod.as_bytes()).ok()?;
    let Value::Object(object) = value else {
        return None;
    };
    let says =
        object
            .properties
            .iter()
            .filter_map(|property| match (property.key, &property.value) {
                (spa_sys::SPA_PROP_mute | spa_sys::SPA_PROP_softMute, Value::Bool(muted)) => {
                    Some(*muted)
                }
                (
                    spa_sys::SPA_PROP_channelVolumes,
                    Value::ValueArray(ValueArray::Float(volumes)),
                ) => Some(!volumes.is_empty() && volumes.iter().all(|volume| *volume == 0.0)),
                _ => None,
            });
    says.reduce(|one, other| one || other)
}
