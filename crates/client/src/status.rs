//! What an engine says of itself: the answer to `v2m-engine status --json`.

use serde::{Deserialize, Serialize};

use v2m_dsp::health::{Channel, Finding};

use crate::error::{Error, Result};
use crate::ring::{SAMPLE_RATE, State};
use crate::text;

/// An engine at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// The user has muted speech capture: readers of microphones get silence.
    #[serde(default)]
    pub muted: bool,
    /// Whether it serves the user (true) or one client only.
    pub service: bool,
    pub state: State,
    pub source: SourceStatus,
    /// What is wrong with it, the worst first; empty while nothing is captured.
    #[serde(default)]
    pub health: Vec<FindingStatus>,
    pub ring: RingStatus,
    pub vad: VadStatus,
    pub losses: LossStatus,
    /// The virtual microphone, if there is one.
    #[serde(default)]
    pub virtual_microphone: Option<MicrophoneStatus>,
    /// All streams, the engine's own source first; at most 64.
    #[serde(default)]
    pub streams: Vec<StreamStatus>,
    /// Clients that hold a stream now.
    pub clients: usize,
    /// These clients, in the order in which they came; the first 128.
    #[serde(default)]
    pub readers: Vec<ReaderStatus>,
    /// Threads that real time was asked for.
    #[serde(default)]
    pub threads: Vec<ThreadStatus>,
    /// What else was asked of the system: memory, the CPU's sleep.
    #[serde(default)]
    pub grants: Vec<GrantStatus>,
    /// What is not as it should be, one line each.
    pub degraded: Vec<String>,
}

impl Status {
    /// As `v2m-engine status --json` has it.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System): it can't be written.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|cause| Error::system("cannot write JSON", cause))
    }
}

/// How the echo is cancelled, of the source `clean`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EchoStatus {
    /// The sink whose sound is taken off; null while there is none.
    pub far: Option<String>,
    /// Why nothing is taken off: the source is the microphone as it is.
    pub why: Option<String>,
    /// Something is played, or may still be heard.
    pub plays: bool,
    /// By how many dB the newest window became softer.
    pub cancelled_db: f32,
    /// Both sides speak.
    pub both: bool,
    /// The room isn't known yet, the beginning, or after a jump; or what was played isn't.
    pub converging: bool,
}

impl EchoStatus {
    /// A line that says how it goes, what matters first: it may be cut.
    pub fn text(&self) -> String {
        let far = self.far.as_deref().unwrap_or("the default sink");
        match &self.why {
            Some(why) => format!("nothing is taken off: {why}"),
            None if !self.plays => format!("nothing plays on {far}"),
            None if self.both => format!("double talk with {far}"),
            None => {
                let learns = if self.converging {
                    "learns the room, "
                } else {
                    ""
                };
                format!("{learns}{:.0} dB off {far}", self.cancelled_db)
            }
        }
    }
}

/// The virtual microphone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MicrophoneStatus {
    /// Its node's name.
    pub node: String,
    /// What it does.
    pub state: MicrophoneState,
    /// Why it isn't there, or gives silence.
    pub why: Option<String>,
    /// From capture to whoever records.
    pub latency_ms: u64,
    /// Samples that weren't there in time and were given as silence, since somebody began to
    /// record.
    pub missed: u64,
    /// Moves to stay at its distance, where the two sides' clocks differ; since then, too.
    pub slips: u64,
}

impl MicrophoneStatus {
    /// A line that says how it goes, what matters first: it may be cut.
    pub fn text(&self) -> String {
        let node = &self.node;
        match (&self.why, self.state) {
            (Some(why), _) => format!("nothing: {why} ({node})"),
            (None, MicrophoneState::Recorded) => {
                let missed = match self.missed {
                    0 => String::new(),
                    missed => format!(", {} too late", text::counted(missed, "sample")),
                };
                format!("recorded, {} ms behind{missed}: {node}", self.latency_ms)
            }
            (None, _) => format!("nobody records from {node}"),
        }
    }
}

/// What the virtual microphone does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MicrophoneState {
    /// It isn't there, or has nothing to give: `why` says it.
    #[default]
    Waiting,
    /// Nobody records from it.
    Idle,
    /// Somebody does.
    Recorded,
}

/// Something that is wrong with the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingStatus {
    /// What it is, see [`Kind`](v2m_dsp::health::Kind): `muted`, `silence`, `noise`, …
    pub kind: String,
    /// One line: what was found.
    pub text: String,
    /// One line: what to do.
    pub remedy: String,
    /// Position at which it began.
    pub position: u64,
    /// CLOCK_MONOTONIC nanoseconds of that.
    pub time_ns: i64,
    /// How much, in `unit`; null where there is nothing to measure.
    pub value: Option<f64>,
    /// `dBFS`, or `full scale` where `value` is a share of that; null without one.
    pub unit: Option<String>,
}

impl From<&ChannelStatus> for Channel {
    fn from(channel: &ChannelStatus) -> Self {
        Self {
            name: channel.name.clone(),
            heard: channel.heard > 0.0,
            dead: channel.dead,
            inverted: channel.inverted,
        }
    }
}

impl From<&Finding> for FindingStatus {
    fn from(finding: &Finding) -> Self {
        Self {
            kind: finding.kind.name().into(),
            text: finding.text.clone(),
            remedy: finding.remedy.clone(),
            position: finding.since.position,
            time_ns: finding.since.time_ns,
            // What is left of it is no measure any more.
            value: finding
                .value
                .map(|value| f64::from((value * 1e4).round()) / 1e4),
            unit: finding.value.map(|_| finding.unit.into()),
        }
    }
}

/// What a thread asked for and got.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ThreadStatus {
    /// Its name, as `top -H` shows it.
    pub name: String,
    pub tid: i32,
    /// What it does: `capture`, `wake`, `vad`, …
    pub role: String,
    /// What was asked for first, for instance `fifo 70`.
    pub asked: String,
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
    pub asked: String,
    pub granted: bool,
    pub why_not: Option<String>,
}

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
    /// Why what is asked for isn't there, and what is there instead, also while nobody
    /// listens; null if it is, or that isn't known.
    #[serde(default)]
    pub missing: Option<String>,
    /// Why another backend is used than the one asked for; null if that one is.
    #[serde(default)]
    pub fallback: Option<String>,
    /// Samples of one graph cycle or period, as it really runs; 0 if unknown.
    pub quantum: u32,
    /// Samples per second of the source; 0 if unknown.
    pub rate: u32,
    pub server_version: Option<String>,
    /// How the audio thread is scheduled, for instance `fifo 88`.
    pub scheduling: Option<String>,
    /// Which channels are to be heard: `auto`, `mix`, a name or a number.
    #[serde(default)]
    pub channel: String,
    /// How many dB louder than the source clients read it.
    #[serde(default)]
    pub gain_db: f64,
    /// What is below this frequency is taken from what clients read; 0: nothing is.
    #[serde(default)]
    pub highpass_hz: u32,
    /// The source's channels, in its order; empty as long as they are not known.
    #[serde(default)]
    pub channels: Vec<ChannelStatus>,
    /// What is taken off, of the source `clean`.
    #[serde(default)]
    pub echo: Option<EchoStatus>,
}

/// One of the source's channels, over the last 3 seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// `FL`, `AUX0`, `MONO`, …; what `--channel` takes.
    pub name: String,
    /// Root mean square without DC, in dBFS; -120 is silence.
    pub level_dbfs: f32,
    /// The largest sample without DC, in dBFS; -120 is silence.
    pub peak_dbfs: f32,
    /// What it counts for in what is heard: 0 not at all, 1 at its own level.
    pub heard: f32,
    /// It carries no sound; DC is none.
    pub dead: bool,
    /// It carries what is heard, in opposite polarity.
    pub inverted: bool,
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

/// One source at one rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// What is captured, as it was asked for.
    pub source: String,
    /// Which of its channels are heard, the same way.
    pub channel: String,
    /// Samples per second.
    pub rate: u32,
    /// What the source does.
    pub state: State,
    /// What is captured now; null if nothing.
    pub linked: Option<String>,
    /// Why nothing is captured; null if something is.
    pub waiting: Option<String>,
    /// What is wrong with the source, by kind, the worst first.
    pub health: Vec<String>,
    /// Samples that its ring keeps.
    pub history: u64,
    /// Samples written so far.
    pub position: u64,
    /// Stretches of filled silence.
    pub gaps: u64,
    /// Samples in them that nobody got.
    pub lost_samples: u64,
    /// Jumps of the source's own clock.
    pub xruns: u64,
    /// Windows with a speech probability.
    pub windows: u64,
    /// Complete windows that wait for theirs now, in ms of audio.
    pub vad_lag_ms: u64,
    /// Clients that hold it now.
    pub clients: usize,
}

/// A client that holds a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReaderStatus {
    /// Its process id, as the engine sees it; 0 if it can't.
    pub pid: u32,
    /// What it calls itself, or the kernel calls it; null if neither is known.
    pub name: Option<String>,
    /// Seconds since it got the stream.
    pub age_s: f64,
    /// When that was, in seconds since 1970.
    #[serde(default)]
    pub since_s: u64,
    /// The source of its stream.
    #[serde(default)]
    pub source: String,
    /// The rate of its stream, and of its position and lag.
    #[serde(default)]
    pub rate: u32,
    /// It only looks on: no quantum is asked of the graph for it.
    pub observes: bool,
    /// The quantum that it asked for; null: the engine's own, or none, as it only looks on.
    #[serde(default)]
    pub quantum: Option<String>,
    /// How far it has read, as it says; null if it doesn't.
    pub position: Option<u64>,
    /// Samples up to there since it got the stream: what came before isn't counted.
    #[serde(default)]
    pub read: Option<u64>,
    /// Samples that it has not read yet; null if unknown.
    pub lag: Option<u64>,
    /// The same in milliseconds.
    pub lag_ms: Option<f64>,
}

impl ReaderStatus {
    /// Fills in how far it is behind; a position that can't be is forgotten.
    pub fn measure_lag(&mut self, committed: u64) {
        self.position = self.position.filter(|&position| position <= committed);
        self.read = self.read.filter(|_| self.position.is_some());
        self.lag = self.position.map(|position| committed - position);
        let rate = f64::from(if self.rate == 0 {
            SAMPLE_RATE
        } else {
            self.rate
        });
        self.lag_ms = self.lag.map(|lag| lag as f64 * 1000.0 / rate);
    }
}

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
    /// To judge one window, in µs; of several judged together, its share. Null without any.
    pub cost_us: Option<Percentiles>,
    /// From the commit of a window's last sample to that of its probability, in µs; null without any.
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

/// A source that can be captured, as `v2m-engine sources` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// What `--source` takes.
    pub name: String,
    /// What a person reads.
    pub description: String,
    pub kind: SourceKind,
    /// Captured when nothing else is asked for.
    pub default: bool,
    /// The desktop has muted it, or turned it down to nothing.
    pub muted: bool,
    /// How many channels it has; null while that isn't known.
    pub channels: Option<u32>,
    /// The samples per second at which it can be had now; null while that isn't known.
    pub rate: Option<u32>,
}

/// Where a source's audio comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A microphone, or what stands for one.
    Source,
    /// What a sink plays.
    Monitor,
    App,
    Alsa,
}

#[cfg(test)]
mod tests;
