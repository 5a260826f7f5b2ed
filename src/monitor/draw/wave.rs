//! The waveform: scrolling, speech shaded, losses where they are; below it the
//! probability of speech and a scale of time.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Theme, rule, text};
use crate::monitor::facts;
use crate::monitor::state::MonitorState;
use crate::monitor::wave::{BIN, Bin, dbfs};
use v2m_ring::{GapReason, SAMPLE_RATE};

/// A full scale is halved, in the view, down to this.
const LOWEST_SCALE: f32 = 1.0 / 64.0;

/// Rows beside the waveform's own: the title, the probability, the scale.
pub(super) const EXTRA_ROWS: u16 = 3;

pub(super) fn draw(state: &MonitorState, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let columns = columns(state, area.width);
    let seen = columns.iter().flatten();
    let peak = seen
        .filter_map(|&(from, to)| state.track().wave.between(from, to))
        .fold(0.0, |peak, bin| bin.peak().max(peak));
    let scale = scale(peak);
    title(state, theme, scale, area, buffer);
    let rows = area.height.saturating_sub(EXTRA_ROWS);
    let axis = area.y + 2 + rows;
    scale_of_time(state, theme, Rect::new(area.x, axis, area.width, 1), buffer);
    for (x, column) in (area.x..).zip(columns) {
        let Some((from, to)) = column else { continue };
        let place = Rect::new(x, area.y + 1, 1, rows);
        draw_column(state, theme, (from, to), scale, place, buffer);
        if let Some(share) = state.track().speech(from, to) {
            let style = match state.track().is_speech(from, to) {
                true => theme.speech(),
                false => theme.quiet(),
            };
            buffer[(x, axis - 1)]
                .set_char(theme.share(share))
                .set_style(style);
        }
        if let Some((mark, style)) = mark(state, theme, from, to) {
            buffer[(x, axis)].set_char(mark).set_style(style);
        }
    }
}

/// The stretch of positions of each column, from the left; None before the
/// ring's beginning. Aligned, so that a moving picture doesn't flicker.
fn columns(state: &MonitorState, width: u16) -> Vec<Option<(u64, u64)>> {
    let column = state.view.column();
    let right = state.edge().div_ceil(column);
    // A picture that stands doesn't fill up at its edge.
    let end = state.view.paused.map_or(u64::MAX, |edge| edge / BIN * BIN);
    let stretch = |x: u16| {
        let n = right.checked_sub(u64::from(width - x))?;
        let (from, to) = (n * column, (n + 1) * column);
        (from < end).then(|| (from, to.min(end)))
    };
    (0..width).map(stretch).collect()
}

/// What the picture's height stands for: full scale, or a half, a quarter … of it.
fn scale(peak: f32) -> f32 {
    let mut scale = 1.0;
    while scale > LOWEST_SCALE && peak <= scale / 2.0 {
        scale /= 2.0;
    }
    scale
}

fn title(state: &MonitorState, theme: Theme, scale: f32, area: Rect, buffer: &mut Buffer) {
    let seconds = (u64::from(area.width) * state.view.column()) as f64 / f64::from(SAMPLE_RATE);
    let plus_minus = theme.pick("±", "+-");
    let height = format!("{plus_minus}{scale} ({:.0} dBFS)", dbfs(scale));
    let back = match state.view.paused {
        Some(edge) => format!("paused {:.1} s back", state.ago(edge)),
        None => String::new(),
    };
    let marks = theme.pick(
        "× xrun  ▼ interruption  ◆ device",
        "x xrun  v interruption  d device",
    );
    let seconds = format!("{seconds:.1} s");
    rule(
        theme,
        area,
        &["waveform", &seconds, &height, &back],
        marks,
        buffer,
    );
}

fn draw_column(
    state: &MonitorState,
    theme: Theme,
    (from, to): (u64, u64),
    scale: f32,
    place: Rect,
    buffer: &mut Buffer,
) {
    let track = state.track();
    let gap = track.gap(from, to).is_some_and(facts::is_loss);
    let speech = track.is_speech(from, to);
    let written = from < track.wave.end();
    let (style, fill) = match (written, gap, speech) {
        (true, true, _) => (theme.gap(), theme.gap_fill()),
        (true, false, true) => (theme.speech(), theme.speech_fill()),
        _ => (theme.wave(), ' '),
    };
    let middle = (from + state.view.column() / 2).min(to);
    let halves = [(from, middle), (middle, to)];
    let bins = halves.map(|(from, to)| track.wave.between(from, to));
    for row in 0..place.height {
        let drawn = match theme.is_unicode() {
            true => braille(bins, scale, row, place.height),
            false => bar(track.wave.between(from, to), scale, row, place.height),
        };
        let cell = &mut buffer[(place.x, place.y + row)];
        cell.set_char(drawn.unwrap_or(fill)).set_style(style);
    }
}

/// The rows of dots, from the top, that a stretch of samples covers; `dots` in all.
fn covered(bin: &Bin, scale: f32, dots: u16) -> std::ops::RangeInclusive<u16> {
    let last = f32::from(dots.saturating_sub(1));
    let row = |sample: f32| {
        let down = (1.0 - (sample / scale).clamp(-1.0, 1.0)) / 2.0;
        (down * last).round() as u16
    };
    row(bin.high)..=row(bin.low)
}

/// A cell of two columns by four rows of dots; None if it holds none.
fn braille(bins: [Option<Bin>; 2], scale: f32, row: u16, rows: u16) -> Option<char> {
    // The dots of a cell by column and row, as Unicode numbers them (U+2800 on).
    const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    let mut dots = 0;
    for (bin, column) in bins.iter().zip(DOTS) {
        let Some(bin) = bin else { continue };
        let covered = covered(bin, scale, rows * 4);
        for (dot, bit) in (row * 4..).zip(column) {
            if covered.contains(&dot) {
                dots |= bit;
            }
        }
    }
    char::from_u32(0x2800 + dots).filter(|_| dots > 0)
}

/// The same in ASCII: full cells only.
fn bar(bin: Option<Bin>, scale: f32, row: u16, rows: u16) -> Option<char> {
    let covered = covered(&bin?, scale, rows);
    let flat = covered.start() == covered.end();
    covered
        .contains(&row)
        .then_some(if flat { '-' } else { '|' })
}

fn mark(state: &MonitorState, theme: Theme, from: u64, to: u64) -> Option<(char, Style)> {
    let track = state.track();
    let begins = |position: u64| (from..to).contains(&position);
    match track.gap(from, to).filter(|gap| begins(gap.position)) {
        Some(gap) if gap.detail == GapReason::Xrun as u32 => {
            Some((theme.pick('×', 'x'), theme.bad()))
        }
        Some(gap) if facts::is_loss(gap) => Some((theme.pick('▼', 'v'), theme.bad())),
        _ => track
            .is_device_change(from, to)
            .then_some((theme.pick('◆', 'd'), theme.warning())),
    }
}

/// Seconds back from the right edge.
fn scale_of_time(state: &MonitorState, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let per_second = f64::from(SAMPLE_RATE) / state.view.column() as f64;
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0];
    let roomy = |step: &&f64| **step * per_second >= 10.0;
    let step = *steps.iter().find(roomy).unwrap_or(&60.0);
    let now = match state.view.paused {
        Some(_) => "|",
        None => "now",
    };
    let right = area.right().saturating_sub(now.len() as u16);
    text(buffer, right, area, now, theme.quiet());
    for tick in 1.. {
        let seconds = f64::from(tick) * step;
        let back = (seconds * per_second).round() as u16;
        let Some(x) = area.right().checked_sub(back + 1).filter(|&x| x >= area.x) else {
            break;
        };
        let decimals = usize::from(step < 1.0);
        let label = format!("|-{seconds:.decimals$} s");
        text(buffer, x, area, &label, theme.quiet());
    }
}
