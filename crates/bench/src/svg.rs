//! The report as a picture: for each receiver the histogram and the cumulative share of
//! its latencies, all on one logarithmic axis. Colours follow the reader's light or dark
//! mode; in print all is black on white.

use std::fmt::Write;

use super::report::{Report, Row};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 290.0;
const RIGHT: f64 = 850.0;
const ROW: f64 = 46.0;
/// Of a row, for its curves.
const CURVE: f64 = 36.0;
const BINS: usize = 120;
/// Where numbers end, right of the axis.
const COLUMNS: [f64; 3] = [60.0, 110.0, 144.0];

/// Without custom properties, which not every viewer of SVG knows.
const STYLE: &str = "
  :root { color-scheme: light dark; }
  .paper { fill: #ffffff; }
  text { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #1b1f24; }
  .title { font-weight: 600; font-size: 15px; }
  .dim { fill: #57606a; font-size: 11px; }
  .number { font-size: 11px; font-variant-numeric: tabular-nums; }
  .grid { stroke: #d8dee4; stroke-width: 1; }
  .bars { stroke: none; fill-opacity: 0.45; }
  .curve { fill: none; stroke-width: 1.6; }
  .ours .bars { fill: #0969da; } .ours .curve { stroke: #0969da; }
  .other .bars { fill: #9a6700; } .other .curve { stroke: #9a6700; }
  .median { stroke: #1b1f24; stroke-width: 1; stroke-dasharray: 2 2; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; } text { fill: #e6edf3; } .dim { fill: #9198a1; }
    .grid { stroke: #30363d; } .median { stroke: #e6edf3; }
    .ours .bars { fill: #58a6ff; } .ours .curve { stroke: #58a6ff; }
    .other .bars { fill: #d9a93d; } .other .curve { stroke: #d9a93d; }
  }
  @media print {
    .paper { fill: #fff; } text, .dim { fill: #000; } .grid { stroke: #ccc; }
    .median { stroke: #000; }
    .ours .bars { fill: #000; } .ours .curve { stroke: #000; }
    .other .bars { fill: #777; } .other .curve { stroke: #777; }
  }
";

/// The picture as an SVG document.
pub fn draw(report: &Report) -> String {
    let rows: Vec<&Row> = report.receivers.iter().collect();
    let axis = Axis::of(&rows);
    let heading = report.heading();
    let top = 50.0 + heading.len() as f64 * 15.0;
    let bottom = top + rows.len() as f64 * ROW;
    let height = bottom + 50.0;
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };

    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\" aria-labelledby=\"title\">"
    ));
    line("<title id=\"title\">Latency from the graph to each receiver's hand</title>".into());
    line(format!("<style>{STYLE}</style>"));
    line(format!(
        "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height:.0}\"/>"
    ));
    line(text(
        20.0,
        26.0,
        "title",
        "start",
        "From the graph to the receiver's hand",
    ));
    for (n, heading) in heading.iter().enumerate() {
        line(text(20.0, 45.0 + n as f64 * 15.0, "dim", "start", heading));
    }

    for decade in axis.low..=axis.high {
        for step in 1..10 {
            let value = 10_f64.powi(decade) * f64::from(step);
            let x = axis.x(value);
            if x > RIGHT + 0.5 || (step > 1 && decade == axis.high) {
                continue;
            }
            let opacity = if step == 1 { 1.0 } else { 0.4 };
            line(format!(
                "<line class=\"grid\" opacity=\"{opacity}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
            ));
            if step == 1 {
                line(text(x, bottom + 16.0, "", "middle", &label(value)));
            }
        }
    }
    let legend = "bars: how often; line: share of impulses that have arrived; dashes: median";
    line(text(LEFT, bottom + 36.0, "dim", "start", legend));
    for (column, words) in COLUMNS.iter().zip(["p50 ms", "p99 ms", "lost"]) {
        line(text(RIGHT + column, top - 6.0, "dim", "end", words));
    }

    for (n, row) in rows.iter().enumerate() {
        draw_row(&mut line, &axis, row, top + (n as f64 + 1.0) * ROW - 4.0);
    }
    out.push_str("</svg>\n");
    out
}

fn draw_row(line: &mut impl FnMut(String), axis: &Axis, row: &Row, base: f64) {
    let class = if row.ours { "ours" } else { "other" };
    line(format!("<g class=\"{class}\">"));
    line(text(LEFT - 12.0, base - 14.0, "", "end", &row.title()));
    line(format!(
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{base:.1}\" y2=\"{base:.1}\"/>"
    ));
    if row.received == 0 {
        let why = row.error.as_deref().unwrap_or("nothing was received");
        let why: String = why.chars().take(90).collect();
        line(text(LEFT + 8.0, base - 14.0, "dim", "start", &why));
        line("</g>".into());
        return;
    }
    let mut ordered = row.latencies_us.clone();
    ordered.sort_by(f64::total_cmp);

    let mut bins = [0_usize; BINS];
    for value in &ordered {
        let share = (axis.x(*value) - LEFT) / (RIGHT - LEFT);
        bins[((share * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let most = bins.iter().copied().max().unwrap_or(1).max(1) as f64;
    let step = (RIGHT - LEFT) / BINS as f64;
    let mut bars = String::new();
    for (n, count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        let tall = CURVE * *count as f64 / most;
        let x = LEFT + n as f64 * step;
        let _ = write!(bars, "M{x:.1} {base:.1}v{:.1}h{step:.1}V{base:.1}z", -tall);
    }
    line(format!("<path class=\"bars\" d=\"{bars}\"/>"));

    // As many points as the eye can tell apart.
    let every = (ordered.len() / 300).max(1);
    let mut curve = format!("M{LEFT:.1} {base:.1}");
    for (n, value) in ordered.iter().enumerate() {
        if n % every == 0 || n + 1 == ordered.len() {
            // Of all that were sent: a curve that stays below the top tells of losses.
            let share = (n + 1) as f64 / row.sent.max(1) as f64;
            let _ = write!(curve, "H{:.1}V{:.1}", axis.x(*value), base - CURVE * share);
        }
    }
    let _ = write!(curve, "H{RIGHT:.1}");
    line(format!("<path class=\"curve\" d=\"{curve}\"/>"));
    let x = axis.x(row.latency.p50);
    line(format!(
        "<line class=\"median\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{base:.1}\" y2=\"{:.1}\"/>",
        base - CURVE
    ));
    let numbers = [
        milliseconds(row.latency.p50),
        milliseconds(row.latency.p99),
        row.lost.to_string(),
    ];
    for (column, number) in COLUMNS.iter().zip(numbers) {
        line(text(RIGHT + column, base - 14.0, "number", "end", &number));
    }
    line("</g>".into());
}

/// Microseconds to places: powers of ten at the ends.
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    fn of(rows: &[&Row]) -> Self {
        let all = || rows.iter().flat_map(|row| row.latencies_us.iter());
        let least = all().fold(f64::INFINITY, |a, b| a.min(*b)).clamp(1.0, 1e6);
        let most = all().fold(0.0_f64, |a, b| a.max(*b)).clamp(least, 1e7);
        let low = least.log10().floor() as i32;
        Self {
            low,
            high: (most.log10().ceil() as i32).max(low + 1),
        }
    }

    fn x(&self, microseconds: f64) -> f64 {
        let decades = f64::from(self.high - self.low);
        let share = (microseconds.max(1e-3).log10() - f64::from(self.low)) / decades;
        LEFT + (RIGHT - LEFT) * share.clamp(0.0, 1.0)
    }
}

fn label(microseconds: f64) -> String {
    match microseconds {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us => format!("{us} µs"),
    }
}

fn milliseconds(us: f64) -> String {
    match us / 1000.0 {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms if ms >= 1.0 => format!("{ms:.2}"),
        ms => format!("{ms:.3}"),
    }
}

fn text(x: f64, y: f64, class: &str, anchor: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{words}</text>"
    )
}
