//! What the project aims at, each as a ratio within one run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Path;
use super::load::Load;
use super::receiver::{ASYNCIO, ASYNCIO_REMEDY, FLOOR, PLAIN, SYNC, SYNC_REMEDY, Spec, UVLOOP};
use super::report::{RING, Report, Row};

/// Streams that are compared: what speech software asks for, and what graphs run at.
const SPEECH: u32 = 16_000;
const GRAPH: u32 = 48_000;
/// Peers that hear the graph without anybody between, as `benches/peers` names them.
const JACK: &str = "JACK-Client";
const CPAL: &str = "cpal";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub what: String,
    pub value: f64,
    pub limit: f64,
    pub met: bool,
    /// Where the value is the median of the rounds' own: the quartiles of these.
    pub quartiles: Option<[f64; 2]>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "met" } else { "NOT MET" };
        write!(
            f,
            "  {met:<8} {:>8.2} (at most {}) {}",
            self.value, self.limit, self.what
        )?;
        match self.quartiles {
            Some([low, high]) => write!(f, "; half of the rounds: {low:.2} to {high:.2}"),
            None => Ok(()),
        }
    }
}

fn target(what: impl Into<String>, value: f64, limit: f64) -> Target {
    Target {
        what: what.into(),
        value,
        limit,
        met: value <= limit,
        quartiles: None,
    }
}

/// How the medians of two compare: round by round, as what the machine does in one round, it does
/// to both; then the median of that.
fn medians(what: impl Into<String>, one: &Row, other: &Row, limit: f64) -> Target {
    let (medians, others) = (one.medians(), other.medians());
    let mut ratios: Vec<f64> = medians
        .into_iter()
        .zip(others)
        .filter_map(|(one, other)| Some(one? / other?))
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    // As many rounds below as above, so that neither of the two is favoured.
    let rank = |share: f64| Some((ratios.len().checked_sub(1)? as f64 * share) as usize);
    let ends = |share: f64| {
        let low = rank(share)?;
        Some([ratios[low], ratios[ratios.len() - 1 - low]])
    };
    let value = match ends(0.5) {
        Some([low, high]) => f64::midpoint(low, high),
        None => p50(one) / p50(other),
    };
    Target {
        quartiles: ends(0.25),
        ..target(what, value, limit)
    }
}

/// Whether this receiver is one of those whose tails are compared with each other: they have their
/// turns one after the other.
pub(super) fn is_compared(spec: &Spec) -> bool {
    match spec.stream {
        Some(rate) => rate.hz() == GRAPH && [SYNC, ASYNCIO, FLOOR].contains(&spec.name.as_str()),
        None => spec.form == "best" && (spec.name == JACK || spec.name.starts_with(CPAL)),
    }
}

/// Those that this run has the numbers for.
pub(super) fn of(report: &Report) -> Vec<Target> {
    let mut all = Vec::new();
    match report.load {
        Load::None => {
            idle(report, &mut all);
            for rate in [SPEECH, GRAPH] {
                alike(report, rate, &mut all);
            }
            graph(report, &mut all);
        }
        Load::Gil => remedy(report, &mut all),
        Load::Cpu => {}
    }
    let ours = report.receivers.iter().filter(|row| row.ours);
    for row in ours.filter(|row| row.received > 0 && row.name != RING) {
        let unexplained = row.lost.saturating_sub(row.lost_in_gaps);
        let what = format!("{}: impulses lost without a gap, or got twice", row.title());
        all.push(target(what, (unexplained + row.duplicated) as f64, 0.0));
    }
    all
}

fn idle(report: &Report, all: &mut Vec<Target>) {
    // In shorter cycles the resampler's delay is a cycle of its own for so many impulses, in
    // everybody's latencies, that it hides what is compared.
    let long = report.graph.quantum >= 256;
    let quick = report.graph.quantum <= 128 && report.graph.path != Path::Physical;
    for rate in [SPEECH, GRAPH] {
        if let (Some(plain), true) = (report.row(PLAIN, rate), long) {
            for (name, limit) in [(SYNC, 1.3), (ASYNCIO, 1.7), (UVLOOP, 1.7)] {
                if let Some(row) = report.row(name, rate) {
                    let what = format!("{}: median, of the plain reader's", row.title());
                    all.push(medians(what, row, plain, limit));
                }
            }
        }
        let both = (report.row(ASYNCIO, rate), report.row(FLOOR, rate), long);
        if let (Some(row), Some(floor), true) = both {
            let what = format!("{}: median, of asyncio's floor's", row.title());
            all.push(medians(what, row, floor, 1.2));
        }
        if let (Some(sync), true) = (report.row(SYNC, rate), quick) {
            let what = format!("{}: capture to its hand at p99, of 5 ms", sync.title());
            all.push(target(what, sync.from_capture.p99 / 5000.0, 0.62));
        }
    }
    if let (Some(ring), true) = (report.row(RING, SPEECH), long) {
        let share = ring.next_cycle as f64 / ring.received as f64;
        let what = format!("{}: share that comes a cycle later", ring.title());
        all.push(target(what, share, 0.05));
    }
}

/// Without a resampler, beside the quickest that others are: those that hear the graph itself.
fn graph(report: &Report, all: &mut Vec<Target>) {
    let best = |name: &str| {
        let rows = others(report).filter(|row| row.form == "best" && row.rate == GRAPH);
        rows.filter(|row| row.name.starts_with(name))
            .min_by(|a, b| p99(a).total_cmp(&p99(b)))
    };
    let peers = [best(JACK), best(CPAL)];
    if let Some(sync) = report.row(SYNC, GRAPH) {
        for peer in peers.into_iter().flatten() {
            let what = |name| format!("{}: {name}, of {}'s", sync.title(), peer.title());
            all.push(medians(what("median"), sync, peer, 1.0));
            all.push(target(what("p99"), p99(sync) / p99(peer), 1.0));
        }
    }
    let quickest = peers.into_iter().flatten().map(p99).reduce(f64::min);
    // What the event loop itself takes stands beside it.
    for name in [ASYNCIO, FLOOR] {
        if let (Some(row), Some(quickest)) = (report.row(name, GRAPH), quickest) {
            let what = format!("{}: p99, of the better of these two", row.title());
            all.push(target(what, p99(row) / quickest, 2.0));
        }
    }
}

/// Python that gives others less of the GIL, against those of the others that lost next to
/// nothing, and against what arrived of JACK's.
fn remedy(report: &Report, all: &mut Vec<Target>) {
    let python = || others(report).filter(|row| row.python);
    let whole = python()
        .filter(|row| row.lost * 100 <= row.sent)
        .min_by(|a, b| p99(a).total_cmp(&p99(b)));
    let jack = python().find(|row| row.name == JACK);
    for rate in [SPEECH, GRAPH] {
        for (name, plain) in [(SYNC_REMEDY, SYNC), (ASYNCIO_REMEDY, ASYNCIO)] {
            let Some(row) = report.row(name, rate) else {
                continue;
            };
            for (peer, limit) in [(whole, 0.5), (jack, 1.0)] {
                let Some(peer) = peer else { continue };
                let lost = peer.lost as f64 * 100.0 / peer.sent.max(1) as f64;
                let what = format!(
                    "{}: p99, of {}'s, which lost {lost:.0} %",
                    row.title(),
                    peer.title()
                );
                all.push(target(what, p99(row) / p99(peer), limit));
            }
            if let (None, Some(plain)) = (whole, report.row(plain, rate)) {
                let what = format!("{}: median, of that without", row.title());
                all.push(medians(what, row, plain, 0.5));
            }
        }
    }
}

/// Like with like: the same rate, others in Python with Python, others without it with the plain
/// reader.
fn alike(report: &Report, rate: u32, all: &mut Vec<Target>) {
    for (ours, python) in [(SYNC, true), (PLAIN, false)] {
        let Some(own) = report.row(ours, rate) else {
            continue;
        };
        let strongest = |form: &str, figure: fn(&Row) -> f64| {
            others(report)
                .filter(|row| row.python == python && row.form == form && row.rate == rate)
                .min_by(|a, b| figure(a).total_cmp(&figure(b)))
        };
        let what = |name: &str, form: &str, peer: &Row| {
            let own = own.title();
            format!(
                "{own}: {name}, of the strongest {form} of others ({})",
                peer.name
            )
        };
        if let Some(peer) = strongest("default", p50) {
            all.push(medians(what("median", "default", peer), own, peer, 1.0));
        }
        if let Some(peer) = strongest("default", p99) {
            let what = what("p99", "default", peer);
            all.push(target(what, p99(own) / p99(peer), 1.0));
        }
        if let Some(peer) = strongest("best", p50) {
            all.push(medians(what("median", "best", peer), own, peer, 1.0));
        }
    }
}

fn others(report: &Report) -> impl Iterator<Item = &Row> {
    let rows = report.receivers.iter();
    rows.filter(|row| !row.ours && row.received > 0)
}

fn p50(row: &Row) -> f64 {
    row.latency.p50
}

fn p99(row: &Row) -> f64 {
    row.latency.p99
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::Spread;

    fn row(rounds: &[Vec<f64>]) -> Row {
        let latencies_us = rounds.concat();
        Row {
            name: String::new(),
            form: String::new(),
            ours: true,
            python: true,
            error: None,
            rate: GRAPH,
            sent: latencies_us.len(),
            received: latencies_us.len(),
            lost: 0,
            lost_in_gaps: 0,
            duplicated: 0,
            next_cycle: 0,
            resampler_us: 0.0,
            cpu_percent: 0.0,
            latency: Spread::default(),
            from_capture: Spread::default(),
            from_ring: None,
            latencies_us,
            per_round: rounds.iter().map(Vec::len).collect(),
        }
    }

    proptest! {
        /// A machine that is two times slower in some rounds is that for both, whoever of the two
        /// gets more impulses in these, and a round that one of them has no turn in is left out.
        #[test]
        fn moods_of_whole_rounds_do_not_count(
            rounds in prop::collection::vec((any::<bool>(), 0_usize..30, 1_usize..30), 1..12),
        ) {
            let of = |us: f64, count: fn(&(bool, usize, usize)) -> usize| {
                let latencies = |round: &(bool, usize, usize)| {
                    vec![if round.0 { 2.0 * us } else { us }; count(round)]
                };
                row(&rounds.iter().map(latencies).collect::<Vec<_>>())
            };
            let (one, other) = (of(12.0, |round| round.1), of(10.0, |round| round.2));
            let found = medians("", &one, &other, 1.0);
            // Whichever is asked about.
            let turned = medians("", &other, &one, 1.0);
            if rounds.iter().any(|round| round.1 > 0) {
                prop_assert!((found.value - 1.2).abs() < 1e-9 && !found.met, "{found}");
                prop_assert!((found.value * turned.value - 1.0).abs() < 1e-9, "{turned}");
                prop_assert!(found.quartiles.is_some());
            }
        }
    }

    #[test]
    fn of_two_rounds_neither_is_chosen() {
        let one = row(&[vec![1.0], vec![3.0]]);
        let other = row(&[vec![1.0], vec![1.0]]);
        let found = medians("", &one, &other, 1.0);
        assert_eq!((found.value, found.quartiles), (2.0, Some([1.0, 3.0])));
    }
}
