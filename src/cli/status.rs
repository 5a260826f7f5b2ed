//! `v2m-engine status`: how the running engine is.

use std::fmt::Write;

use v2m_client::connection::Connection;
use v2m_client::status::{ChannelStatus, ReaderStatus, Status, StreamStatus, VadStatus};
use v2m_error::Result;
use v2m_error::text::counted;
use v2m_ring::State;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let status = Connection::service()?.status()?;
    if arguments.json {
        super::print_json(&status)
    } else {
        super::print_lines(text(&status).trim_end())
    }
}

pub(super) fn text(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10} {value}");
    };
    let state = format!("{:?}", status.state).to_lowercase();
    line(
        "engine",
        format!(
            "{} (pid {}), {state}, up {:.0} s",
            status.version, status.pid, status.uptime_s
        ),
    );
    if status.muted {
        line(
            "muted",
            "nobody hears a microphone; v2m-engine unmute ends that".into(),
        );
    }
    let source = &status.source;
    let captured = source
        .linked
        .as_deref()
        .or(source.waiting.as_deref())
        .unwrap_or("nothing yet");
    line(
        "source",
        format!("{} through {}: {captured}", source.asked, source.backend),
    );
    if let Some(missing) = source.missing.as_ref().filter(|why| **why != captured) {
        line("", missing.clone());
    }
    if source.rate > 0 {
        let quantum = match source.quantum {
            0 => String::new(),
            samples => format!(
                ", quantum {samples} ({:.1} ms)",
                f64::from(samples) * 1000.0 / f64::from(source.rate)
            ),
        };
        line("rate", format!("{} Hz{quantum}", source.rate));
    }
    for (number, channel) in source.channels.iter().enumerate() {
        let name = if number == 0 { "channels" } else { "" };
        line(name, format!("{} {}", number + 1, self::channel(channel)));
    }
    if source.gain_db != 0.0 {
        line("gain", format!("{:+} dB", source.gain_db));
    }
    if source.highpass_hz != 0 {
        line("high-pass", format!("from {} Hz on", source.highpass_hz));
    }
    if let Some(echo) = &source.echo {
        line("echo", echo.text());
    }
    for (name, value) in health(status) {
        line(name, value);
    }
    let seconds = status.ring.position as f64 / 16_000.0;
    line(
        "ring",
        format!(
            "position {} ({seconds:.1} s), keeps {} samples",
            status.ring.position, status.ring.history
        ),
    );
    for (name, value) in vad(&status.vad) {
        line(name, value);
    }
    if let Some(microphone) = &status.virtual_microphone {
        line("offers", microphone.text());
    }
    let lost = &status.losses;
    line(
        "lost",
        format!(
            "{} in {}; {}, {}",
            counted(lost.lost_samples, "sample"),
            counted(lost.gaps, "gap"),
            counted(lost.xruns, "xrun"),
            counted(lost.repeated, "repeat")
        ),
    );
    for (number, stream) in status.streams.iter().enumerate() {
        let name = if number == 0 { "streams" } else { "" };
        line(name, self::stream(stream));
    }
    line("clients", status.clients.to_string());
    for reader in &status.readers {
        line("", client(reader));
    }
    for thread in &status.threads {
        let given = match thread.why_not.is_empty() {
            true => format!("by {}", thread.by),
            false => format!("by {}; {}", thread.by, thread.why_not.join("; ")),
        };
        let (name, role) = (&thread.name, &thread.role);
        line(
            "thread",
            format!(
                "{name} ({role}): {}, asked for {}, {given}",
                thread.got, thread.asked
            ),
        );
    }
    for grant in &status.grants {
        let answer = grant.why_not.as_deref().unwrap_or("granted");
        line("asked", format!("{}: {answer}", grant.asked));
    }
    for degraded in &status.degraded {
        line("degraded", degraded.clone());
    }
    out
}

/// One channel: name, level, what it counts for.
fn channel(channel: &ChannelStatus) -> String {
    let level = match channel.level_dbfs {
        level if level <= -120.0 => "silent".to_owned(),
        level => format!("{level:.0} dBFS (peak {:.0})", channel.peak_dbfs),
    };
    let heard = match channel.heard {
        0.0 => String::new(),
        1.0 => ", heard".to_owned(),
        part => format!(", heard by {part:.2}"),
    };
    let dead = if channel.dead { ", dead" } else { "" };
    let inverted = match channel.inverted {
        true => ", opposite polarity",
        false => "",
    };
    format!("{}: {level}{heard}{dead}{inverted}", channel.name)
}

/// What is wrong with the source, and what to do; nothing where nothing is captured.
fn health(status: &Status) -> Vec<(&'static str, String)> {
    let findings = status.health.iter();
    let lines = findings.map(|finding| format!("{}  -> {}", finding.text, finding.remedy));
    let mut lines: Vec<_> = lines.map(|line| ("health", line)).collect();
    if lines.is_empty() && status.state == State::Running {
        lines.push(("health", "nothing wrong is heard".into()));
    }
    lines
}

/// One stream: source, rate, what it does, what it lost.
fn stream(stream: &StreamStatus) -> String {
    let state = format!("{:?}", stream.state).to_lowercase();
    let channel = match stream.channel.as_str() {
        "auto" => String::new(),
        channel => format!(", channel {channel}"),
    };
    let seconds = stream.position as f64 / f64::from(stream.rate);
    let why = match (&stream.waiting, stream.state) {
        (Some(why), State::Waiting | State::Starting) => format!(": {why}"),
        _ => String::new(),
    };
    format!(
        "{} at {} Hz{channel}, {}, {seconds:.1} s, {} lost, {state}{why}",
        stream.source,
        stream.rate,
        counted(stream.clients as u64, "client"),
        counted(stream.lost_samples, "sample")
    )
}

/// One client: process, name, age, lag.
fn client(reader: &ReaderStatus) -> String {
    let name = reader.name.as_deref().unwrap_or("?");
    let lag = match (reader.lag, reader.lag_ms) {
        (Some(lag), Some(ms)) => format!("lag {} ({ms:.1} ms)", counted(lag, "sample")),
        _ => "lag unknown".into(),
    };
    let read = match (reader.read, reader.rate) {
        (Some(read), rate @ 1..) => format!(", read {:.1} s", read as f64 / f64::from(rate)),
        _ => String::new(),
    };
    let since = i64::try_from(reader.since_s).unwrap_or(0);
    let since = jiff::Timestamp::from_second(since).unwrap_or_default();
    let since = since.to_zoned_datetime(jiff::tz::TimeZone::system());
    let observes = if reader.observes { ", looks on" } else { "" };
    format!(
        "{} {name}, {} at {} Hz, since {} ({:.0} s){read}, {lag}{observes}",
        reader.pid,
        reader.source,
        reader.rate,
        since.strftime("%Y-%m-%d %H:%M:%S"),
        reader.age_s
    )
}

fn vad(vad: &VadStatus) -> Vec<(&'static str, String)> {
    let Some(model) = &vad.model else {
        let why = vad
            .problem
            .as_deref()
            .unwrap_or(match vad.backend.as_str() {
                "off" => "off",
                _ => "starting",
            });
        return vec![("vad", why.to_owned())];
    };
    let how = match (&vad.scheduling, vad.cpu) {
        (None, _) => "finished".to_owned(),
        (Some(scheduling), Some(cpu)) => format!("{scheduling}, on CPU {cpu}"),
        (Some(scheduling), None) => format!("{scheduling}, not pinned"),
    };
    let mut lines = vec![
        (
            "vad",
            format!("{model}; {how}, {}", counted(vad.migrations, "migration")),
        ),
        (
            "",
            format!(
                "{}, {} ms behind (worst {} ms), caught up {}, {} missed",
                counted(vad.windows, "window"),
                vad.lag_ms,
                vad.worst_lag_ms,
                counted(vad.caught_up, "time"),
                vad.missed
            ),
        ),
    ];
    if let Some(cost) = vad.cost_us {
        let delay = vad.delay_us.map_or_else(String::new, |delay| {
            format!(
                "; published {:.0} us after the audio (p99 {:.0} us)",
                delay.p50, delay.p99
            )
        });
        let (p50, p99) = (cost.p50, cost.p99);
        lines.push((
            "",
            format!("{p50:.0} us per window (p99 {p99:.0} us){delay}"),
        ));
    }
    lines
}
