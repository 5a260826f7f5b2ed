//! What the monitor saw, as text for scripts and bug reports: a name and a value a
//! line. What the status says already is not repeated.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::ear;
use super::facts;
use super::state::State;
use super::wakes::Since;
use super::wave::dbfs;
use crate::error::{Error, ErrorKind, Result};
use crate::status::Status;
use crate::time::monotonic_ns;

/// How long it looks.
const LOOK: Duration = Duration::from_secs(2);
const GAPS: usize = 5;

/// Looks at the running engine for two seconds: its status, and what was seen.
///
/// Fails with [`ErrorKind::Unavailable`] if none runs.
pub fn once() -> Result<(Status, String)> {
    let updates = ear::listen()?;
    let mut state = State::new();
    let end = Instant::now() + LOOK;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        if let Ok(update) = updates.recv_timeout(left.min(Duration::from_millis(50))) {
            state.update(update);
        }
        state.follow(monotonic_ns());
    }
    let text = text(&state);
    match (state.status, state.lost) {
        (Some(status), None) => Ok((status, text)),
        (_, Some((_, why))) => Err(Error::new(ErrorKind::Unavailable, why)),
        (None, None) => Err(Error::new(
            ErrorKind::Timeout,
            "the engine did not say how it is within 2 s: try again, or restart it",
        )),
    }
}

/// What a state holds beyond the status.
fn text(state: &State) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10} {value}");
    };
    let track = &state.track;
    match facts::level(&track.wave) {
        Some(level) => line(
            "level",
            format!(
                "{:.1} dBFS, peak {:.1} dBFS",
                dbfs(level.rms),
                dbfs(level.peak)
            ),
        ),
        None => line("level", "no audio yet".into()),
    }
    let end = track.wave.end();
    let speech = match track.newest_speech() {
        Some(probability) => {
            let speaks = track.is_speech(end.saturating_sub(1), end);
            let now = if speaks { "speech" } else { "no speech" };
            format!("{probability:.2}, {now} now")
        }
        None => "no probability yet".into(),
    };
    line("speech", speech);
    for (name, since) in [("written", Since::Commit), ("captured", Since::Capture)] {
        let summary = state.wakes.summary(since);
        let value = match summary.count {
            0 => "no wake-ups".into(),
            count => {
                let [p50, p99, max] =
                    [summary.p50, summary.p99, summary.max].map(|us| facts::duration(us, "u"));
                format!("to wake-up: median {p50}, p99 {p99}, max {max}, of {count}")
            }
        };
        line(name, value);
    }
    for gap in track.gaps.iter().rev().take(GAPS) {
        line(
            "gap",
            format!(
                "at {}, {} samples ({:.1} ms), {}, {} ago",
                gap.position,
                gap.length,
                facts::ms(gap.length),
                facts::reason(gap),
                facts::age(state.ago(gap.end()))
            ),
        );
    }
    for notice in facts::notices(state) {
        // What is degraded or wrong with the source stands in the status.
        let degraded = state.status.iter().flat_map(|status| &status.degraded);
        if notice.remedy.is_none() && !degraded.into_iter().any(|line| *line == notice.line) {
            line("notice", notice.line);
        }
    }
    out
}
