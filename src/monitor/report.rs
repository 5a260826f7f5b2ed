//! What the monitor saw, as text for scripts and bug reports: a name and a value a
//! line. What the status says already is not repeated.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::ear::{Ear, SourceChannel};
use super::facts;
use super::state::MonitorState;
use super::track::Track;
use super::wakes::Since;
use super::wave::dbfs;
use v2m_client::status::Status;
use v2m_error::text::counted;
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::time::monotonic_ns;

/// How long it looks.
const LOOK: Duration = Duration::from_secs(2);
const GAPS: usize = 5;

/// Looks at the running engine for two seconds: its status, and what was seen.
///
/// Fails with [`ErrorKind::Unavailable`] if none runs.
pub fn once() -> Result<(Status, String)> {
    let ear = Ear::listen()?;
    let mut state = MonitorState::new();
    let end = Instant::now() + LOOK;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        if let Ok(update) = ear
            .updates
            .recv_timeout(left.min(Duration::from_millis(50)))
        {
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
fn text(state: &MonitorState) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10} {value}");
    };
    let track = state.track();
    line("level", level(track));
    line("speech", speech(track));
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
    for stream in state.streams().skip(1) {
        let (name, rate) = (&stream.source, facts::rate(stream.rate));
        let heard = match state.track_of(&SourceChannel::of(stream)) {
            Some(track) => format!("{}; speech {}", level(track), speech(track)),
            None => "not heard".into(),
        };
        line("stream", format!("{name} at {rate}: {heard}"));
    }
    for gap in track.gaps.iter().rev().take(GAPS) {
        line(
            "gap",
            format!(
                "at {}, {} ({:.1} ms), {}, {} ago",
                gap.position,
                counted(gap.length, "sample"),
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

fn level(track: &Track) -> String {
    facts::level(&track.wave).map_or_else(
        || "no audio yet".into(),
        |level| {
            let (rms, peak) = (dbfs(level.rms), dbfs(level.peak));
            format!("{rms:.1} dBFS, peak {peak:.1} dBFS")
        },
    )
}

fn speech(track: &Track) -> String {
    let end = track.wave.end();
    match track.newest_speech() {
        Some(probability) => {
            let speaks = track.is_speech(end.saturating_sub(1), end);
            let now = if speaks { "speech" } else { "no speech" };
            format!("{probability:.2}, {now} now")
        }
        None => "no probability yet".into(),
    }
}
