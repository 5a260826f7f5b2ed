//! Everything but the waveform: level and speech, wake-ups, graph, clients.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Theme, rule, text};
use crate::monitor::state::MonitorState;
use crate::monitor::wakes::{BARS_US, Since, Summary};
use crate::monitor::{facts, wave};
use v2m_client::status::{ReaderStatus, Status};
use v2m_error::text::counted;

/// Where the meter begins.
const FLOOR_DBFS: f32 = -60.0;

/// Level, peak and speech, in one row.
pub(super) fn level(state: &MonitorState, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = area.width.saturating_sub(59).max(16);
    let mut x = text(buffer, area.x, area, " level ", theme.quiet());
    let level = facts::level(&state.track().wave);
    let decibels = |level: f32| match wave::dbfs(level) {
        finite if finite.is_finite() => format!("{finite:>6.1}"),
        _ => "  -inf".into(),
    };
    let (rms, peak) = level.map_or((0.0, 0.0), |level| (level.rms, level.peak));
    let style = match wave::dbfs(peak) {
        peak if peak >= -1.0 => theme.bad(),
        peak if peak >= -6.0 => theme.warning(),
        _ => theme.good(),
    };
    let share = |level: f32| 1.0 - (wave::dbfs(level) / FLOOR_DBFS).clamp(0.0, 1.0);
    let place = Rect::new(x, area.y, width, 1);
    meter(theme, share(rms), style, place, buffer);
    if rms > 0.0 {
        let at = x + ((f32::from(width) * share(peak)) as u16).min(width - 1);
        buffer[(at, area.y)]
            .set_char(theme.pick('│', '|'))
            .set_style(style);
    }
    x = text(
        buffer,
        x + width,
        area,
        &format!("{} dBFS", decibels(rms)),
        Style::new(),
    );
    x = text(buffer, x, area, "  peak", theme.quiet());
    x = text(buffer, x, area, &decibels(peak), style);

    x = text(buffer, x, area, "  speech ", theme.quiet());
    let Some(probability) = state.track().newest_speech() else {
        let why = match &state.status {
            Some(status) if status.vad.backend == "off" => "off",
            _ => "not yet",
        };
        text(buffer, x, area, why, theme.quiet());
        return;
    };
    let end = state.track().wave.end();
    let (style, word) = match state.track().is_speech(end.saturating_sub(1), end) {
        true => (theme.speech(), "speaks"),
        false => (theme.wave(), ""),
    };
    meter(
        theme,
        probability,
        theme.good(),
        Rect::new(x, area.y, 6, 1),
        buffer,
    );
    x = text(
        buffer,
        x + 6,
        area,
        &format!(" {probability:.2} "),
        Style::new(),
    );
    text(buffer, x, area, word, style);
}

/// A bar from the left that covers a share of its place.
fn meter(theme: Theme, share: f32, style: Style, place: Rect, buffer: &mut Buffer) {
    let eighths = (f32::from(place.width) * 8.0 * share).round() as usize;
    for (n, x) in (place.x..place.right()).enumerate() {
        let piece = theme.across(eighths.saturating_sub(n * 8));
        buffer[(x, place.y)].set_char(piece).set_style(style);
    }
}

pub(super) fn wakes(state: &MonitorState, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let summary = state.wakes.summary(state.view.since);
    let since = match state.view.since {
        Since::Commit => "writing",
        Since::Capture => "capture",
    };
    let name = format!("{} wake-ups since {since}", summary.count);
    rule(theme, area, &[&name], "", buffer);
    let inside = Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(1),
        ..area
    };
    let mut numbers = " none yet".to_owned();
    if summary.count > 0 {
        let Summary { p50, p99, max, .. } = summary;
        let micro = theme.pick("µ", "u");
        let [p50, p99, max] = [p50, p99, max].map(|us| facts::duration(us, micro));
        numbers = format!(" median {p50}, p99 {p99}, max {max}");
    }
    text(buffer, inside.x, inside, &numbers, Style::new());
    let bars = Rect::new(
        inside.x + 1,
        inside.y + 1,
        inside.width,
        inside.height.saturating_sub(2),
    );
    let most = summary.bars.iter().copied().max().unwrap_or(0);
    let width = (bars.width.saturating_sub(1) / summary.bars.len() as u16).clamp(3, 6);
    for (n, &count) in summary.bars.iter().enumerate() {
        let x = bars.x + n as u16 * width;
        // Logarithmic: what is rare is what one looks for.
        let share = f64::from(count + 1).ln() / f64::from(most + 1).max(2.0).ln();
        let eighths = (share * f64::from(bars.height) * 8.0).ceil() as usize;
        for row in 0..bars.height {
            let below = usize::from(bars.height - 1 - row) * 8;
            let piece = theme.upright(eighths.saturating_sub(below));
            for x in x..(x + width - 1).min(area.right()) {
                buffer[(x, bars.y + row)]
                    .set_char(piece)
                    .set_style(theme.good());
            }
        }
        // Under each power of ten, which ends the bar above it.
        if let (0, Some(&us)) = (n % 3, BARS_US.get(n)) {
            let label = facts::duration(us.into(), theme.pick("µ", "u"));
            let row = Rect::new(area.x, bars.bottom(), area.width, 1);
            text(buffer, x, row, &label, theme.quiet());
        }
    }
}

/// Source, graph, thread and losses.
pub(super) fn graph(state: &MonitorState, theme: Theme, area: Rect, buffer: &mut Buffer) {
    rule(theme, area, &["graph"], "", buffer);
    let Some(status) = &state.status else { return };
    let lines = graph_lines(state, theme, status);
    for ((label, value, bad), y) in lines.into_iter().zip(area.y + 1..area.bottom()) {
        let row = Rect::new(area.x, y, area.width, 1);
        text(buffer, area.x, row, label, theme.quiet());
        let style = if bad { theme.bad() } else { Style::new() };
        let value = shortened(theme, &value, area.width.saturating_sub(8).into());
        text(buffer, area.x + 8, row, &value, style);
    }
}

/// A text that says so where it is cut.
pub(super) fn shortened(theme: Theme, text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mark = theme.pick("…", "...");
    let kept = width.saturating_sub(mark.chars().count());
    text.chars().take(kept).chain(mark.chars()).collect()
}

/// Lines of the graph that only some engines have: what is cancelled, what is offered.
pub(super) fn more_lines(state: &MonitorState) -> u16 {
    let Some(status) = &state.status else {
        return 0;
    };
    u16::from(status.source.echo.is_some()) + u16::from(status.virtual_microphone.is_some())
}

fn graph_lines(
    state: &MonitorState,
    theme: Theme,
    status: &Status,
) -> Vec<(&'static str, String, bool)> {
    let source = &status.source;
    let linked = source.linked.as_deref().unwrap_or("nothing");
    let captured = match linked == source.asked {
        true => linked.to_owned(),
        false => format!("{} {} {linked}", source.asked, theme.pick("→", "->")),
    };
    let lost = &status.losses;
    let losses = format!(
        "{}, {}, {}",
        counted(lost.lost_samples, "sample"),
        counted(lost.gaps, "gap"),
        counted(lost.xruns, "xrun")
    );
    let losses_seen = state.track().gaps.iter().rfind(|gap| facts::is_loss(gap));
    let gap = losses_seen.map_or("none".into(), |gap| {
        let (ms, reason) = (facts::ms(gap.length), facts::reason(gap));
        let ago = facts::age(state.ago(gap.end()));
        format!("{ms:.0} ms {reason}, {ago} ago")
    });
    let thread = source.scheduling.as_deref().unwrap_or("unknown");
    let graph = format!("{}, {thread}", facts::quantum(source));
    let (vad, vad_fails) = facts::vad(&status.vad, theme.pick("µ", "u"));
    let mut lines = vec![
        ("source", captured, source.linked.is_none()),
        ("graph", graph, thread.starts_with("other")),
        ("lost", losses, lost.gaps > 0),
        ("gap", gap, false),
        ("vad", vad, vad_fails),
    ];
    if let Some(echo) = &source.echo {
        lines.push(("echo", echo.text(), echo.why.is_some()));
    }
    if let Some(microphone) = &status.virtual_microphone {
        lines.push(("offers", microphone.text(), microphone.why.is_some()));
    }
    lines
}

pub(super) fn clients(state: &MonitorState, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let status = state.status.as_ref();
    let all = status.map_or(&[][..], |status| &status.readers[..]);
    // Of several streams, those that read the source that is shown.
    let shown = state.streams().nth(state.number());
    let source = shown.filter(|_| state.streams().nth(1).is_some());
    let of_source =
        |reader: &&ReaderStatus| source.is_none_or(|stream| reader.source == stream.source);
    let readers: Vec<&ReaderStatus> = all.iter().filter(of_source).collect();
    // Whatever an engine says, all of them have a row, or aren't shown.
    let unlisted = status.map_or(0, |status| status.clients.saturating_sub(all.len()));
    let count = readers.len() + unlisted;
    let heading = format!("clients {count}");
    rule(theme, area, &[&heading], "age           behind by", buffer);
    let room = usize::from(area.height.saturating_sub(1));
    // All of them, or the first and how many more.
    let shown = if count > room {
        room.saturating_sub(1)
    } else {
        readers.len()
    };
    let history = status.map_or(u64::MAX, |status| status.ring.history);
    let mut y = area.y + 1;
    for reader in readers.iter().take(shown) {
        client(
            theme,
            reader,
            history,
            Rect::new(area.x, y, area.width, 1),
            buffer,
        );
        y += 1;
    }
    if count > shown && y < area.bottom() {
        let more = format!("         and {} more: `v2m-engine status`", count - shown);
        text(
            buffer,
            area.x,
            Rect::new(area.x, y, area.width, 1),
            &more,
            theme.quiet(),
        );
    }
}

fn client(theme: Theme, reader: &ReaderStatus, history: u64, row: Rect, buffer: &mut Buffer) {
    let pid = format!("{:>8} ", reader.pid);
    let x = text(buffer, row.x, row, &pid, theme.quiet());
    let name = reader.name.as_deref().unwrap_or("?");
    let right = 34.min(row.width);
    let room = Rect::new(row.x, row.y, row.width.saturating_sub(right), 1);
    text(buffer, x, room, name, Style::new());
    let (lag, style) = match (reader.lag, reader.lag_ms) {
        (Some(lag), _) if lag > history => ("more than is kept".into(), theme.bad()),
        (Some(lag), Some(ms)) => (format!("{lag} ({ms:.0} ms)"), Style::new()),
        _ => ("unknown".into(), theme.quiet()),
    };
    let age = format!("{:>10}", facts::age(reader.age_s));
    let x = text(buffer, row.right() - right, row, &age, theme.quiet());
    text(buffer, x, row, &format!("{lag:>23}"), style);
}
