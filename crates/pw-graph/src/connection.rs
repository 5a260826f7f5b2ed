//! A connection to the daemon: keeps the graph as the registry tells it, and knows
//! when a change has been told completely.
//!
//! Callbacks only queue what they heard. It is taken up by [`Connection::pump`],
//! outside of every callback, so proxies are never freed inside their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use libspa::utils::dict::DictRef;
use libspa::utils::result::AsyncSeq;
use pipewire::context::ContextRc;
use pipewire::core::{CoreRc, Listener as CoreListener, PW_ID_CORE};
use pipewire::loop_::Timeout;
use pipewire::main_loop::MainLoopRc;
use pipewire::metadata::{Metadata, MetadataListener};
use pipewire::properties::PropertiesBox;
use pipewire::registry::{GlobalObject, Listener as RegistryListener, RegistryRc};
use pipewire::types::ObjectType;

use super::graph::{Graph, Link, Node, Object, Port};
use crate::{Error, ErrorKind, Result};
use v2m_client::quantum::Quantum;
use v2m_error::text;
use v2m_pw_filter::filter::{library_version, realtime_config};
use v2m_pw_filter::{Direction, Version};

/// How long the daemon may take for each answer.
const PATIENCE: Duration = Duration::from_secs(2);

enum Note {
    Added(u32, Object),
    Gone(u32),
    Metadata(GlobalObject<PropertiesBox>),
    DefaultSource(Option<String>),
    DefaultSink(Option<String>),
    Moved(u32, Option<String>),
    GraphQuantum(u32),
    GraphRate(u32),
    Version(String),
    Done(AsyncSeq),
    Lost(String),
}

/// Fields are dropped in this order: listeners before what they listen to, and
/// every proxy before the core, which would free it.
pub struct Connection {
    metadata: Vec<(MetadataListener, Metadata)>,
    _registry_listener: RegistryListener,
    /// What the daemon announces and lets bind.
    pub registry: RegistryRc,
    _core_listener: CoreListener,
    pub core: CoreRc,
    notes: Receiver<Note>,
    sender: Sender<Note>,
    /// As far as it has been told; complete when [`pump`](Self::pump) says so.
    pub graph: Graph,
    /// What the graph runs at when no node asks for anything.
    pub graph_default: Quantum,
    /// The daemon's version, once it has said hello.
    pub version: Option<String>,
    dirty: bool,
    sync: Option<AsyncSeq>,
}

/// Whether libpipewire asks for real time for its data thread: by the limits or RTKit, for
/// which it waits without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    RealTime,
    Nothing,
}

/// A context for connections; without a daemon it can be kept and tried again.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if libpipewire is too old, [`ErrorKind::System`] if it can't start.
pub fn new_context(main_loop: &MainLoopRc, asks: Asks) -> Result<ContextRc> {
    check(library_version())?;
    let mut properties = PropertiesBox::new();
    if asks == Asks::RealTime {
        properties.insert("config.name", realtime_config());
    } else {
        properties.insert("config.name", "client.conf");
        // Where that configuration asks, it asks on this condition.
        properties.insert("module.rt", "false");
    }
    properties.insert("application.name", "v2m-engine");
    ContextRc::new(main_loop, Some(properties)).map_err(|_| {
        let cause = std::io::Error::last_os_error();
        Error::system(
            "libpipewire can't start, is the package libpipewire-0.3-modules there",
            cause,
        )
    })
}

/// Whether the library can be used at all.
fn check(library: Version) -> Result<()> {
    if library >= Version::OLDEST {
        return Ok(());
    }
    let message = format!(
        "libpipewire {library} is too old, {} or newer is needed; take a newer release of the \
         distribution{INSTEAD}",
        Version::OLDEST
    );
    Err(Error::new(ErrorKind::Unavailable, message))
}

impl Connection {
    /// Connects to the daemon; `remote` is a socket's name or path, the usual one if `None`.
    pub fn open(context: &ContextRc, remote: Option<&str>) -> Result<Self> {
        let properties = remote.map(|name| {
            let mut properties = PropertiesBox::new();
            properties.insert("remote.name", name);
            properties
        });
        let unreachable = |_| unreachable_error(remote, &std::io::Error::last_os_error());
        let core = context.connect_rc(properties).map_err(unreachable)?;
        let (sender, notes) = channel();

        let (info, done, error) = (sender.clone(), sender.clone(), sender.clone());
        let core_listener = core
            .add_listener_local()
            .info(move |core| tell(&info, Note::Version(text::name(core.version()))))
            .done(move |id, seq| {
                if id == PW_ID_CORE {
                    tell(&done, Note::Done(seq));
                }
            })
            .error(move |id, _seq, result, message| {
                if id == PW_ID_CORE && result == -libc::EPIPE {
                    tell(&error, Note::Lost(message.to_owned()));
                } else {
                    // Such as destroying what the daemon has destroyed itself.
                    tracing::debug!(id, result, message, "PipeWire reports an error");
                }
            })
            .register();

        let registry = core.get_registry_rc().map_err(unreachable)?;
        let (added, gone) = (sender.clone(), sender.clone());
        let registry_listener = registry
            .add_listener_local()
            .global(move |global| {
                if let Some(note) = read_global(global) {
                    tell(&added, note);
                }
            })
            .global_remove(move |id| tell(&gone, Note::Gone(id)))
            .register();

        Ok(Self {
            metadata: Vec::new(),
            _registry_listener: registry_listener,
            registry,
            _core_listener: core_listener,
            core,
            notes,
            sender,
            graph: Graph::default(),
            graph_default: Quantum {
                samples: 1024,
                rate: 48000,
            },
            version: None,
            dirty: true,
            sync: None,
        })
    }

    /// Something was asked of the daemon: settle again when it is done.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// Takes up what was heard. True when the graph has settled: everything the
    /// daemon did before is in it, so that a decision can be made.
    pub fn pump(&mut self) -> Result<bool> {
        let mut settled = false;
        while let Ok(note) = self.notes.try_recv() {
            match note {
                Note::Added(id, object) => {
                    self.graph.add(id, object);
                    self.dirty = true;
                }
                Note::Gone(id) => self.dirty |= self.graph.remove(id),
                Note::Metadata(global) => {
                    self.bind(&global);
                    self.dirty = true;
                }
                Note::DefaultSource(name) => {
                    self.graph.default_source = name;
                    self.dirty = true;
                }
                Note::DefaultSink(name) => {
                    self.graph.default_sink = name;
                    self.dirty = true;
                }
                Note::Moved(node, target) => {
                    match target {
                        Some(target) => drop(self.graph.moves.insert(node, target)),
                        None => drop(self.graph.moves.remove(&node)),
                    }
                    self.dirty = true;
                }
                Note::GraphQuantum(frames) => {
                    self.graph_default.samples = frames;
                    self.dirty = true;
                }
                Note::GraphRate(rate) => {
                    self.graph_default.rate = rate;
                    self.dirty = true;
                }
                Note::Version(version) => self.version = Some(version),
                Note::Done(seq) if self.sync == Some(seq) => {
                    self.sync = None;
                    settled = true;
                }
                Note::Done(_) => {}
                Note::Lost(message) => {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        format!("the connection to PipeWire broke: {message}"),
                    ));
                }
            }
        }
        if self.dirty && self.sync.is_none() {
            self.dirty = false;
            let refused = |e| Error::system("PipeWire takes no request", e);
            self.sync = Some(self.core.sync(0).map_err(refused)?);
            settled = false;
        }
        Ok(settled)
    }

    fn bind(&mut self, global: &GlobalObject<PropertiesBox>) {
        let metadata: Metadata = match self.registry.bind(global) {
            Ok(metadata) => metadata,
            Err(error) => {
                tracing::warn!(%error, "PipeWire's metadata can't be read; the default source is guessed");
                return;
            }
        };
        let sender = self.sender.clone();
        let listener = metadata
            .add_listener_local()
            .property(move |subject, key, _type, value| {
                if let Some(note) = read_property(subject, key, value) {
                    tell(&sender, note);
                }
                0
            })
            .register();
        self.metadata.push((listener, metadata));
    }
}

/// Whether a running daemon has a node of this name that has ports already; waits 2 s at
/// most.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if the daemon can't be reached, [`ErrorKind::Timeout`]
/// if it does not answer.
pub fn has_ports(remote: Option<&str>, node: &str) -> Result<bool> {
    look(remote, |graph| {
        let mut ports = [Direction::In, Direction::Out].into_iter();
        let node = graph.node_named(node);
        node.is_some_and(|node| ports.any(|way| graph.ports_of(node, way).next().is_some()))
    })
}

/// Connects, waits until the graph has been told completely, and looks at it.
fn look<T>(remote: Option<&str>, at: impl FnOnce(&Graph) -> T) -> Result<T> {
    pipewire::init();
    let main_loop = MainLoopRc::new(None).map_err(|e| Error::system("no PipeWire loop", e))?;
    let context = new_context(&main_loop, Asks::Nothing)?;
    let mut connection = Connection::open(&context, remote)?;
    settle(&main_loop, &mut connection, remote)?;
    Ok(at(&connection.graph))
}

/// Until the daemon has told everything that it was asked.
pub(crate) fn settle(
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

fn tell(sender: &Sender<Note>, note: Note) {
    // Fails only while the connection is being dropped.
    let _ = sender.send(note);
}

fn read_global(global: &GlobalObject<&DictRef>) -> Option<Note> {
    let properties = global.props?;
    let text = |key| text::name(properties.get(key).unwrap_or_default());
    let number = |key: &str| properties.get(key).and_then(|v| v.parse::<u32>().ok());
    let serial = properties.get("object.serial").and_then(|v| v.parse().ok());
    let serial = serial.unwrap_or(u64::from(global.id)); // daemons before 0.3.42
    let object = match global.type_ {
        ObjectType::Node => Object::Node(Node {
            serial,
            name: text("node.name"),
            description: text(match properties.get("node.description") {
                Some(_) => "node.description",
                None => "node.name",
            }),
            nick: text("node.nick"),
            program: text("application.name"),
            client: number("client.id"),
            class: text("media.class"),
            priority: properties
                .get("priority.session")
                .and_then(|v| v.parse().ok())
                .unwrap_or_default(),
        }),
        ObjectType::Port => Object::Port(Port {
            serial,
            node: number("node.id")?,
            direction: match properties.get("port.direction")? {
                "in" => Direction::In,
                _ => Direction::Out,
            },
            dsp: properties.get("format.dsp") == Some("32 bit float mono audio"),
            index: number("port.id").unwrap_or(0),
            channel: text("audio.channel"),
        }),
        ObjectType::Link => Object::Link(Link {
            output: number("link.output.port")?,
            input: number("link.input.port")?,
        }),
        ObjectType::Client => Object::Client(text("application.name")),
        ObjectType::Metadata
            if matches!(
                properties.get("metadata.name"),
                Some("default" | "settings")
            ) =>
        {
            return Some(Note::Metadata(global.to_owned()));
        }
        _ => return None,
    };
    Some(Note::Added(global.id, object))
}

/// A property of the metadata `default` or `settings`; no key means all of them went.
fn read_property(subject: u32, key: Option<&str>, value: Option<&str>) -> Option<Note> {
    let number = || value?.parse().ok().filter(|n| *n > 0);
    if subject != 0 {
        let target = value.map(|value| text::name(value.trim_matches('"')));
        return matches!(key, None | Some("target.object")).then(|| Note::Moved(subject, target));
    }
    match key {
        None => Some(Note::DefaultSource(None)),
        Some("default.audio.source") => Some(Note::DefaultSource(value.and_then(node_name))),
        Some("default.audio.sink") => Some(Note::DefaultSink(value.and_then(node_name))),
        Some("clock.quantum") => number().map(Note::GraphQuantum),
        Some("clock.rate") => number().map(Note::GraphRate),
        Some(_) => None,
    }
}

/// The name in `{"name": "alsa_input.usb"}`.
fn node_name(json: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    Some(text::name(value.get("name")?.as_str()?))
}

/// A daemon takes the connection and says nothing.
pub fn silent_error(remote: Option<&str>, waited: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!(
            "PipeWire at {} does not answer within {} s; restart it with \
             systemctl --user restart pipewire",
            socket_paths(remote)[0].display(),
            waited.as_secs()
        ),
    )
}

/// Where a daemon for the whole system listens.
const SYSTEM: &str = "/run/pipewire";

/// Where libpipewire looks for the daemon's socket: first the session's, then that of a daemon
/// for the whole system.
pub fn socket_paths(remote: Option<&str>) -> Vec<PathBuf> {
    let name = set("PIPEWIRE_REMOTE")
        .or_else(|| remote.map(Into::into))
        .unwrap_or_else(|| "pipewire-0".into());
    let session = runtime_directory().map(|directory| Path::new(&directory).join(&name));
    let mut paths: Vec<PathBuf> = session.into_iter().collect();
    paths.push(Path::new(SYSTEM).join(&name));
    paths.dedup();
    paths
}

fn runtime_directory() -> Option<OsString> {
    set("PIPEWIRE_RUNTIME_DIR").or_else(|| set("XDG_RUNTIME_DIR"))
}

fn set(key: &str) -> Option<OsString> {
    std::env::var_os(key).filter(|value| !value.is_empty())
}

/// What else can be done where PipeWire can't be reached.
const INSTEAD: &str = match cfg!(feature = "alsa") {
    true => ", or capture from ALSA with --source alsa:default",
    false => "",
};

fn unreachable_error(remote: Option<&str>, cause: &std::io::Error) -> Error {
    let cause = match cause.raw_os_error() {
        // libpipewire's way to say ENOENT.
        Some(libc::EHOSTDOWN | libc::ENOENT) => "no daemon listens there".to_owned(),
        _ => cause.to_string(),
    };
    let path = &socket_paths(remote)[0];
    let absolute = remote.is_some_and(|remote| remote.starts_with('/'));
    let message = match runtime_directory() {
        // What is not known is not said: a session's PipeWire may well run.
        None if !absolute => format!(
            "PipeWire can't be reached: XDG_RUNTIME_DIR is not set, which says \
             where the session's is (sudo, su and cron lose it); set it with \
             export XDG_RUNTIME_DIR=/run/user/$(id -u){INSTEAD}"
        ),
        _ => format!(
            "PipeWire can't be reached at {}: {cause}; start it with \
             systemctl --user start pipewire{INSTEAD}",
            path.display()
        ),
    };
    Error::new(ErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_default_source_from_its_json() {
        assert_eq!(
            node_name(r#"{ "name": "alsa_input.usb" }"#).as_deref(),
            Some("alsa_input.usb")
        );
        assert_eq!(node_name("{}"), None);
        assert_eq!(node_name("alsa_input.usb"), None);
    }

    #[test]
    fn a_library_that_is_too_old_is_refused_by_its_version() {
        for old in ["0.3.6", "0.3.19", "0.3.47", "0.2.7"] {
            let error = check(old.into()).unwrap_err().to_string();
            assert!(error.contains(old) && error.contains("0.3.48"), "{error}");
        }
        for new in ["0.3.48", "0.3.65", "0.3.100", "1.0.0", "1.6.9"] {
            assert!(check(new.into()).is_ok(), "{new}");
        }
    }

    #[test]
    fn a_missing_daemon_is_named_by_its_socket() {
        let error = has_ports(Some("/nonexistent/pipewire-7"), "mic").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.to_string().contains("/nonexistent/pipewire-7"),
            "{error}"
        );
        assert!(
            error.to_string().contains("no daemon listens there"),
            "{error}"
        );
    }
}
