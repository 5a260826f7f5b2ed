//! The control thread: one session with the daemon after the other.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pipewire::context::ContextRc;
use pipewire::link::Link;
use pipewire::loop_::Timeout;
use pipewire::main_loop::MainLoopRc;
use pipewire::properties::PropertiesBox;
use pipewire::proxy::{ProxyListener, ProxyT};

use super::arrival::{Arrival, Patience};
use super::connection::{Asks, Connection, new_context, silent_error, socket_path};
use super::data_thread::{DataThread, Gauges, SCRATCH};
use super::filter::{Failure, Filter};
use super::linker::Linker;
use super::loop_hook::LoopHook;
use super::{Command, Options, Report};
use crate::capture::{Event, Events, Sink};
use crate::quantum::Quantum;
use crate::rt;
use crate::rt::bounded::Calls;
use crate::{Error, ErrorKind, Result, text};
use v2m_pw_filter::Direction;
use v2m_pw_graph::{Inaudible, Volume};

/// A daemon that takes the connection says hello within this; one that can't
/// start lets whoever holds its socket (systemd) take connections all the same.
const HELLO: Duration = Duration::from_secs(3);

/// Tells the clocks of one session from those of another in the same process.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Captures until told to stop.
pub(super) fn control(
    options: Options,
    ingest: Arc<dyn Sink>,
    events: Events,
    report: &Mutex<Report>,
    receiver: pipewire::channel::Receiver<Command>,
    calls: &Calls,
) {
    calls.during("starting libpipewire", pipewire::init);
    let main_loop = match MainLoopRc::new(None) {
        Ok(main_loop) => main_loop,
        Err(error) => {
            events(Event::Lost(format!("libpipewire gives no loop: {error}")));
            return;
        }
    };
    let (sender, commands) = channel();
    let _receiver = receiver.attach(main_loop.loop_(), move |command| {
        let _ = sender.send(command);
    });
    Control {
        main_loop: main_loop.clone(),
        options,
        ingest,
        events,
        report,
        commands,
        ask: false,
        asks: Asks::RealTime,
        calls,
    }
    .run();
}

struct Control<'a> {
    main_loop: MainLoopRc,
    /// As started, then as the commands change them.
    options: Options,
    ingest: Arc<dyn Sink>,
    events: Events,
    report: &'a Mutex<Report>,
    commands: Receiver<Command>,
    /// The daemon is to answer.
    ask: bool,
    /// Whether libpipewire asked for real time.
    asks: Asks,
    calls: &'a Calls,
}

/// Why a session or a pause ended.
enum End {
    Stop,
    Lost(Error),
    Elapsed,
    /// Something happened to the daemon's socket.
    Changed,
}

impl Control<'_> {
    fn run(mut self) {
        let socket = socket_path(self.options.remote.as_deref());
        let mut context = None;
        let mut patience = Patience::new();
        let mut told = false;
        loop {
            let arrival = Arrival::watch(&socket);
            let end = match self.open(&mut context) {
                Ok(mut session) => {
                    let (end, reached) = self.serve(&mut session);
                    if reached {
                        (patience, told) = (Patience::new(), false);
                    }
                    // After a daemon's death nothing of it is used again.
                    self.calls.during("leaving PipeWire", || {
                        drop(session);
                        context = None;
                    });
                    end
                }
                Err(error) => End::Lost(error),
            };
            self.write_report(|report| *report = Report::default());
            let End::Lost(error) = end else { return };
            if !told {
                told = true;
                self.tell(Event::Lost(error.to_string()));
            }
            match self.pause(&arrival, patience.next()) {
                End::Stop => return,
                End::Changed => patience = Patience::new(),
                End::Lost(_) | End::Elapsed => {}
            }
        }
    }

    fn open(&mut self, context: &mut Option<ContextRc>) -> Result<Session> {
        // Without a daemon the context is kept: making one starts threads.
        let context = match context {
            Some(context) => context,
            None => {
                self.asks = if self.calls.during("asking RTKit", rt::hangs) {
                    tracing::warn!("RTKit does not answer: the audio thread gets no real time");
                    Asks::Nothing
                } else {
                    Asks::RealTime
                };
                let loading = "loading libpipewire's modules";
                let made = self
                    .calls
                    .during(loading, || new_context(&self.main_loop, self.asks));
                context.insert(made?)
            }
        };
        let session = self.calls.during("connecting to PipeWire", || {
            Session::open(context, &self.options, self.ingest.clone())
        })?;
        self.write_report(|report| {
            report.gauges = session.gauges.clone();
            report.asks = self.asks == Asks::RealTime;
        });
        Ok(session)
    }

    /// Until something ends the session; and whether the daemon has answered.
    fn serve(&mut self, session: &mut Session) -> (End, bool) {
        let hello = Instant::now() + HELLO;
        let mut reached = false;
        loop {
            match session.turn(&self.options) {
                Ok(Turn::Waiting) => {}
                Ok(Turn::Settled(event)) => {
                    if !std::mem::replace(&mut reached, true) {
                        self.tell(Event::Reached);
                    }
                    self.settled(session, event);
                }
                Err(error) => return (End::Lost(error), reached),
            }
            let inaudible = session.inaudible();
            self.write_report(|report| report.state.inaudible = inaudible);
            let left = hello.saturating_duration_since(Instant::now());
            let timeout = match reached {
                true => Timeout::Infinite,
                false if left.is_zero() => {
                    let error = silent_error(self.options.remote.as_deref(), HELLO);
                    return (End::Lost(error), reached);
                }
                // A millisecond more, as the loop rounds down.
                false => Timeout::Finite(left + Duration::from_millis(1)),
            };
            self.main_loop.loop_().iterate(timeout);
            if let End::Stop = self.obey() {
                return (End::Stop, reached);
            }
            if std::mem::take(&mut self.ask) {
                session.connection.touch();
            }
        }
    }

    fn settled(&self, session: &Session, event: Option<Event>) {
        self.write_report(|report| {
            report.sources = session.connection.graph.sources();
            report.asked = None;
            let state = &mut report.state;
            state.connected = true;
            state.version.clone_from(&session.connection.version);
            state.node = session.node_id();
            match &event {
                Some(Event::Linked(name)) => {
                    (state.linked, state.waiting) = (Some(name.clone()), None);
                }
                Some(Event::Waiting(why)) => {
                    (state.linked, state.waiting) = (None, Some(why.clone()));
                }
                _ => {}
            }
        });
        if let Some(event) = event {
            self.tell(event);
        }
    }

    /// Waits for something to happen to the daemon's socket, at most `length`.
    fn pause(&mut self, arrival: &Arrival, length: Duration) -> End {
        let end = Instant::now() + length;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return End::Elapsed;
            }
            let main_loop = self.main_loop.clone();
            let mut polled = vec![PollFd::new(main_loop.loop_().fd(), PollFlags::POLLIN)];
            let arrives = arrival.descriptor();
            polled.extend(arrives.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            // A millisecond more, as poll rounds down.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1));
            let _ = poll(&mut polled, timeout.unwrap_or(PollTimeout::MAX));
            main_loop.loop_().iterate(Timeout::Finite(Duration::ZERO));
            if let End::Stop = self.obey() {
                return End::Stop;
            }
            if arrival.happened() {
                return End::Changed;
            }
        }
    }

    fn obey(&mut self) -> End {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Source(source) => self.options.source = source,
                Command::Quantum(latency) => self.options.latency = latency,
                Command::Active(active) => self.options.active = active,
                Command::Ask => self.ask = true,
                Command::Stop => return End::Stop,
            }
        }
        End::Elapsed
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more: the engine is stopping.
        (self.events)(event);
    }

    fn write_report(&self, write: impl FnOnce(&mut Report)) {
        write(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a turn of the session came to.
enum Turn {
    Waiting,
    /// The graph was looked at, and this is new.
    Settled(Option<Event>),
}

/// What the filter and the links report from their callbacks.
enum Trouble {
    Filter(Failure),
    Link(u32, String),
}

/// Fields are dropped in this order: the links and the filter before the connection.
struct Session {
    /// The links this engine made, by output port; dropping one removes it.
    links: BTreeMap<u32, (ProxyListener, Link)>,
    /// Of the source that is linked.
    volume: Option<Volume>,
    /// Made when the graph is known: it has a port for each of the source's channels.
    filter: Option<Filter>,
    ports: usize,
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
}

impl Session {
    fn open(context: &ContextRc, options: &Options, ingest: Arc<dyn Sink>) -> Result<Self> {
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
            filter: None,
            ports: 0,
            rest,
            ingest,
            connection,
            linker,
            gauges,
            generation: GENERATION.fetch_add(1, Relaxed),
            troubles,
            sender,
            latency: options.latency,
        })
    }

    /// Makes the node, or makes it again: one that runs takes no more ports.
    fn make_node(&mut self, options: &Options, ports: usize) -> Result<()> {
        self.links.clear();
        self.linker.start_anew();
        self.filter = None;
        // What the node that was there had to say.
        while self.troubles.try_recv().is_ok() {}

        let mut properties = PropertiesBox::new();
        properties.insert("node.name", options.node_name.as_str());
        properties.insert("node.description", "Speech capture");
        properties.insert("application.name", "v2m-engine");
        properties.insert("media.type", "Audio");
        properties.insert("media.category", "Capture");
        properties.insert("media.role", "DSP");
        if let Some(latency) = self.latency {
            properties.insert("node.latency", latency.to_string());
        }
        let mut data_thread = DataThread::new(
            self.ingest.clone(),
            self.gauges.clone(),
            self.generation,
            self.rest.thread(),
            ports,
            options.channels.mixer(ports, SCRATCH)?,
        );
        let failed = self.sender.clone();
        let filter = Filter::new(
            &self.connection.core,
            &options.node_name,
            properties,
            (Direction::In, ports),
            Box::new(move |cycle| data_thread.cycle(cycle)),
            Box::new(move |failure| drop(failed.send(Trouble::Filter(failure)))),
        )?;
        filter.set_active(options.active);
        self.filter = Some(filter);
        self.ports = ports;
        self.connection.touch();
        Ok(())
    }

    /// Takes up what happened, outside of all callbacks.
    fn turn(&mut self, options: &Options) -> Result<Turn> {
        let mut removed = false;
        while let Ok(trouble) = self.troubles.try_recv() {
            match trouble {
                Trouble::Filter(Failure::Removed) => removed = true,
                Trouble::Filter(Failure::Error(why)) => {
                    tracing::warn!(why, "PipeWire reports the node in error");
                }
                Trouble::Link(output, why) => {
                    self.links.remove(&output);
                    self.linker.refused(output, why);
                    self.connection.touch();
                }
            }
        }
        if options.source != *self.linker.source() {
            self.linker.set_source(options.source.clone());
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
        if ports > self.ports {
            self.make_node(options, ports)?;
        }
        let steps = self.linker.decide(&self.connection.graph, self.node_id());
        // Before links come: what is heard is never another source's choice.
        if let Some(names) = &steps.channels {
            options.channels.arrange(names)?;
        }
        for output in steps.destroy {
            self.links.remove(&output);
        }
        for (output, input) in steps.create {
            match self.link(output, input) {
                Ok(link) => drop(self.links.insert(output, link)),
                Err(error) => self.linker.refused(output, error.to_string()),
            }
            self.connection.touch();
        }
        self.listen_to_volume()?;
        Ok(Turn::Settled(steps.event))
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

    /// Why nothing is heard, if the source's volume is why.
    fn inaudible(&self) -> Option<Inaudible> {
        let (volume, (_, name)) = (self.volume.as_ref()?, self.heard()?);
        volume.inaudible(name)
    }

    /// Our node's global id, once the daemon has given it one.
    fn node_id(&self) -> Option<u32> {
        self.filter.as_ref().and_then(Filter::node_id)
    }

    fn link(&self, output: u32, input: u32) -> Result<(ProxyListener, Link)> {
        let mut properties = PropertiesBox::new();
        properties.insert("link.output.port", output.to_string());
        properties.insert("link.input.port", input.to_string());
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
                let _ = sender.send(Trouble::Link(output, text::name(message)));
            })
            .register();
        Ok((listener, link))
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
