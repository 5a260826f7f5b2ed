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
    /// The speech track.
    pub vad: VadStatus,
    /// What was lost.
    pub losses: LossStatus,
    /// Clients that hold the ring now.
    pub clients: usize,
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

/// How the speech track is made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VadStatus {
    /// As configured: `native`, `ort` or `off`.
    pub backend: String,
    /// What runs, implementation and model; null if nothing does (yet).
    pub model: Option<String>,
    /// Why there are no probabilities although they were asked for, and what to do; null if there are.
    pub problem: Option<String>,
    /// The CPU that the worker is kept on; null if on none.
    pub cpu: Option<usize>,
    /// How the worker is scheduled, for instance `fifo 60`.
    pub scheduling: Option<String>,
    /// Windows with a probability.
    pub windows: u64,
    /// Complete windows that wait for theirs now, in ms of audio.
    pub lag_ms: u64,
    /// The most that ever waited.
    pub worst_lag_ms: u64,
    /// Times that the worker was behind by more than a second and caught up.
    pub caught_up: u64,
    /// Windows without a probability (NaN): overwritten before they could be looked at, or the model failed.
    pub missed: u64,
    /// From a window's samples in the ring to its probability beside them, in µs; null without any.
    pub cost_us: Option<Percentiles>,
    /// From the commit of a window's last sample to that of its probability, in µs; null without any
    /// in real time.
    pub delay_us: Option<Percentiles>,
    /// Times that the worker found itself on another CPU.
    pub migrations: u64,
    /// Samples that were no usable numbers (NaN, infinite, beyond 1e12) and counted as silence.
    pub unusable_samples: u64,
}

/// Median and 99th percentile, rounded up by at most a sixteenth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of them were no more.
    pub p50: f64,
    /// 99 of 100 were no more.
    pub p99: f64,
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
