//! Capture from PipeWire: a node that links itself to its source.
//!
//! A control thread owns everything of libpipewire: it keeps a picture of the graph
//! (`connection`, `graph`), decides on links (`linker`), and holds the node
//! (`filter`), whose cycles arrive on PipeWire's own data thread (`data_thread`), which
//! wakes clients when a cycle is through (`before_rest`).
//! When the daemon goes, all of it is torn down and tried again.

mod arrival;
mod data_thread;
mod linker;
mod session;

use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

pub use v2m_pw_graph::{Found, Source, Survey, has_ports, sources, survey};

use v2m_pw_filter::{before_rest, filter};
use v2m_pw_graph::{connection, graph};

use self::data_thread::Gauges;
use crate::capture::{Events, Intake, SourceInfo};
use crate::latency::Latency;
use crate::rt::{self, Scheduling};
use crate::{Error, Result};

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
    pub latency: Option<Latency>,
    /// Capture; else the node is there, but without links of ours and at rest.
    pub active: bool,
    /// The daemon's socket, by name or path; `None` is the session's.
    pub remote: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_name: "v2m-engine".to_owned(),
            source: Source::Default,
            latency: Some(Latency::DEFAULT),
            active: true,
            remote: None,
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
    Latency(Option<Latency>),
    Active(bool),
    Stop,
}

/// What the control thread writes for others to read.
#[derive(Default)]
struct Report {
    state: State,
    sources: Vec<SourceInfo>,
    /// Those of the node there is now.
    gauges: Arc<Gauges>,
}

/// A capture from PipeWire; dropping it stops it.
pub struct Pipewire {
    commands: pipewire::channel::Sender<Command>,
    report: Arc<Mutex<Report>>,
    control: Option<JoinHandle<()>>,
}

impl fmt::Debug for Pipewire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipewire")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Pipewire {
    /// Starts to capture into `intake`, which is called on PipeWire's data thread.
    ///
    /// A daemon that can't be reached is no error here: it is told as
    /// [`Event::Lost`](crate::capture::Event::Lost) and tried again until it is there.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if no thread can be started.
    pub fn start(options: Options, intake: Arc<dyn Intake>, events: Events) -> Result<Self> {
        let (commands, receiver) = pipewire::channel::channel();
        let report = Arc::new(Mutex::new(Report::default()));
        let shared = report.clone();
        let control = Builder::new()
            .name("v2m-pipewire".to_owned())
            .spawn(move || session::control(options, intake, events, &shared, receiver))
            .map_err(|e| Error::system("can't start the PipeWire thread", e))?;
        Ok(Self {
            commands,
            report,
            control: Some(control),
        })
    }

    /// Captures from another source from now on.
    pub fn set_source(&self, source: Source) {
        self.send(Command::Source(source));
    }

    /// Asks the graph for another quantum; `None` gives back what was asked for, that
    /// is, the node asks for what the graph runs at by default.
    pub fn set_latency(&self, latency: Option<Latency>) {
        self.send(Command::Latency(latency));
    }

    /// Captures, or puts the node to rest: our links go, those made by hand stay.
    pub fn set_active(&self, active: bool) {
        self.send(Command::Active(active));
    }

    /// Ends the capture; the intake is not called any more when this returns.
    pub fn stop(&mut self) {
        let Some(control) = self.control.take() else {
            return;
        };
        self.send(Command::Stop);
        if control.join().is_err() {
            tracing::error!("the PipeWire thread panicked");
        }
    }

    /// What can be captured now, the default first; empty without a daemon.
    pub fn sources(&self) -> Vec<SourceInfo> {
        self.report().sources.clone()
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
        state.thread = match gauges.tid.load(Relaxed) {
            0 => None,
            tid => rt::inspect(tid),
        };
        state
    }

    /// The thread the graph calls, once it has.
    pub fn thread_id(&self) -> Option<i32> {
        let tid = self.report().gauges.tid.load(Relaxed);
        (tid != 0).then_some(tid)
    }

    /// Looks at the data thread, once it is known: what it got goes to
    /// [`rt::threads`], and its stack stays in memory. Often; cheap once done.
    pub fn look_after_thread(&self) {
        let gauges = self.report().gauges.clone();
        let tid = gauges.tid.load(Acquire);
        if tid != 0 && !gauges.looked_after.swap(true, Relaxed) {
            rt::observe(rt::Role::Capture, tid, DATA_PRIORITY);
            rt::lock_stack_of(tid, gauges.stack.load(Relaxed));
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
