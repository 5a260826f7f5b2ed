//! A file as a picture: waveform, probability, threshold and segments over time. Colours
//! follow the reader's light or dark mode; in print it is black on white.

use std::fmt::Write;
use std::path::Path;

use v2m_dsp::vad::corpus::Found;

use super::formats::seconds;
use super::shape::Shape;

/// Of the picture, and of the strip of time in it; the page computes times from these.
pub(super) const WIDTH: f64 = 1000.0;
pub(super) const LEFT: f64 = 40.0;
pub(super) const RIGHT: f64 = 990.0;
const HEIGHT: f64 = 210.0;
/// The middle of the waveform and half its height.
const WAVE: (f64, f64) = (70.0, 40.0);
/// Where the probability is 1 and where it is 0.
const SURE: f64 = 120.0;
const NEVER: f64 = 180.0;
const COLUMNS: usize = 950;

/// Without custom properties, which not every viewer of SVG knows.
const STYLE: &str = "
  :root { color-scheme: light dark; }
  .paper { fill: #ffffff; }
  text { font: 11px system-ui, 'DejaVu Sans', sans-serif; fill: #57606a; }
  .title { font-weight: 600; font-size: 13px; fill: #1b1f24; }
  .grid { stroke: #d8dee4; }
  .wave { stroke: #57606a; stroke-width: 1; fill: none; }
  .speech { fill: #2da44e; fill-opacity: 0.22; }
  .curve { fill: none; stroke: #0969da; stroke-width: 1.2; }
  .threshold { stroke: #bc4c00; stroke-dasharray: 5 3; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; } text { fill: #9198a1; } .title { fill: #e6edf3; }
    .grid { stroke: #30363d; } .wave { stroke: #9198a1; } .speech { fill: #3fb950; }
    .curve { stroke: #58a6ff; } .threshold { stroke: #db8a4b; }
  }
  @media print {
    .paper { fill: #fff; } text, .title { fill: #000; } .grid { stroke: #ccc; }
    .wave { stroke: #555; } .speech { fill: #000; fill-opacity: 0.15; }
    .curve, .threshold { stroke: #000; }
  }
";

/// The picture as an SVG document.
pub(super) fn draw(path: &Path, found: &Found, shape: &Shape, threshold: f32) -> String {
    let length = seconds(found.length);
    let x = |seconds: f64| LEFT + (RIGHT - LEFT) * seconds / length.max(1e-9);
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let title = escaped(&path.to_string_lossy());
    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"title\">\n<title id=\"title\">Speech in {title}</title>\n\
         <style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"20\">{title}</text>"
    ));
    for segment in &found.segments {
        let (from, to) = (seconds(segment.start), seconds(segment.end));
        line(format!(
            "<rect class=\"speech\" x=\"{:.2}\" y=\"{:.0}\" width=\"{:.2}\" height=\"{:.0}\">\
             <title>{} to {}</title></rect>",
            x(from),
            WAVE.0 - WAVE.1,
            x(to) - x(from),
            NEVER - WAVE.0 + WAVE.1,
            clock(from),
            clock(to)
        ));
    }
    line(format!("<path class=\"wave\" d=\"{}\"/>", wave(shape)));
    for (y, label) in [(SURE, "1"), (NEVER, "0")] {
        line(format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y}\" y2=\"{y}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        ));
    }
    let y = height(threshold);
    line(format!(
        "<line class=\"threshold\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{threshold}</text>",
        LEFT - 6.0,
        y + 4.0
    ));
    let curve = curve(&found.probabilities, length, x);
    line(format!("<path class=\"curve\" d=\"{curve}\"/>"));
    let step = tick(length);
    let mut at = 0.0;
    while at <= length {
        line(format!(
            "<line class=\"grid\" x1=\"{0:.2}\" x2=\"{0:.2}\" y1=\"{NEVER}\" y2=\"{1}\"/>\
             <text x=\"{0:.2}\" y=\"{2}\" text-anchor=\"middle\">{3}</text>",
            x(at),
            NEVER + 5.0,
            NEVER + 18.0,
            clock(at)
        ));
        at += step;
    }
    line("</svg>".into());
    out
}

fn height(probability: f32) -> f64 {
    NEVER - (NEVER - SURE) * f64::from(probability)
}

/// A stroke for each column, so that its loudest sample shows.
fn wave(shape: &Shape) -> String {
    let mut out = String::new();
    for (n, (least, most)) in shape.columns(COLUMNS).iter().enumerate() {
        let x = LEFT + (RIGHT - LEFT) * (n as f64 + 0.5) / COLUMNS as f64;
        let y = |sample: f32| WAVE.0 - WAVE.1 * f64::from(sample.clamp(-1.0, 1.0));
        // Never nothing: silence is a line.
        let _ = write!(out, "M{x:.1} {:.1}V{:.1}", y(*most) - 0.3, y(*least) + 0.3);
    }
    out
}

/// The largest probability of each column; every window's where there is room.
fn curve(probabilities: &[f32], length: f64, x: impl Fn(f64) -> f64) -> String {
    let each = probabilities.len().div_ceil(COLUMNS).max(1);
    let mut out = String::new();
    for (n, part) in probabilities.chunks(each).enumerate() {
        let middle = (n * each) as f64 * 0.032 + part.len() as f64 * 0.016;
        let most = part.iter().copied().fold(0.0, f32::max);
        let command = if n == 0 { 'M' } else { 'L' };
        let _ = write!(
            out,
            "{command}{:.1} {:.1}",
            x(middle.min(length)),
            height(most)
        );
    }
    out
}

/// A round time of which some ten fit.
fn tick(length: f64) -> f64 {
    let steps = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
        7200.0, 14_400.0,
    ];
    let fits = |step: &&f64| length / **step <= 12.0;
    let largest = (length / 12.0).max(14_400.0);
    steps.iter().find(fits).copied().unwrap_or(largest)
}

/// 1:02:03, 2:03, or 2:03.4 where that matters.
pub(super) fn clock(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    let (s, tenth) = (tenths / 10, tenths % 10);
    let short = match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    };
    match tenth {
        0 => short,
        _ => format!("{short}.{tenth}"),
    }
}

/// For XML and HTML, also between quotes; what XML can't hold is replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => out.push(char::REPLACEMENT_CHARACTER),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}
