//! One session with the daemon: the node, its links, and what is asked of the graph.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::mpsc::{Receiver, Sender, channel};

use pipewire::context::ContextRc;
use pipewire::link::Link;
use pipewire::properties::PropertiesBox;
use pipewire::proxy::{ProxyListener, ProxyT};

use super::Options;
use super::connection::Connection;
use super::data_thread::{DataThread, Gauges};
use super::filter::{Failure, Filter, Recording};
use super::linker::{Ends, Linker};
use super::loop_hook::LoopHook;
use crate::capture::{Event, Sink};
use v2m_client::quantum::Quantum;
use v2m_error::{Error, ErrorKind, Result, text};
use v2m_pw_filter::Direction;
use v2m_pw_filter::stream::StreamVolume;
use v2m_pw_graph::volume::INAUDIBLE;
use v2m_pw_graph::{Inaudible, Source, Volume};

/// Tells the clocks of one session from those of another in the same process.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// What a turn of the session came to.
pub(super) enum Turn {
    Waiting,
    /// The graph was looked at, and this is new.
    Settled(Option<Event>),
}

/// What the filter and the links report from their callbacks.
enum Trouble {
    Filter(Failure),
    Link(Ends, String),
}

/// Fields are dropped in this order: the links and the filter before the connection.
pub(super) struct Session {
    /// The links this engine made; dropping one removes it.
    links: BTreeMap<Ends, (ProxyListener, Link)>,
    /// Of the source that is linked.
    volume: Option<Volume>,
    /// Of the node itself, as the desktop sets it; the same whenever it is made again.
    own_volume: Rc<Cell<StreamVolume>>,
    /// Made when the graph is known: it has a port for each of the source's channels.
    filter: Option<Filter>,
    ports: usize,
    /// Where the user moved the node to, and the id that it had then.
    moved: Option<(u32, Source)>,
    /// Wakes clients.
    rest: LoopHook,
    ingest: Arc<dyn Sink>,
    connection: Connection,
    linker: Linker,
    gauges: Arc<Gauges>,
    generation: u32,
    troubles: Receiver<Trouble>,
    sender: Sender<Trouble>,
    /// What the node asks for now.
    latency: Option<Quantum>,
    /// Of the nodes that one clock drives it is one.
    together: bool,
    /// What the node's text says of who reads.
    readers: String,
}

/// The group of this process's nodes that are read together.
fn together() -> String {
    format!("v2m-engine.{}", std::process::id())
}

/// What the desktop calls the stream.
fn title(readers: &str) -> String {
    match readers {
        "" => "Speech capture".to_owned(),
        readers => format!("Speech capture for {readers}"),
    }
}

impl Session {
    pub(super) fn open(
        context: &ContextRc,
        options: &Options,
        ingest: Arc<dyn Sink>,
    ) -> Result<Self> {
        let connection = Connection::open(context, options.remote.as_deref())?;
        let (sender, troubles) = channel();
        let gauges = Arc::new(Gauges::default());

        let awake = ingest.clone();
        let rest = LoopHook::new(&connection.core, Box::new(move || awake.wake()));
        let selection = options.channels.selection().clone();
        let mut linker = Linker::new(options.source.clone(), selection);
        linker.set_active(options.active);
        Ok(Self {
            links: BTreeMap::new(),
            volume: None,
            own_volume: Rc::default(),
            filter: None,
            ports: 0,
            moved: None,
            rest,
            ingest,
            connection,
            linker,
            gauges,
            generation: GENERATION.fetch_add(1, Relaxed),
            troubles,
            sender,
            latency: options.latency,
            together: options.together,
            readers: options.readers.clone(),
        })
    }

    /// What the node's data thread leaves for others.
    pub(super) fn gauges(&self) -> &Arc<Gauges> {
        &self.gauges
    }

    /// The daemon's version, once it has said hello.
    pub(super) fn version(&self) -> &Option<String> {
        &self.connection.version
    }

    /// Whether the daemon has anything to do with sound.
    pub(super) fn has_audio(&self) -> bool {
        self.connection.graph.has_audio()
    }

    /// Has the daemon answer, and looks at the graph then.
    pub(super) fn touch(&mut self) {
        self.connection.touch();
    }

    /// Why what is asked for isn't there.
    pub(super) fn missing(&self) -> Option<String> {
        self.linker.missing().map(str::to_owned)
    }

    fn drop_node(&mut self) {
        self.links.clear();
        self.linker.start_anew();
        // The id may be given again.
        if let Some((node, _)) = &mut self.moved {
            *node = u32::MAX;
        }
        self.filter = None;
        self.ports = 0;
        // What it had to say last.
        while self.troubles.try_recv().is_ok() {}
    }

    /// Makes the node, or makes it again: one that runs takes no more ports.
    fn make_node(&mut self, options: &Options, ports: usize) -> Result<()> {
        self.drop_node();
        let properties = self.properties(options);
        let mut data_thread = DataThread::new(
            self.ingest.clone(),
            self.gauges.clone(),
            options.unheard.clone(),
            self.generation,
            self.rest.thread(),
            ports,
            options.channels.mixer(ports)?,
        );
        let failed = self.sender.clone();
        let (gauges, own_volume) = (self.gauges.clone(), self.own_volume.clone());
        let filter = Filter::new(
            &self.connection.core,
            &options.node_name,
            properties,
            (Direction::In, ports),
            Box::new(move |cycle| data_thread.cycle(cycle)),
            Box::new(move |failure| drop(failed.send(Trouble::Filter(failure)))),
            Some(Recording {
                rate: self.connection.graph_default.rate,
                volume: self.own_volume.get(),
                changed: Box::new(move |volume| {
                    gauges.gain.set(volume.gain());
                    own_volume.set(volume);
                }),
            }),
        )?;
        filter.set_active(options.active);
        self.filter = Some(filter);
        self.ports = ports;
        self.connection.touch();
        Ok(())
    }

    /// The node as the desktop sees it: a recording stream, which no session manager links,
    /// as the linker does.
    fn properties(&self, options: &Options) -> PropertiesBox {
        let mut properties = PropertiesBox::new();
        properties.insert("node.name", options.node_name.as_str());
        properties.insert("node.description", "Speech capture");
        properties.insert("application.name", "v2m-engine");
        properties.insert("application.icon-name", "audio-input-microphone");
        properties.insert("media.class", "Stream/Input/Audio");
        properties.insert("media.name", title(&self.readers));
        properties.insert("media.type", "Audio");
        properties.insert("media.category", "Capture");
        // What a headset changes its profile for; not for what is played.
        let role = match options.source {
            Source::Default | Source::Node(_) => "Communication",
            Source::DefaultMonitor | Source::Monitor(_) | Source::App(_) => "Production",
        };
        properties.insert("media.role", role);
        properties.insert("node.autoconnect", "false");
        // A move by hand counts for as long as the node is there: what the engine was told
        // to capture decides when it starts.
        properties.insert("state.restore-target", "false");
        if let Some(latency) = self.latency {
            properties.insert("node.latency", latency.to_string());
        }
        if self.together {
            properties.insert("node.group", together());
        }
        properties
    }

    /// Takes up what happened, outside of all callbacks.
    pub(super) fn turn(&mut self, options: &Options) -> Result<Turn> {
        let mut removed = false;
        while let Ok(trouble) = self.troubles.try_recv() {
            match trouble {
                Trouble::Filter(Failure::Removed) => removed = true,
                Trouble::Filter(Failure::Error(why)) => {
                    tracing::warn!(why, "PipeWire reports the node in error");
                }
                Trouble::Link(ends, why) => {
                    self.links.remove(&ends);
                    self.linker.refused(ends, why);
                    self.connection.touch();
                }
            }
        }
        let source = self.moved().unwrap_or_else(|| options.source.clone());
        if source != *self.linker.source() {
            self.linker.set_source(source);
            self.connection.touch();
        }
        if options.active != self.linker.is_active() {
            self.linker.set_active(options.active);
            if let Some(filter) = &self.filter {
                filter.set_active(options.active);
            }
            self.connection.touch();
        }
        self.ask_for(options.latency);
        self.join(options.together);
        self.name_readers(&options.readers);
        // A daemon that goes takes the node along: its own error says more.
        let settled = self.connection.pump()?;
        if removed {
            let message = "the node was removed from PipeWire; it is made again";
            return Err(Error::new(ErrorKind::Device, message));
        }
        if !settled {
            return Ok(Turn::Waiting);
        }

        let ports = self.linker.ports(&self.connection.graph);
        if options.active && ports > self.ports {
            self.make_node(options, ports)?;
        }
        let steps = self.linker.decide(&self.connection.graph, self.node_id());
        // Before links come: what is heard is never another source's choice.
        if let Some(names) = &steps.channels {
            options.channels.arrange(names)?;
        }
        if !steps.destroy.is_empty() || !steps.create.is_empty() {
            self.gauges.links.fetch_add(1, Release);
        }
        for ends in steps.destroy {
            self.links.remove(&ends);
        }
        for ends in steps.create {
            match self.link(ends) {
                Ok(link) => drop(self.links.insert(ends, link)),
                Err(error) => self.linker.refused(ends, error.to_string()),
            }
            self.connection.touch();
        }
        if !options.active && !self.is_linked() {
            // A recording stream that is there is one that records, to the desktop.
            self.drop_node();
        }
        self.note_what_passes_on();
        self.listen_to_volume()?;
        Ok(Turn::Settled(steps.event))
    }

    /// Notes whether what is linked gives out what it is given.
    fn note_what_passes_on(&self) {
        let graph = &self.connection.graph;
        let inputs = self.node_id().into_iter();
        let mut inputs = inputs.flat_map(|node| graph.ports_of(node, Direction::In));
        let output = inputs.find_map(|input| graph.linked_to(input).next());
        let source = output
            .and_then(|output| graph.port(output))
            .map(|port| port.node);
        let passes_on = source.filter(|node| graph.ports_of(*node, Direction::In).next().is_some());
        self.gauges.passes_on.store(passes_on.unwrap_or(0), Relaxed);
    }

    /// Whether a link leads to the node, by whomever.
    fn is_linked(&self) -> bool {
        let graph = &self.connection.graph;
        let inputs = self.node_id().into_iter();
        let mut inputs = inputs.flat_map(|node| graph.ports_of(node, Direction::In));
        inputs.any(|input| graph.linked_to(input).next().is_some())
    }

    /// Where the user moved the node to, if that is still there. A node that is made again
    /// stays where it was put.
    fn moved(&mut self) -> Option<Source> {
        let graph = &self.connection.graph;
        if let Some(id) = self.node_id() {
            if graph.moves.contains_key(&id) {
                self.moved = graph.moved(id).map(|source| (id, source));
            } else {
                // Told of this node before, and taken back since.
                self.moved.take_if(|(node, _)| *node == id);
            }
        }
        let (_, source) = self.moved.as_ref()?;
        graph.node_of(source).ok().map(|_| source.clone())
    }

    /// Listens to the volume of what is linked now.
    fn listen_to_volume(&mut self) -> Result<()> {
        let id = self.heard().map(|(id, _)| id);
        if self.volume.as_ref().map(Volume::id) != id {
            let registry = &self.connection.registry;
            self.volume = id.map(|id| Volume::listen(registry, id)).transpose()?;
        }
        Ok(())
    }

    fn heard(&self) -> Option<(u32, &str)> {
        let graph = &self.connection.graph;
        graph.heard_by(self.node_id()?)
    }

    /// Why nothing is heard, if the source's volume is why, or the node's own.
    pub(super) fn inaudible(&self) -> Option<Inaudible> {
        let own = self.own_volume.get();
        if let Some(id) = self.node_id().filter(|_| own.gain() < INAUDIBLE) {
            return Some(Inaudible {
                name: "the recording stream v2m-engine".to_owned(),
                id,
                muted: own.muted,
            });
        }
        let (volume, (_, name)) = (self.volume.as_ref()?, self.heard()?);
        volume.inaudible(name)
    }

    /// Our node's global id, once the daemon has given it one.
    pub(super) fn node_id(&self) -> Option<u32> {
        self.filter.as_ref().and_then(Filter::node_id)
    }

    fn link(&self, ends: Ends) -> Result<(ProxyListener, Link)> {
        let mut properties = PropertiesBox::new();
        properties.insert("link.output.port", ends.0.to_string());
        properties.insert("link.input.port", ends.1.to_string());
        let link: Link = self
            .connection
            .core
            .create_object("link-factory", &properties)
            .map_err(|e| Error::system("the link can't be made", e))?;
        let sender = self.sender.clone();
        let listener = link
            .upcast_ref()
            .add_listener_local()
            .error(move |_seq, _result, message| {
                let _ = sender.send(Trouble::Link(ends, text::name(message)));
            })
            .register();
        Ok((listener, link))
    }

    /// PipeWire drives the nodes of a group by one of them, with all that they are linked to.
    /// A node can't be without a group again; one of its own is as good.
    fn join(&mut self, wanted: bool) {
        if std::mem::replace(&mut self.together, wanted) == wanted {
            return;
        }
        let group = match wanted {
            true => together(),
            false => format!("{}.{}", together(), self.generation),
        };
        if let (Some(filter), Ok(group)) = (&self.filter, CString::new(group)) {
            filter.set_property(c"node.group", &group);
        }
    }

    /// Desktops show the stream by this text.
    fn name_readers(&mut self, readers: &str) {
        if self.readers == readers {
            return;
        }
        readers.clone_into(&mut self.readers);
        if let (Some(filter), Ok(title)) = (&self.filter, CString::new(title(readers))) {
            filter.set_property(c"media.name", &title);
        }
    }

    /// A node can't take back that it asked for a latency, only ask for another: what
    /// the graph runs at by default is as good as not asking.
    fn ask_for(&mut self, wanted: Option<Quantum>) {
        let latency = match (wanted, self.latency) {
            (None, None) => return,
            (None, Some(_)) => Some(self.connection.graph_default),
            (Some(_), _) => wanted,
        };
        if latency == self.latency {
            return;
        }
        self.latency = latency;
        if let (Some(filter), Some(Ok(value))) =
            (&self.filter, latency.map(|l| CString::new(l.to_string())))
        {
            filter.set_property(c"node.latency", &value);
        }
    }
}
