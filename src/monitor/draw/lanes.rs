//! A row for each stream: its level as time goes by, and what is to be said of it. The one
//! that the rest of the screen shows is marked.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Theme, rule, text};
use crate::monitor::ear::SourceChannel;
use crate::monitor::facts::{self, Severity};
use crate::monitor::state::MonitorState;
use crate::monitor::track::Track;
use crate::monitor::wave::dbfs;
use v2m_client::status::StreamStatus;
use v2m_error::text::counted;

/// Where a lane's bars begin.
const FLOOR_DBFS: f32 = -60.0;
/// Columns of the mark and of the name, of which a third of a wide screen may be.
const MARK: u16 = 2;
const NAME: u16 = 20;
/// Columns of the rate, of the level, and of what is to be said.
const RATE: u16 = 7;
const LEVEL: u16 = 7;
const REMARK: u16 = 17;

pub(super) fn draw(state: &MonitorState, theme: Theme, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (count, number) = (state.streams().count(), state.number());
    let heading = format!("streams {count}");
    let which = format!("{} of {count}", number + 1);
    rule(
        theme,
        area,
        &[&heading, &which],
        "dBFS   losses, clients",
        buffer,
    );
    let room = usize::from(area.height - 1);
    // The one that is shown is among those that there is room for.
    let first = (number + 1).saturating_sub(room);
    let lanes = state.streams().enumerate().skip(first).take(room);
    for ((at, stream), y) in lanes.zip(area.y + 1..) {
        let row = Rect::new(area.x, y, area.width, 1);
        lane(state, theme, stream, at == number, row, buffer);
    }
}

fn lane(
    state: &MonitorState,
    theme: Theme,
    stream: &StreamStatus,
    is_shown: bool,
    row: Rect,
    buffer: &mut Buffer,
) {
    let (mark, style) = match is_shown {
        true => (theme.pick("▸", ">"), theme.title()),
        false => (" ", Style::new()),
    };
    text(buffer, row.x, row, mark, style);
    let name = NAME.max(row.width / 4);
    let cut = |from: u16, width: u16| Rect::new(row.x + from, row.y, width, 1);
    let place = cut(MARK, name);
    let shown = super::panels::shortened(theme, &stream.source, name.into());
    text(buffer, place.x, place, &shown, style);
    let rate = format!("{:>6}", facts::rate(stream.rate));
    let place = cut(MARK + name, RATE);
    text(buffer, place.x, place, &rate, theme.quiet());
    let left = MARK + name + RATE + 1;
    let picture = cut(left, row.width - left - LEVEL - REMARK);
    let track = state.track_of(&SourceChannel::of(stream));
    let (word, severity) = facts::state(stream.state);
    if severity != Severity::Fine || stream.linked.is_none() {
        let why = match &stream.waiting {
            Some(why) => format!("{word}: {why}"),
            None => word.into(),
        };
        text(buffer, picture.x, picture, &why, theme.severity(severity));
    } else if let Some(track) = track {
        bars(state, theme, track, picture, buffer);
        let level = facts::level(&track.wave).map_or(f32::NEG_INFINITY, |level| dbfs(level.rms));
        let level = match level.is_finite() {
            true => format!("{level:>6.1}"),
            false => "  -inf".into(),
        };
        let place = cut(row.width - LEVEL - REMARK, LEVEL);
        text(buffer, place.x, place, &level, Style::new());
    }
    let place = cut(row.width - REMARK, REMARK);
    let (remark, style) = remark(theme, stream);
    text(buffer, place.x, place, &format!(" {remark:>16}"), style);
}

/// What is wrong with the source, else what was lost and who reads it.
fn remark(theme: Theme, stream: &StreamStatus) -> (String, Style) {
    if let Some(kind) = stream.health.first() {
        return (kind.clone(), theme.warning());
    }
    let clients = stream.clients;
    match stream.gaps {
        0 => (format!("0, {clients}"), theme.quiet()),
        gaps => (format!("{}, {clients}", counted(gaps, "gap")), theme.bad()),
    }
}

/// The peak of each column, in decibels, as far back as the waveform goes at this zoom.
fn bars(state: &MonitorState, theme: Theme, track: &Track, place: Rect, buffer: &mut Buffer) {
    let column = state.view.column();
    // What is paused or moved is the one that is shown; the others stand at the same time ago.
    let back = state.track().wave.end().saturating_sub(state.edge());
    let right = track.wave.end().saturating_sub(back).div_ceil(column);
    for x in 0..place.width {
        let Some(n) = right.checked_sub(u64::from(place.width - x)) else {
            continue;
        };
        let (from, to) = (n * column, (n + 1) * column);
        let Some(bin) = track.wave.between(from, to) else {
            continue;
        };
        let share = 1.0 - (dbfs(bin.peak()) / FLOOR_DBFS).clamp(0.0, 1.0);
        let (piece, style) = if track.gap(from, to).is_some_and(facts::is_loss) {
            (theme.gap_fill(), theme.gap())
        } else if track.is_speech(from, to) {
            (theme.share(share), theme.speech())
        } else {
            (theme.share(share), theme.wave())
        };
        buffer[(place.x + x, place.y)]
            .set_char(piece)
            .set_style(style);
    }
}
