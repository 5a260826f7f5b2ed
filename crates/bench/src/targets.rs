//! What the project aims at, each as a ratio within one run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Path;
use super::load::Load;
use super::receiver::{ASYNCIO, ASYNCIO_REMEDY, PLAIN, SYNC, SYNC_REMEDY, UVLOOP};
use super::report::{RING, Report, Row};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub what: String,
    pub value: f64,
    pub limit: f64,
    pub met: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "met" } else { "NOT MET" };
        write!(
            f,
            "  {met:<8} {:>8.2} (at most {}) {}",
            self.value, self.limit, self.what
        )
    }
}

fn target(what: impl Into<String>, value: f64, limit: f64) -> Target {
    Target {
        what: what.into(),
        value,
        limit,
        met: value <= limit,
    }
}

/// Those that this run has the numbers for.
pub(super) fn of(report: &Report) -> Vec<Target> {
    let mut all = Vec::new();
    if report.load == Load::None {
        idle(report, &mut all);
    }
    if report.load == Load::Gil {
        remedy(report, &mut all);
    }
    peers(report, &mut all);
    let ours = report.receivers.iter().filter(|row| row.ours);
    for row in ours.filter(|row| row.received > 0 && row.name != RING) {
        let unexplained = row.lost.saturating_sub(row.lost_in_gaps);
        let what = format!("{}: impulses lost without a gap, or got twice", row.name);
        all.push(target(what, (unexplained + row.duplicated) as f64, 0.0));
    }
    all
}

fn idle(report: &Report, all: &mut Vec<Target>) {
    // In shorter cycles the resampler's delay is a cycle of its own for so many impulses, in
    // everybody's latencies, that it hides what is compared.
    let long = report.graph.quantum >= 256;
    if let (Some(plain), true) = (report.row(PLAIN), long) {
        for (name, limit) in [(SYNC, 1.3), (ASYNCIO, 1.7), (UVLOOP, 1.7)] {
            if let Some(row) = report.row(name) {
                let ratio = row.latency.p50 / plain.latency.p50;
                all.push(target(
                    format!("{name}: median, of the plain reader's"),
                    ratio,
                    limit,
                ));
            }
        }
    }
    let quick = report.graph.quantum <= 128 && report.graph.path != Path::Physical;
    if let (Some(sync), true) = (report.row(SYNC), quick) {
        let what = "capture to Python's hand at p99, of 5 ms";
        all.push(target(what, sync.from_capture.p99 / 5000.0, 1.0));
    }
}

/// Python that gives others less of the GIL, against the best of the others: of all, by
/// what of it arrived, and of those that lost next to nothing.
fn remedy(report: &Report, all: &mut Vec<Target>) {
    let others = || {
        let rows = report.receivers.iter();
        rows.filter(|row| !row.ours && row.python && row.received > 0)
    };
    let first = |a: &&Row, b: &&Row| p99(a).total_cmp(&p99(b));
    let best = others().min_by(first);
    let whole = others()
        .filter(|row| row.lost * 100 <= row.sent)
        .min_by(first);
    let whole = whole.filter(|row| best.is_some_and(|b| b.title() != row.title()));
    for (name, plain) in [(SYNC_REMEDY, SYNC), (ASYNCIO_REMEDY, ASYNCIO)] {
        let Some(row) = report.row(name) else {
            continue;
        };
        for peer in best.into_iter().chain(whole) {
            let lost = peer.lost as f64 * 100.0 / peer.sent.max(1) as f64;
            let what = format!(
                "{name}: p99, of the best Python peer's ({}, which lost {lost:.0} %)",
                peer.title()
            );
            all.push(target(what, p99(row) / p99(peer), 0.5));
        }
        if let (None, Some(plain)) = (best, report.row(plain)) {
            let what = format!("{name}: median, of that without");
            all.push(target(what, p50(row) / p50(plain), 0.5));
        }
    }
}

/// Like with like: others in Python with Python, others without it with the plain reader.
fn peers(report: &Report, all: &mut Vec<Target>) {
    if report.load != Load::None {
        return;
    }
    for (ours, python) in [(SYNC, true), (PLAIN, false)] {
        let Some(own) = report.row(ours) else {
            continue;
        };
        for (form, figure, name) in [
            ("default", p50 as fn(&Row) -> f64, "median"),
            ("default", p99, "p99"),
            ("best", p50, "median"),
        ] {
            let others = || {
                report.receivers.iter().filter(move |row| {
                    !row.ours && row.python == python && row.received > 0 && row.form == form
                })
            };
            let first = |a: &&Row, b: &&Row| figure(a).total_cmp(&figure(b));
            let strongest = others().min_by(first);
            // And of those that give what ours give, if that is another one.
            let alike = others().filter(|row| row.rate == own.rate).min_by(first);
            let alike = alike.filter(|row| strongest.is_some_and(|s| s.name != row.name));
            for peer in strongest.into_iter().chain(alike) {
                let what = format!(
                    "{ours}: {name}, of the strongest {form} of others ({}, {} kHz)",
                    peer.name,
                    f64::from(peer.rate) / 1000.0
                );
                all.push(target(what, figure(own) / figure(peer), 1.0));
            }
        }
    }
}

fn p50(row: &Row) -> f64 {
    row.latency.p50
}

fn p99(row: &Row) -> f64 {
    row.latency.p99
}
