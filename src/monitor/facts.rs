//! What the monitor says of things in words and numbers, on the screen and in the
//! report alike.

use super::state::MonitorState;
use super::wave::Wave;
use v2m_client::status::{SourceStatus, Status, StreamStatus, VadStatus};
use v2m_ring as ring;
use v2m_ring::{Event, GapReason, SAMPLE_RATE};

/// Audio that the level is measured over: 0.3 s.
const LEVEL: u64 = 38 * super::wave::BIN;
/// Audio that the peak is looked for in: 2 s.
const PEAK: u64 = 250 * super::wave::BIN;

const XRUN: u32 = GapReason::Xrun as u32;
const UNUSED: u32 = GapReason::NotCaptured as u32;
const MUTED: u32 = GapReason::Muted as u32;
const SUSPENDED: u32 = GapReason::Suspended as u32;

/// Whether audio was lost there: not where nobody wanted it, it was not to be heard, or the
/// machine slept.
pub(crate) fn is_loss(gap: &Event) -> bool {
    ![UNUSED, MUTED, SUSPENDED].contains(&gap.detail)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Fine,
    Warning,
    Bad,
}

/// How loud it is. Of full scale, not in decibels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    /// The root of the mean square of the last 0.3 s.
    pub(crate) rms: f32,
    /// The largest absolute value of the last 2 s.
    pub(crate) peak: f32,
}

/// The level now; None without audio.
pub(crate) fn level(wave: &Wave) -> Option<Level> {
    Some(Level {
        rms: wave.newest(LEVEL)?.rms(),
        peak: wave.newest(PEAK)?.peak(),
    })
}

/// The streams that are worth a lane: the engine's own, and those that somebody reads. Who
/// only looks on, as the monitor does itself, is nobody.
pub(crate) fn lanes(status: &Status) -> impl Iterator<Item = &StreamStatus> {
    let streams = status.streams.iter().enumerate();
    let read = |stream: &StreamStatus| {
        status.readers.iter().any(|reader| {
            !reader.observes && reader.source == stream.source && reader.rate == stream.rate
        })
    };
    let lanes = streams.filter(move |(number, stream)| *number == 0 || read(stream));
    lanes.map(|(_, stream)| stream)
}

/// `16 kHz`; what is no whole number of them, in Hz.
pub(crate) fn rate(hz: u32) -> String {
    match hz % 1000 {
        0 => format!("{} kHz", hz / 1000),
        _ => format!("{hz} Hz"),
    }
}

pub(crate) fn state(state: ring::State) -> (&'static str, Severity) {
    match state {
        ring::State::Starting => ("starting", Severity::Warning),
        ring::State::Running => ("running", Severity::Fine),
        ring::State::Waiting => ("no audio", Severity::Bad),
        ring::State::Idle => ("idle", Severity::Fine),
        ring::State::Ended => ("ended", Severity::Warning),
        ring::State::Stopped => ("stopped", Severity::Bad),
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notice {
    pub(crate) line: String,
    /// What to do, where that isn't part of the line.
    pub(crate) remedy: Option<String>,
    pub(crate) severity: Severity,
}

impl Notice {
    fn new(line: impl Into<String>, severity: Severity) -> Self {
        Self {
            line: line.into(),
            remedy: None,
            severity,
        }
    }
}

/// What is not as it should be, the worst first.
pub(crate) fn notices(state: &MonitorState) -> Vec<Notice> {
    let mut notices = Vec::new();
    if let Some((since, why)) = &state.lost {
        let seconds = state.now_ns.saturating_sub(*since) as f64 / 1e9;
        let line = format!("No engine for {}, looking for it: {why}", age(seconds));
        notices.push(Notice::new(line, Severity::Bad));
    }
    let Some(status) = &state.status else {
        return notices;
    };
    if state.lost.is_none() {
        if let Some(why) = &status.source.waiting {
            let severity = match status.state {
                ring::State::Idle => Severity::Fine,
                _ => Severity::Bad,
            };
            notices.push(Notice::new(format!("No audio: {why}"), severity));
        }
        notices.extend(status.health.iter().map(|finding| Notice {
            remedy: Some(finding.remedy.clone()),
            ..Notice::new(&finding.text, Severity::Warning)
        }));
    }
    let degraded = status.degraded.iter();
    notices.extend(degraded.map(|line| Notice::new(line, Severity::Warning)));
    notices
}

/// Quantum and rate, as the source runs.
pub(crate) fn quantum(source: &SourceStatus) -> String {
    match (source.quantum, source.rate) {
        (_, 0) => "unknown".into(),
        (0, rate) => format!("unknown, {rate} Hz"),
        (quantum, rate) => {
            let ms = f64::from(quantum) * 1000.0 / f64::from(rate);
            format!("{quantum}/{rate} ({ms:.1} ms)")
        }
    }
}

/// What looks for speech and what that costs; whether it fails.
pub(crate) fn vad(vad: &VadStatus, micro: &str) -> (String, bool) {
    if let Some(problem) = &vad.problem {
        return (problem.clone(), true);
    }
    let behind = match vad.lag_ms {
        0 => String::new(),
        ms => format!(", {ms} ms behind"),
    };
    let text = match (&vad.cost_us, &vad.model) {
        (Some(cost), _) => {
            let cost = duration(cost.p50, micro);
            format!("{}, {cost} a window{behind}", vad.backend)
        }
        (None, Some(_)) => format!("{}{behind}", vad.backend),
        (None, None) if vad.backend == "off" => "off".into(),
        (None, None) => "starting".into(),
    };
    (text, false)
}

pub(crate) fn reason(gap: &Event) -> &'static str {
    match gap.detail {
        XRUN => "xrun",
        UNUSED => "nobody listened",
        SUSPENDED => "suspend",
        _ => "interruption",
    }
}

/// A number of samples in milliseconds.
pub(crate) fn ms(samples: u64) -> f64 {
    samples as f64 * 1000.0 / f64::from(SAMPLE_RATE)
}

/// How long ago, or for how long: `0:12`, `1:02:03`.
pub(crate) fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A short time given in microseconds.
pub(crate) fn duration(us: f64, micro: &str) -> String {
    match us {
        ..1_000.0 => format!("{us:.0} {micro}s"),
        ..10_000.0 => format!("{:.1} ms", us / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.1} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let durations = [0.0, 45.4, 999.4, 1_234.0, 45_600.0, 2_500_000.0];
        assert_eq!(
            durations.map(|us| duration(us, "µ")),
            ["0 µs", "45 µs", "999 µs", "1.2 ms", "46 ms", "2.5 s"]
        );
        assert_eq!(
            [-1.0, 0.0, 61.9, 3723.0].map(age),
            ["0:00", "0:00", "1:01", "1:02:03"]
        );
    }

    #[test]
    fn a_quantum_is_known_in_part_or_not_at_all() {
        let source = |quantum, rate| SourceStatus {
            quantum,
            rate,
            ..Default::default()
        };
        assert_eq!(quantum(&source(0, 0)), "unknown");
        assert_eq!(quantum(&source(0, 44_100)), "unknown, 44100 Hz");
        assert_eq!(quantum(&source(256, 48_000)), "256/48000 (5.3 ms)");
    }
}
