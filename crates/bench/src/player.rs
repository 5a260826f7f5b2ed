//! The other direction: a node that plays into another one's ports, for measuring what
//! becomes of what was played.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use pipewire::link::Link;
use pipewire::loop_::Timeout;
use pipewire::main_loop::MainLoopRc;
use pipewire::properties::PropertiesBox;

use v2m_error::{Error, ErrorKind, Result};
use v2m_pw_filter::Direction;
use v2m_pw_filter::filter::{Cycle, Failure, Filter};
use v2m_pw_graph::connection::{Asks, Connection, new_context};
use v2m_pw_graph::{Graph, Source};
use v2m_rt::{self as rt, Scheduling};

/// The longest cycle that is played; what is longer stays silent.
const SCRATCH: usize = 8192;
/// How long a node and its ports may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into every input port of the node of this name.
    Node(String),
    /// Into the sink that the session plays to.
    DefaultSink,
    /// Into whatever links itself to this node, which shows itself as a source.
    Whoever,
}

#[derive(Clone, Debug)]
pub struct PlayerOptions {
    /// The node's name, as other programs see it.
    pub node_name: String,
    pub into: Destination,
    /// The daemon's socket, by name or path; `None` is the session's.
    pub remote: Option<String>,
}

/// The cycle that is being filled.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The graph's samples per second.
    pub rate: u32,
    /// The driver's count at the cycle's start.
    pub position: u64,
    pub clock_id: u32,
    /// CLOCK_MONOTONIC nanoseconds of the driver's wake-up for this cycle.
    pub wake_ns: i64,
}

/// Called for every cycle on PipeWire's data thread, with silence to write into: no
/// allocation, lock, log or system call.
pub type Fill = Box<dyn FnMut(Moment, &mut [f32]) + Send>;

/// A node that plays; dropping it removes it.
pub struct Player {
    stop: pipewire::channel::Sender<()>,
    shared: Arc<Shared>,
    control: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    tid: AtomicI32,
    lost: AtomicBool,
}

impl fmt::Debug for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Player").finish_non_exhaustive()
    }
}

impl Player {
    /// Starts to play; returns once it is linked.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] without a daemon, [`ErrorKind::Device`] if there is
    /// nothing to play into within five seconds.
    pub fn start(options: PlayerOptions, fill: Fill) -> Result<Self> {
        let (stop, stopped) = pipewire::channel::channel();
        let (tell, linked) = channel();
        let shared = Arc::new(Shared::default());
        let seen = shared.clone();
        let control = Builder::new()
            .name("v2m-player".to_owned())
            .spawn(move || {
                if let Err(error) = control(&options, fill, &seen, &tell, stopped) {
                    seen.lost.store(true, Relaxed);
                    let _ = tell.send(Err(error));
                }
            })
            .map_err(|e| Error::system("can't start the player's thread", e))?;
        let player = Self {
            stop,
            shared,
            control: Some(control),
        };
        match linked.recv() {
            Ok(result) => result.map(|()| player),
            Err(_) => Err(Error::system("the player ended", "no reason given")),
        }
    }

    /// How the thread that plays is scheduled, once it has played.
    pub fn scheduling(&self) -> Option<Scheduling> {
        match self.shared.tid.load(Relaxed) {
            0 => None,
            tid => rt::inspect(tid),
        }
    }

    /// Whether PipeWire or the node went away.
    pub fn is_lost(&self) -> bool {
        self.shared.lost.load(Relaxed)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Fails only if the thread has ended already.
        let _ = self.stop.send(());
        if let Some(control) = self.control.take()
            && control.join().is_err()
        {
            tracing::error!("the player's thread panicked");
        }
    }
}

fn control(
    options: &PlayerOptions,
    mut fill: Fill,
    shared: &Arc<Shared>,
    tell: &Sender<Result<()>>,
    stopped: pipewire::channel::Receiver<()>,
) -> Result<()> {
    pipewire::init();
    let main_loop = MainLoopRc::new(None).map_err(|e| Error::system("no PipeWire loop", e))?;
    let stop = std::rc::Rc::new(std::cell::Cell::new(false));
    let stopping = stop.clone();
    let _stopped = stopped.attach(main_loop.loop_(), move |()| stopping.set(true));
    let context = new_context(&main_loop, Asks::RealTime)?;
    let mut connection = Connection::open(&context, options.remote.as_deref())?;

    let mut scratch = vec![0.0_f32; SCRATCH].into_boxed_slice();
    let thread = shared.clone();
    let process = move |cycle: &Cycle<'_>| {
        if thread.tid.load(Relaxed) == 0 {
            thread.tid.store(nix::unistd::gettid().as_raw(), Relaxed);
        }
        let Some(samples) = cycle.ports.first().copied().flatten() else {
            return;
        };
        let scratch = &mut scratch[..samples.len().min(SCRATCH)];
        scratch.fill(0.0);
        let moment = Moment {
            rate: cycle.rate,
            position: cycle.position,
            clock_id: cycle.clock_id,
            wake_ns: i64::try_from(cycle.nsec).unwrap_or(i64::MAX),
        };
        fill(moment, scratch);
        for (to, from) in samples.iter().zip(&*scratch) {
            to.store(from.to_bits(), Relaxed);
        }
    };
    let (failed, failures) = channel();
    let filter = Filter::new(
        &connection.core,
        &options.node_name,
        properties(options),
        (Direction::Out, 1),
        Box::new(process),
        Box::new(move |failure| drop(failed.send(failure))),
        None,
    )?;

    let mut links: BTreeMap<u32, Link> = BTreeMap::new();
    let mut told = false;
    let deadline = Instant::now() + PATIENCE;
    while !stop.get() {
        if connection.pump()? {
            let graph = &connection.graph;
            let own = filter.node_id();
            let output = own.and_then(|node| graph.ports_of(node, Direction::Out).next());
            let inputs = target(graph, &options.into);
            let made = |input| output.is_some_and(|o| graph.linked_to(input).any(|l| l == o));
            let there = match options.into {
                Destination::Whoever => output.is_some(),
                _ => !inputs.is_empty() && inputs.iter().all(|input| made(*input)),
            };
            if there && !told {
                told = true;
                let _ = tell.send(Ok(()));
            }
            links.retain(|input, _| inputs.contains(input));
            if let Some(output) = output {
                for input in inputs {
                    if let Entry::Vacant(free) = links.entry(input) {
                        free.insert(link(&connection, output, input)?);
                        connection.touch();
                    }
                }
            }
        }
        gone(&failures)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if !told && left.is_zero() {
            return Err(missing(&options.into));
        }
        main_loop.loop_().iterate(match told {
            true => Timeout::Infinite,
            false => Timeout::Finite(left + Duration::from_millis(1)),
        });
    }
    Ok(())
}

fn properties(options: &PlayerOptions) -> PropertiesBox {
    let mut properties = PropertiesBox::new();
    properties.insert("node.name", options.node_name.as_str());
    properties.insert("node.description", "Test impulses");
    properties.insert("application.name", "v2m-engine");
    properties.insert("media.type", "Audio");
    properties.insert("media.category", "Playback");
    properties.insert("media.role", "DSP");
    if options.into == Destination::Whoever {
        properties.insert("media.class", "Audio/Source/Virtual");
    }
    properties
}

/// The ports to play into, as far as they are there.
fn target(graph: &Graph, into: &Destination) -> Vec<u32> {
    let name = match into {
        Destination::Node(name) => Some(name.as_str()),
        Destination::DefaultSink => {
            let sink = graph.node_of(&Source::DefaultMonitor).ok();
            return sink.map_or_else(Vec::new, |(sink, _)| inputs(graph, sink));
        }
        Destination::Whoever => None,
    };
    let node = name.and_then(|name| graph.node_named(name));
    node.map_or_else(Vec::new, |node| inputs(graph, node))
}

fn inputs(graph: &Graph, node: u32) -> Vec<u32> {
    graph.ports_of(node, Direction::In).collect()
}

fn link(connection: &Connection, output: u32, input: u32) -> Result<Link> {
    let mut properties = PropertiesBox::new();
    properties.insert("link.output.port", output.to_string());
    properties.insert("link.input.port", input.to_string());
    connection
        .core
        .create_object("link-factory", &properties)
        .map_err(|e| Error::system("the link can't be made", e))
}

fn gone(failures: &Receiver<Failure>) -> Result<()> {
    match failures.try_recv() {
        Ok(Failure::Removed) => Err(Error::new(
            ErrorKind::Device,
            "the player's node was removed from PipeWire",
        )),
        Ok(Failure::Error(why)) => Err(Error::new(
            ErrorKind::Device,
            format!("PipeWire reports the player's node in error: {why}"),
        )),
        Err(_) => Ok(()),
    }
}

fn missing(into: &Destination) -> Error {
    let message = match into {
        Destination::Node(name) => {
            format!("no node {name} with an input to play into: see `pw-link --input`")
        }
        Destination::DefaultSink => {
            "no loudspeaker or other sink to play into: connect one, or name a node".to_owned()
        }
        Destination::Whoever => "PipeWire does not show the player's node".to_owned(),
    };
    Error::new(ErrorKind::Device, message)
}
