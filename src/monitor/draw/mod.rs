//! The screen: a state in, cells out. Pure; the terminal is `terminal`'s.

mod lanes;
mod panels;
#[cfg(test)]
mod tests;
mod theme;
mod wave;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::facts;
use super::state::MonitorState;
use super::wakes::Since;
pub use theme::Theme;

/// The smallest screen, in columns and rows.
pub(crate) const SMALLEST: (u16, u16) = (80, 24);

/// Draws everything into `area`.
pub(crate) fn screen(state: &MonitorState, theme: Theme, area: Rect, buffer: &mut Buffer) {
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        return too_small(theme, area, buffer);
    }
    // The waveform has what is more than 24 rows, less a part for the others.
    let more = area.height - SMALLEST.1;
    let (histogram, clients) = ((more / 4).min(4), more / 6);
    // The graph's lines that not every engine has, from the waveform's, too.
    let histogram = histogram.max(panels::more_lines(state));
    // A stream alone needs no lane beside the waveform; of several, as many as there is room
    // for, from the waveform's.
    let lanes = match state.streams().count() as u16 {
        0 | 1 => 0,
        count => 1 + count.min(3 + more / 3),
    };
    let fewer = lanes.min(1);
    let picture = 10 + more + fewer - histogram - clients - lanes;
    let heights = [
        1,
        picture,
        1,
        lanes,
        6 + histogram,
        4 + clients - fewer,
        1,
        1,
    ];
    let mut y = area.y;
    let rows = heights.map(|height| {
        y += height;
        Rect::new(area.x, y - height, area.width, height)
    });
    let [header, picture, level, lanes, middle, clients, notice, keys] = rows;
    self::header(state, theme, header, buffer);
    wave::draw(state, theme, picture, buffer);
    panels::level(state, theme, level, buffer);
    lanes::draw(state, theme, lanes, buffer);
    let left = (area.width / 2).clamp(41, 80);
    let wakes = Rect {
        width: left,
        ..middle
    };
    let graph = Rect::new(
        area.x + left + 1,
        middle.y,
        area.width - left - 1,
        middle.height,
    );
    panels::wakes(state, theme, wakes, buffer);
    panels::graph(state, theme, graph, buffer);
    panels::clients(state, theme, clients, buffer);
    self::notice(state, theme, notice, buffer);
    self::keys(state, theme, keys, buffer);
}

fn too_small(theme: Theme, area: Rect, buffer: &mut Buffer) {
    let lines = [
        format!("This terminal is {} x {}.", area.width, area.height),
        format!("The monitor needs {} x {}.", SMALLEST.0, SMALLEST.1),
        "q quits.".into(),
    ];
    for (line, y) in lines.iter().zip(area.y..area.bottom()) {
        text(
            buffer,
            area.x,
            Rect::new(area.x, y, area.width, 1),
            line,
            theme.title(),
        );
    }
}

fn header(state: &MonitorState, theme: Theme, row: Rect, buffer: &mut Buffer) {
    let x = text(buffer, row.x, row, " v2m-engine ", theme.title());
    let Some(status) = &state.status else { return };
    let x = text(buffer, x, row, &status.version, theme.title());
    let (word, style) = match state.lost {
        Some(_) => ("gone", theme.bad()),
        None => {
            let (word, severity) = facts::state(status.state);
            (word, theme.severity(severity))
        }
    };
    let x = text(buffer, x + 2, row, word, style);
    let up = facts::age(status.uptime_s);
    text(
        buffer,
        x + 2,
        row,
        &format!("up {up}  pid {}", status.pid),
        theme.quiet(),
    );
    if state.view.paused.is_some() {
        let word = " PAUSED ";
        text(
            buffer,
            row.right() - word.len() as u16,
            row,
            word,
            theme.standing(),
        );
    }
}

/// What is not as it should be, the worst of it.
fn notice(state: &MonitorState, theme: Theme, row: Rect, buffer: &mut Buffer) {
    let notices = facts::notices(state);
    if let Some(worst) = notices.first() {
        let more = match notices.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let remedy = worst.remedy.as_ref();
        let remedy = remedy.map_or_else(String::new, |remedy| format!("  -> {remedy}"));
        let line = format!("{}{more}{remedy}", worst.line);
        text(
            buffer,
            row.x + 1,
            row,
            &line,
            theme.severity(worst.severity),
        );
    }
}

fn keys(state: &MonitorState, theme: Theme, row: Rect, buffer: &mut Buffer) {
    let pause = if state.view.paused.is_some() {
        "go on"
    } else {
        "pause"
    };
    let since = match state.view.since {
        Since::Commit => "since capture",
        Since::Capture => "since writing",
    };
    let arrows = theme.pick("← →", "< >");
    let several = state.streams().nth(1).is_some();
    let (moves, stream) = match several {
        true => ("move", Some((theme.pick("↑ ↓", "tab"), "stream"))),
        false => ("back, forward", None),
    };
    let keys = [
        ("q", "quit"),
        ("space", pause),
        ("+ -", "zoom"),
        (arrows, moves),
        ("h", since),
        ("r", "reset"),
    ];
    let mut x = row.x + 1;
    for (key, does) in keys.into_iter().chain(stream) {
        x = text(buffer, x, row, key, theme.title());
        x = text(buffer, x + 1, row, does, theme.quiet()) + 2;
    }
}

/// Writes a text at `x`, cut at the right end of `row`; where it ended.
fn text(buffer: &mut Buffer, x: u16, row: Rect, text: &str, style: Style) -> u16 {
    let room = usize::from(row.right().saturating_sub(x));
    if room == 0 {
        return x;
    }
    buffer.set_stringn(x, row.y, text, room, style).0
}

/// A panel's upper edge: what it shows from the left, a remark at the right.
fn rule(theme: Theme, area: Rect, titles: &[&str], remark: &str, buffer: &mut Buffer) {
    let row = Rect { height: 1, ..area };
    let line = theme.pick("─", "-").repeat(area.width.into());
    text(buffer, area.x, row, &line, theme.quiet());
    let mut x = area.x + 1;
    for (n, title) in titles.iter().filter(|title| !title.is_empty()).enumerate() {
        let style = if n == 0 { theme.title() } else { Style::new() };
        x = text(buffer, x, row, &format!(" {title} "), style) + 1;
    }
    let width = remark.chars().count() as u16 + 2;
    if !remark.is_empty() && x + width < area.right() {
        let remark = format!(" {remark} ");
        text(buffer, area.right() - width, row, &remark, theme.quiet());
    }
}
