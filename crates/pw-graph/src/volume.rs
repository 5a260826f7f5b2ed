//! A node's volume as the desktop sets it: whether it is muted or turned down to nothing,
//! as it changes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use libspa::param::ParamType;
use libspa::pod::deserialize::PodDeserializer;
use libspa::pod::{Pod, Value, ValueArray};
use libspa_sys as spa_sys;
use pipewire::node::{Node, NodeListener};
use pipewire::permissions::PermissionFlags;
use pipewire::properties::PropertiesBox;
use pipewire::registry::{GlobalObject, RegistryRc};
use pipewire::types::ObjectType;

use crate::{Error, Result};

/// A factor that leaves nothing to hear: -80 dB.
pub const INAUDIBLE: f32 = 1e-4;

/// What one of a node's sets of properties says of its volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Says {
    muted: bool,
    turned_down: bool,
}

/// Nothing is heard of a source, as its volume says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inaudible {
    pub name: String,
    pub id: u32,
    /// It is muted; else its volume is zero.
    pub muted: bool,
}

impl Inaudible {
    /// One line: what it is.
    pub fn text(&self) -> String {
        match self.muted {
            true => format!("{} is muted: nothing is heard", self.name),
            false => format!("the volume of {} is zero: nothing is heard", self.name),
        }
    }

    /// One line: the command that mends it.
    pub fn remedy(&self) -> String {
        match self.muted {
            true => format!("wpctl set-mute {} 0", self.id),
            false => format!("wpctl set-volume {} 100%", self.id),
        }
    }
}

/// A node whose volume is listened to. Fields are dropped in this order: the listener
/// before what it listens to.
pub struct Volume {
    _listener: NodeListener,
    _node: Node,
    id: u32,
    /// A node may have several sets of properties: its own and its converter's.
    says: Rc<RefCell<BTreeMap<u32, Says>>>,
}

impl Volume {
    /// Asks for the volume of the node with this id, now and whenever it changes: the answer
    /// is there when the daemon has said everything, see [`Connection::touch`].
    ///
    /// [`Connection::touch`]: super::connection::Connection::touch
    pub fn listen(registry: &RegistryRc, id: u32) -> Result<Self> {
        let global = GlobalObject {
            id,
            permissions: PermissionFlags::empty(),
            type_: ObjectType::Node,
            version: 3,
            props: None::<PropertiesBox>,
        };
        let refused = |error| Error::system("PipeWire shows nothing of its source", error);
        let node: Node = registry.bind(&global).map_err(refused)?;
        let says = Rc::new(RefCell::new(BTreeMap::new()));
        let heard = says.clone();
        let listener = node
            .add_listener_local()
            .param(move |_, kind, index, _, pod| {
                if let (ParamType::Props, Some(now)) = (kind, pod.and_then(read)) {
                    heard.borrow_mut().insert(index, now);
                }
            })
            .register();
        node.subscribe_params(&[ParamType::Props]);
        Ok(Self {
            _listener: listener,
            _node: node,
            id,
            says,
        })
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether nothing is heard of the node.
    pub fn is_inaudible(&self) -> bool {
        let says = self.says.borrow();
        says.values().any(|says| says.muted || says.turned_down)
    }

    /// Why nothing is heard of the node, whose name is `name`, if the volume is why.
    pub fn inaudible(&self, name: &str) -> Option<Inaudible> {
        let says = self.says.borrow();
        let muted = says.values().any(|says| says.muted);
        let turned_down = says.values().any(|says| says.turned_down);
        (muted || turned_down).then(|| Inaudible {
            name: name.to_owned(),
            id: self.id,
            muted,
        })
    }
}

/// `None` if the properties say nothing of a volume.
fn read(pod: &Pod) -> Option<Says> {
    let (_, value) = PodDeserializer::deserialize_any_from(pod.as_bytes()).ok()?;
    let Value::Object(object) = value else {
        return None;
    };
    let mut says: Option<Says> = None;
    for property in object.properties {
        match (property.key, property.value) {
            (spa_sys::SPA_PROP_mute | spa_sys::SPA_PROP_softMute, Value::Bool(muted)) => {
                says.get_or_insert_default().muted |= muted;
            }
            (spa_sys::SPA_PROP_volume, Value::Float(volume)) => {
                says.get_or_insert_default().turned_down |= volume < INAUDIBLE;
            }
            (spa_sys::SPA_PROP_channelVolumes, Value::ValueArray(ValueArray::Float(volumes))) => {
                let inaudible = volumes.iter().all(|volume| *volume < INAUDIBLE);
                says.get_or_insert_default().turned_down |= inaudible && !volumes.is_empty();
            }
            _ => {}
        }
    }
    says
}
