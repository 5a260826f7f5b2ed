//! What a run came to: one JSON document, or a page of text.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::load::Load;
use super::machine::Machine;
use super::stats::{Arrival, Spread, step};
use super::targets::{self, Target};
use super::{Path, Score, receiver};
use v2m_client::status::{LossStatus, Status};
use v2m_dsp::percentile;
use v2m_dsp::resample::Resampler;
use v2m_error::text;
use v2m_ring::Rate;

/// A whole run. Times are in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub machine: Machine,
    pub graph: Graph,
    pub load: Load,
    pub engine: Engine,
    pub injector: Injected,
    /// What each receiver got: first the ring, then ours, then others.
    pub receivers: Vec<Row>,
    /// From the sample's capture to Python's hand, step by step, for each stream; empty if that
    /// was not measured.
    pub budget: Vec<Step>,
    /// What was aimed at, and whether it was met.
    pub targets: Vec<Target>,
}

/// The graph that the impulses went through.
#[derive(Debug, Serialize, Deserialize)]
pub struct Graph {
    /// How the impulses reached the engine.
    pub path: Path,
    pub version: Option<String>,
    /// Samples per cycle, as it ran while ours listened.
    pub quantum: u32,
    /// Samples per second.
    pub rate: u32,
    /// Whether 1024 was what the graph ran at unless somebody asked for less.
    pub stock: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Engine {
    pub scheduling: Option<String>,
    /// Of one core, with one reader.
    pub cpu_percent: f64,
    /// What it lost during the run, and says so.
    pub losses: LossStatus,
    /// What is not as it should be.
    pub degraded: Vec<String>,
}

impl Engine {
    pub(super) fn new(status: &Status, before: &LossStatus, cpu: (u64, u64)) -> Self {
        let lost = &status.losses;
        Self {
            scheduling: status.source.scheduling.clone(),
            cpu_percent: percent(cpu),
            losses: LossStatus {
                gaps: lost.gaps.saturating_sub(before.gaps),
                lost_samples: lost.lost_samples.saturating_sub(before.lost_samples),
                xruns: lost.xruns.saturating_sub(before.xruns),
                repeated: lost.repeated.saturating_sub(before.repeated),
            },
            degraded: status.degraded.clone(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Injected {
    pub scheduling: Option<String>,
    pub impulses: usize,
    /// Of those, how many the graph may not have waited for: they count as neither
    /// received nor lost.
    pub unheard: usize,
    pub cycles: u64,
    pub late_cycles: u64,
    /// The longest time from the graph's wake-up to the injector: the machine's noise.
    pub worst_lateness_us: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    /// `default` or `best` of a peer; of ours, the stream's rate.
    pub form: String,
    /// Whether it reads the engine's ring.
    pub ours: bool,
    pub python: bool,
    /// Why there are no numbers, or not from all rounds.
    pub error: Option<String>,
    /// Its samples per second.
    pub rate: u32,
    /// Impulses that the graph took while it listened.
    pub sent: usize,
    pub received: usize,
    pub lost: usize,
    /// Of those, how many lie in gaps that the engine reported.
    pub lost_in_gaps: usize,
    /// How often it got one again.
    pub duplicated: usize,
    /// Of those received, how many came into the ring with the graph's next cycle, because the
    /// resampler still held them; 0 where no time of writing is known.
    pub next_cycle: usize,
    /// The resampler's delay, which is in its latencies; only ours.
    pub resampler_us: f64,
    /// Of one core, its children included.
    pub cpu_percent: f64,
    /// From the graph to its hand.
    pub latency: Spread,
    /// From the sample's capture to its hand: with the time that the cycle took to fill.
    pub from_capture: Spread,
    /// From the writing into the ring to its hand; only ours.
    pub from_ring: Option<Spread>,
    /// Each single latency, in the order in which they came.
    pub latencies_us: Vec<f64>,
    /// How many of them are of each round.
    pub per_round: Vec<usize>,
}

/// One line of the budget.
#[derive(Debug, Serialize, Deserialize)]
pub struct Step {
    /// Of the stream, in samples per second.
    pub rate: u32,
    pub what: String,
    pub spread: Spread,
}

/// The row of the time at which audio stood in the ring.
pub(super) const RING: &str = "ring (written)";

impl Report {
    pub(super) fn new(
        machine: Machine,
        graph: Graph,
        load: Load,
        engine: Engine,
        injector: Injected,
        scores: Vec<Score>,
    ) -> Self {
        let mut receivers = Vec::with_capacity(scores.len() + 1);
        for score in &scores {
            if score.spec.name == receiver::INSIDE {
                receivers.push(ring_row(score, &graph));
            }
            receivers.push(row(score, &graph));
        }
        let mut report = Self {
            version: env!("CARGO_PKG_VERSION").into(),
            budget: budget(&scores, &graph),
            machine,
            graph,
            load,
            engine,
            injector,
            receivers,
            targets: Vec::new(),
        };
        report.targets = targets::of(&report);
        report
    }

    /// Our row of this name and stream, if it has numbers.
    pub fn row(&self, name: &str, rate: u32) -> Option<&Row> {
        self.receivers
            .iter()
            .find(|row| row.ours && row.name == name && row.rate == rate && row.received > 0)
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        for line in self.heading() {
            writeln!(out, "{line}")?;
        }
        writeln!(
            out,
            "\nfrom the graph to the receiver's hand, ms:\n{:<42}{:>9}{:>9}{:>9}{:>9}{:>9}{:>7}{:>6}{:>5}{:>7}",
            "", "p50", "p95", "p99", "max", "jitter", "of", "lost", "dup", "cpu %"
        )?;
        for row in &self.receivers {
            let name = row.title();
            if row.received == 0 {
                let why = row.error.as_deref().unwrap_or("nothing was received");
                writeln!(out, "{name:<42}  {why}")?;
                continue;
            }
            let s = &row.latency;
            write!(out, "{name:<42}")?;
            for value in [s.p50, s.p95, s.p99, s.max, s.jitter] {
                write!(out, "{:>9.3}", value / 1000.0)?;
            }
            writeln!(
                out,
                "{:>7}{:>6}{:>5}{:>7.1}",
                row.sent, row.lost, row.duplicated, row.cpu_percent
            )?;
            if let Some(error) = &row.error {
                writeln!(out, "{:<42}  not every round: {error}", "")?;
            }
        }
        if !self.budget.is_empty() {
            writeln!(
                out,
                "\nfrom the sample's capture to Python's hand, ms:\n{:>6}  {:<60}{:>9}{:>9}{:>9}",
                "kHz", "", "p50", "p99", "max"
            )?;
            for step in &self.budget {
                let s = &step.spread;
                let kilohertz = f64::from(step.rate) / 1000.0;
                write!(out, "{kilohertz:>6}  {:<60}", step.what)?;
                for value in [s.p50, s.p99, s.max] {
                    write!(out, "{:>9.3}", value / 1000.0)?;
                }
                writeln!(out)?;
            }
        }
        if !self.targets.is_empty() {
            writeln!(out, "\ntargets:")?;
            for target in &self.targets {
                writeln!(out, "{target}")?;
            }
        }
        Ok(())
    }

    pub fn heading(&self) -> Vec<String> {
        let (graph, machine, engine) = (&self.graph, &self.machine, &self.engine);
        let milliseconds = f64::from(graph.quantum) * 1000.0 / f64::from(graph.rate.max(1));
        let stock = if graph.stock {
            ", 1024 unless asked"
        } else {
            ""
        };
        let path = match graph.path {
            Path::Private => "private graph",
            Path::Loopback => "the session, through pw-loopback",
            Path::Direct => "the session, straight from the injector",
            Path::Node => "the session, through a node of it",
            Path::Physical => "through a sink and a source",
        };
        let unknown = || "unknown".to_owned();
        let losses = &engine.losses;
        vec![
            format!(
                "quantum {}/{} ({milliseconds:.1} ms){stock}, {path}, PipeWire {}, load: {}",
                graph.quantum,
                graph.rate,
                graph.version.clone().unwrap_or_else(unknown),
                self.load.name()
            ),
            format!(
                "audio thread: {}; injector: {}, worst lateness {:.2} ms, {} of {} cycles late",
                engine.scheduling.clone().unwrap_or_else(unknown),
                self.injector.scheduling.clone().unwrap_or_else(unknown),
                self.injector.worst_lateness_us / 1000.0,
                self.injector.late_cycles,
                self.injector.cycles
            ),
            format!(
                "engine: {:.1} % of a core, {} lost in {}; it saw the graph's clock jump {}, the injector {}",
                engine.cpu_percent,
                text::counted(losses.lost_samples, "sample"),
                text::counted(losses.gaps, "gap"),
                text::counted(losses.xruns, "time"),
                text::counted(self.injector.late_cycles, "time")
            ),
            format!(
                "{} x {}, Linux {}, load average {:.2}",
                machine.cores, machine.cpu, machine.kernel, machine.load_average
            ),
        ]
    }
}

impl Row {
    /// The median of each round, in microseconds; `None` where nothing arrived.
    pub fn medians(&self) -> Vec<Option<f64>> {
        let mut from = 0;
        let of_round = |&count: &usize| {
            let mut latencies = self.latencies_us.get(from..from + count)?.to_vec();
            from += count;
            latencies.sort_unstable_by(f64::total_cmp);
            percentile(&latencies, 0.5)
        };
        self.per_round.iter().map(of_round).collect()
    }

    pub fn title(&self) -> String {
        match self.form.as_str() {
            "" => self.name.clone(),
            form => format!("{} ({form})", self.name),
        }
    }
}

fn row(score: &Score, graph: &Graph) -> Row {
    let arrivals = &score.outcome.arrivals;
    let cycle_ns = i64::from(graph.quantum) * 1_000_000_000 / i64::from(graph.rate.max(1));
    let next_cycle = |a: &&Arrival| a.written_ns - a.emitted_ns > cycle_ns / 2;
    let latencies = arrivals.iter().map(|a| a.held_ns - a.emitted_ns);
    Row {
        name: score.spec.name.clone(),
        form: score.spec.form.clone(),
        ours: score.spec.stream.is_some(),
        python: score.spec.python,
        error: score.error.clone(),
        rate: score.rate,
        sent: score.outcome.sent,
        received: arrivals.len(),
        lost: score.outcome.lost.len(),
        lost_in_gaps: score.in_gaps,
        duplicated: score.outcome.duplicated,
        next_cycle: arrivals.iter().filter(next_cycle).count(),
        resampler_us: score.spec.stream.map_or(0.0, |rate| delay_us(graph, rate)),
        cpu_percent: percent(score.cpu),
        latency: step(arrivals, |a| a.held_ns - a.emitted_ns),
        from_capture: step(arrivals, |a| a.held_ns - a.captured_ns),
        from_ring: score
            .spec
            .stream
            .map(|_| step(arrivals, |a| a.held_ns - a.written_ns)),
        latencies_us: latencies.map(|ns| ns as f64 / 1000.0).collect(),
        per_round: score.per_round.clone(),
    }
}

/// As seen by the reader in this process: an upper bound where that slept too long.
fn ring_row(score: &Score, graph: &Graph) -> Row {
    let arrivals = &score.outcome.arrivals;
    let latencies = arrivals.iter().map(|a| a.written_ns - a.emitted_ns);
    Row {
        name: RING.into(),
        cpu_percent: 0.0,
        latency: step(arrivals, |a| a.written_ns - a.emitted_ns),
        from_capture: step(arrivals, |a| a.written_ns - a.captured_ns),
        from_ring: None,
        latencies_us: latencies.map(|ns| ns as f64 / 1000.0).collect(),
        ..row(score, graph)
    }
}

/// Of what makes a stream of this rate out of the graph's.
fn delay_us(graph: &Graph, rate: Rate) -> f64 {
    let resampler = Resampler::new(graph.rate, rate.hz());
    resampler.map_or(0.0, |resampler| resampler.delay_ns() as f64 / 1000.0)
}

/// Where the time goes, for the receivers in synchronous Python.
fn budget(scores: &[Score], graph: &Graph) -> Vec<Step> {
    let inside = scores.iter().filter(|s| s.spec.name == receiver::INSIDE);
    let rates = inside.filter_map(|score| score.spec.stream);
    rates
        .flat_map(|rate| stream_budget(scores, graph, rate))
        .collect()
}

fn stream_budget(scores: &[Score], graph: &Graph, rate: Rate) -> Vec<Step> {
    let of = |name| {
        let its = |score: &&Score| score.spec.name == name && score.spec.stream == Some(rate);
        let score = scores.iter().find(its);
        score.map(|score| score.outcome.arrivals.as_slice())
    };
    let [Some(inside), Some(plain), Some(sync)] =
        [receiver::INSIDE, receiver::PLAIN, receiver::SYNC].map(of)
    else {
        return Vec::new();
    };
    if plain.is_empty() || sync.is_empty() || graph.path == Path::Physical {
        return Vec::new();
    }
    let through = match delay_us(graph, rate) / 1000.0 {
        0.0 => "graph".to_owned(),
        ms => format!("graph, and the resampler's {ms:.3} ms in whole cycles"),
    };
    let line = |what: &str, spread| Step {
        rate: rate.hz(),
        what: what.into(),
        spread,
    };
    vec![
        line(
            &format!(
                "quantum {}/{}: until the cycle is full",
                graph.quantum, graph.rate
            ),
            step(sync, |a| a.emitted_ns - a.captured_ns),
        ),
        line(&through, step(inside, |a| a.written_ns - a.emitted_ns)),
        line(
            "wake-up and Python: from the ring to its hand",
            step(sync, |a| a.held_ns - a.written_ns),
        ),
        line(
            "  of that, the wake-up of a plain reader",
            step(plain, |a| a.held_ns - a.written_ns),
        ),
        line(
            "all of it: from capture to Python's hand",
            step(sync, |a| a.held_ns - a.captured_ns),
        ),
    ]
}

fn percent((used, of): (u64, u64)) -> f64 {
    used as f64 * 100.0 / of.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::Spec;

    #[test]
    fn what_the_resampler_holds_at_a_cycles_end_comes_with_the_next() {
        let graph = Graph {
            path: Path::Private,
            version: None,
            quantum: 256,
            rate: 48_000,
            stock: false,
        };
        let spec: Spec = serde_json::from_str(r#"{"name": "x"}"#).unwrap();
        for (rate, delay_us) in [(16_000, 125.0), (48_000, 0.0)] {
            let mut score = Score::new(Spec {
                stream: Some(Rate::new(rate).unwrap()),
                ..spec.clone()
            });
            // Written 0.02 ms after it left, or a cycle later.
            score.outcome.arrivals = [20_000, 5_353_333, 20_000, 2_600_000]
                .map(|ns| Arrival {
                    emitted_ns: 1_000_000,
                    captured_ns: 0,
                    written_ns: 1_000_000 + ns,
                    held_ns: 1_010_000 + ns,
                })
                .to_vec();
            let row = row(&score, &graph);
            assert_eq!((row.received, row.next_cycle), (4, 1));
            assert_eq!(row.resampler_us, delay_us);
        }
        // Whoever doesn't say when it was written.
        let mut score = Score::new(spec);
        score.outcome.arrivals = vec![Arrival {
            emitted_ns: 1_000_000,
            captured_ns: 0,
            written_ns: 0,
            held_ns: 9_000_000,
        }];
        assert_eq!(row(&score, &graph).next_cycle, 0);
    }
}
