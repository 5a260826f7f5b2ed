//! What an engine says of itself: the answer to `v2m-engine status --json`.

use serde::{Deserialize, Serialize};

use crate::ring::{SAMPLE_RATE, State};

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
    /// These clients, in the order in which they came; the first 128.
    #[serde(default)]
    pub readers: Vec<ReaderStatus>,
    /// What is not as it should be, one line each.
    pub degraded: Vec<String>,
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

/// A client that holds the ring.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReaderStatus {
    /// Its process id, as the engine sees it; 0 if it can't.
    pub pid: u32,
    /// What it calls itself, or the kernel calls it; null if neither is known.
    pub name: Option<String>,
    /// Seconds since it got the ring.
    pub age_s: f64,
    /// It only looks on: the quantum is not chosen for it.
    pub observes: bool,
    /// How far it has read, as it says; null if it doesn't.
    pub position: Option<u64>,
    /// Samples at 16 kHz that it has not read yet; null if unknown.
    pub lag: Option<u64>,
    /// The same in milliseconds.
    pub lag_ms: Option<f64>,
}

impl ReaderStatus {
    /// Fills in how far it is behind; a position that can't be is forgotten.
    pub fn measure_lag(&mut self, committed: u64) {
        self.position = self.position.filter(|&position| position <= committed);
        self.lag = self.position.map(|position| committed - position);
        self.lag_ms = self
            .lag
            .map(|lag| lag as f64 * 1000.0 / f64::from(SAMPLE_RATE));
    }
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
