//! What an engine says of itself: the answer to `v2m-engine status --json`.

use serde::{Deserialize, Serialize};

use crate::ring::State;

/// An engine at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The engine's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// Whether it serves the user (true) or one client only.
    pub service: bool,
    /// What it does.
    pub state: State,
    /// Where its audio comes from.
    pub source: SourceStatus,
    /// The ring.
    pub ring: RingStatus,
    /// What was lost.
    pub losses: LossStatus,
    /// Clients that hold the ring now.
    pub clients: usize,
    /// Threads that real time was asked for.
    #[serde(default)]
    pub threads: Vec<ThreadStatus>,
    /// What else was asked of the system: memory, the CPU's sleep.
    #[serde(default)]
    pub grants: Vec<GrantStatus>,
    /// What is not as it should be, one line each.
    pub degraded: Vec<String>,
}

/// What a thread asked for and got.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ThreadStatus {
    /// Its name, as `top -H` shows it.
    pub name: String,
    /// Its id.
    pub tid: i32,
    /// What it does: `capture`, `wake`, `vad`, …
    pub role: String,
    /// What was asked for first, for instance `fifo 70`.
    pub asked: String,
    /// What it has now.
    pub got: String,
    /// Whether that is real time.
    pub real_time: bool,
    /// Who gave it: `limits`, `RTKit`, `nice`, `PipeWire`, `nobody`.
    pub by: String,
    /// Each refusal on the way, in order.
    pub why_not: Vec<String>,
}

/// Whether something asked of the system was granted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantStatus {
    /// What was asked for.
    pub asked: String,
    /// Whether it was given.
    pub granted: bool,
    /// Why it wasn't.
    pub why_not: Option<String>,
}

/// Where the audio comes from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceStatus {
    /// As configured.
    pub asked: String,
    /// `pipewire`, `alsa` or `file`.
    pub backend: String,
    /// What is captured now; null if nothing.
    pub linked: Option<String>,
    /// Why nothing is captured; null if something is.
    pub waiting: Option<String>,
    /// Why another backend is used than the one asked for; null if that one is.
    #[serde(default)]
    pub fallback: Option<String>,
    /// Samples of one graph cycle or period, as it really runs; 0 if unknown.
    pub quantum: u32,
    /// Samples per second of the source; 0 if unknown.
    pub rate: u32,
    /// The audio server's version.
    pub server_version: Option<String>,
    /// How the audio thread is scheduled, for instance `fifo 88`.
    pub scheduling: Option<String>,
}

/// The ring at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RingStatus {
    /// Hexadecimal; another ring has another.
    pub id: String,
    /// Samples at 16 kHz that it keeps.
    pub history: u64,
    /// Samples written so far.
    pub position: u64,
    /// CLOCK_MONOTONIC nanoseconds at which the newest sample was captured.
    pub time_ns: Option<i64>,
}

/// What was lost since the engine started.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LossStatus {
    /// Stretches of filled silence.
    pub gaps: u64,
    /// Samples at 16 kHz in them that nobody got.
    pub lost_samples: u64,
    /// Jumps of the source's own clock.
    pub xruns: u64,
    /// Blocks offered twice and ignored.
    pub repeated: u64,
}
