//! Capture from PipeWire: a node that links itself to its source.
//!
//! A control thread owns everything of libpipewire: it keeps a picture of the graph
//! (`connection`, `graph`), decides on links (`linker`), and holds the node
//! (`filter`), whose cycles arrive on PipeWire's own data thread (`data_thread`), which
//! wakes clients when a cycle is through (`loop_hook`).
//! When the daemon goes, all of it is torn down and tried again.

pub(crate) mod arrival;
mod backend;
mod control;
mod data_thread;
mod link;
mod linker;
mod order;
mod session;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use v2m_pw_graph::{Found, Inaudible, Source, Survey, has_ports, sources, survey};

use v2m_pw_filter::{filter, loop_hook};
use v2m_pw_graph::connection;

use self::data_thread::Gauges;
use crate::capture::channels::Channels;
use crate::capture::{Events, Sink};
use v2m_client::quantum::Quantum;
use v2m_error::Result;
use v2m_rt as rt;
use v2m_rt::Scheduling;
use v2m_rt::bounded::Bounded;

/// A daemon that works answers within this.
const ANSWER: Duration = Duration::from_millis(400);

/// What libpipewire asks for its data thread, by its configuration's default.
const DATA_PRIORITY: i32 = 88;

/// How to capture.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name, as other programs see it.
    pub node_name: String,
    /// What to link to.
    pub source: Source,
    /// The quantum to ask for; `None` asks for nothing.
    pub latency: Option<Quantum>,
    /// Capture; else there is no node, unless somebody else has linked one.
    pub active: bool,
    /// Driven by one clock with the engine's other nodes that are, see
    /// [`set_together`](Pipewire::set_together).
    pub together: bool,
    /// Who reads what is captured, for people; empty for nobody.
    pub readers: String,
    /// The daemon's socket, by name or path; `None` is the session's.
    pub remote: Option<String>,
    /// What is heard of the source's channels.
    pub channels: Arc<Channels>,
    /// While it is true, what the graph gives is passed over: another backend captures.
    pub unheard: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_name: "v2m-engine".to_owned(),
            source: Source::Default,
            latency: Some(Quantum::DEFAULT),
            active: true,
            together: false,
            readers: String::new(),
            remote: None,
            channels: Channels::auto(),
            unheard: Arc::default(),
        }
    }
}

/// How capturing goes, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The daemon answers.
    pub connected: bool,
    /// The daemon's version.
    pub version: Option<String>,
    /// The node's global id.
    pub node: Option<u32>,
    /// The source that is linked.
    pub linked: Option<String>,
    /// Why nothing is linked.
    pub waiting: Option<String>,
    /// Why what is asked for isn't there, also while nothing is captured.
    pub missing: Option<String>,
    /// The linked source's volume, if that is why nothing is heard.
    pub inaudible: Option<Inaudible>,
    /// The graph's samples per second in the newest cycle; 0 before the first.
    pub rate: u32,
    /// The graph's samples per cycle in the newest cycle; 0 before the first.
    pub quantum: u32,
    /// Cycles since the node was made.
    pub cycles: u64,
    /// Cycles lost or repeated by the graph since the node was made.
    pub xruns: u64,
    /// The thread the graph calls, once it has.
    pub thread: Option<Scheduling>,
}

enum Command {
    Source(Source),
    Quantum(Option<Quantum>),
    Active(bool),
    Together(bool),
    Readers(String),
    /// Have the daemon answer.
    Ask,
    Stop,
}

/// What the control thread writes for others to read.
#[derive(Default)]
struct Report {
    state: State,
    /// Since when the daemon owes an answer.
    asked: Option<Instant>,
    /// Libpipewire asks for real time itself; else we do.
    asks: bool,
    /// Those of the node there is now.
    gauges: Arc<Gauges>,
}

/// A capture from PipeWire; dropping it stops it.
pub struct Pipewire {
    commands: pipewire::channel::Sender<Command>,
    report: Arc<Mutex<Report>>,
    control: Bounded,
}

impl fmt::Debug for Pipewire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipewire")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Pipewire {
    /// Starts to capture into `ingest`, which is called on PipeWire's data thread.
    ///
    /// A daemon that can't be reached is no error here: it is told as
    /// [`Event::Lost`](crate::capture::Event::Lost) and tried again until it is there.
    ///
    /// # Errors
    /// [`ErrorKind::System`](v2m_error::ErrorKind::System) if no thread can be started.
    pub fn start(options: Options, ingest: Arc<dyn Sink>, events: Events) -> Result<Self> {
        let (commands, receiver) = pipewire::channel::channel();
        let report = Arc::new(Mutex::new(Report::default()));
        let shared = report.clone();
        let control = Bounded::spawn("v2m-pipewire", move |calls| {
            control::control(options, ingest, events, &shared, receiver, calls);
        })?;
        Ok(Self {
            commands,
            report,
            control,
        })
    }

    /// Captures from another source from now on.
    pub fn set_source(&self, source: Source) {
        self.send(Command::Source(source));
    }

    /// Asks the graph for another quantum; `None` gives back what was asked for, that
    /// is, the node asks for what the graph runs at by default.
    pub fn set_quantum(&self, latency: Option<Quantum>) {
        self.send(Command::Quantum(latency));
    }

    /// Captures, or doesn't: our links go, and the node with them unless somebody else has linked it.
    pub fn set_active(&self, active: bool) {
        self.send(Command::Active(active));
    }

    /// Has the graph drive this node, with what it is linked to, and the engine's others that
    /// are together by one clock; or by itself again.
    pub fn set_together(&self, together: bool) {
        self.send(Command::Together(together));
    }

    /// Has the node's text name who reads what is captured.
    pub fn set_readers(&self, readers: &str) {
        self.send(Command::Readers(readers.to_owned()));
    }

    /// Ends the capture; the ingest is not called any more when this returns, unless
    /// libpipewire hangs: then it is left behind.
    pub fn stop(&mut self) {
        self.send(Command::Stop);
        self.control.join();
    }

    /// Has the daemon answer; [`why_silent`](Self::why_silent) tells half a second later.
    pub fn ask(&self) {
        self.report().asked.get_or_insert_with(Instant::now);
        self.send(Command::Ask);
    }

    /// Why no cycles come, after [`ask`](Self::ask).
    pub fn why_silent(&self) -> &'static str {
        let asked = self.report().asked;
        if asked.is_some_and(|asked| asked.elapsed() >= ANSWER) {
            "PipeWire does not answer; if it stays so, systemctl --user restart pipewire"
        } else {
            "PipeWire answers, but the graph stands still, as when a device hangs: see pw-top"
        }
    }

    /// Which call into libpipewire has not returned for long.
    pub fn hanging(&self) -> Option<String> {
        self.control.hanging()
    }

    /// How it goes.
    pub fn state(&self) -> State {
        let (mut state, gauges) = {
            let report = self.report();
            (report.state.clone(), report.gauges.clone())
        };
        state.rate = gauges.rate.load(Relaxed);
        state.quantum = gauges.quantum.load(Relaxed);
        state.cycles = gauges.cycles.load(Relaxed);
        state.xruns = gauges.xruns.load(Relaxed);
        state.thread = gauges.thread.tid().and_then(rt::inspect);
        state
    }

    /// The linked source's volume, if that is why nothing is heard.
    pub fn inaudible(&self) -> Option<Inaudible> {
        self.report().state.inaudible.clone()
    }

    /// The thread the graph calls, once it has.
    pub fn thread_id(&self) -> Option<i32> {
        self.report().gauges.thread.tid()
    }

    /// Looks at the data thread, once it is known: what it got goes to
    /// [`rt::threads`], and its stack stays in memory. Often; cheap once done.
    pub fn look_after_thread(&self) {
        let (gauges, asks) = {
            let report = self.report();
            (report.gauges.clone(), report.asks)
        };
        if let Some(tid) = gauges.thread.lock_stack() {
            if asks {
                rt::observe(rt::Role::Capture, tid, DATA_PRIORITY);
            } else {
                rt::promote_soon(rt::Role::Capture, tid, drop);
            }
        }
    }

    fn send(&self, command: Command) {
        // Fails only if the control thread is gone, and then nothing is to be done.
        let _ = self.commands.send(command);
    }

    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Pipewire {
    fn drop(&mut self) {
        self.stop();
    }
}
