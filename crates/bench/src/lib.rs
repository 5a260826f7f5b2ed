//! `v2m-engine bench latency`: how long it takes from the moment an impulse enters the
//! graph until a receiver's code holds it.
//!
//! A [`stage`] is built (a graph, a path through it, an engine). The [`injector`] plays
//! [`code`]d impulses and notes when each left. One [`receiver`] after the other records
//! what it gets, and when; [`stats`] finds the impulses in that. [`report`] and [`svg`]
//! show what came of it.

pub mod code;
pub mod injector;
pub mod load;
pub mod machine;
pub mod player;
pub mod process;
pub mod reader;
pub mod receiver;
pub mod recording;
pub mod report;
pub mod stage;
pub mod stats;
pub mod svg;
pub mod targets;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::injector::{Emission, Injector};
use self::load::{Hogs, Load};
use self::receiver::{Listening, Spec};
use self::report::{Engine, Graph, Injected, Report};
use self::stage::Stage;
use self::stats::Outcome;
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::time::monotonic_ns;
use v2m_ring::{EventLane, Rate, Reader};

/// From a receiver's first audio until impulses count: its start is over.
const SETTLE: Duration = Duration::from_millis(300);
/// Beside peers those whose tails are compared listen so many times as long: the p99 of 1,000
/// impulses is the eleventh from the end, that of 300 the fourth.
const FOR_TAILS: f64 = 3.5;
/// Around an impulse, a gap explains that it was not heard.
const TOUCHES_NS: i64 = 20_000_000;

#[derive(Clone, Debug)]
pub struct Options {
    /// In a PipeWire of its own, also where a session is there.
    pub private: bool,
    /// In a private graph that runs at 1024 unless somebody asks for less.
    pub stock: bool,
    /// Samples per cycle at 48 kHz: forced on a private graph, asked for elsewhere.
    pub quantum: u32,
    /// What else the machine has to do.
    pub load: Load,
    /// For each receiver, all rounds together; more for those whose tails are compared.
    pub duration: Duration,
    /// How often each receiver has its turn.
    pub rounds: u32,
    /// Streams that ours read.
    pub rates: Vec<Rate>,
    /// The Python to look for our module in.
    pub python: String,
    /// Through a loudspeaker or a cable, and back.
    pub physical: bool,
    /// The sink to play to; the session's if `None`.
    pub sink: Option<String>,
    /// The source to capture from; the session's if `None`.
    pub source: Option<String>,
    /// A node to play into and capture from.
    pub node: Option<String>,
    pub peers: Vec<Spec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Through a virtual microphone in a PipeWire of the bench's own.
    Private,
    /// Through pw-loopback in the user's session.
    Loopback,
    /// Straight from the injector, in a session without a manager.
    Direct,
    /// Through a node that the user named.
    Node,
    /// Through a sink and a source.
    Physical,
}

/// What one receiver came to, over all rounds.
#[derive(Debug)]
pub struct Score {
    pub spec: Spec,
    /// Its samples per second.
    pub rate: u32,
    pub outcome: Outcome,
    /// How many arrived in each round, in order.
    pub per_round: Vec<usize>,
    /// Of those lost, how many lie in gaps that the engine reported.
    pub in_gaps: usize,
    /// CPU time and the time in which it was used, nanoseconds.
    pub cpu: (u64, u64),
    /// Why there is nothing to report, or not from every round.
    pub error: Option<String>,
}

/// Measures; `stop` ends it early, by an error. `tell` hears of the progress.
pub fn run(options: &Options, stop: &AtomicBool, tell: impl Fn(&str)) -> Result<Report> {
    let machine = machine::Machine::look();
    let mut stage = Stage::build(options)?;
    // Numbers without a pattern, another one for each run.
    let mut random = Random(machine.unix_time ^ u64::from(std::process::id()) << 32);
    let injector = Injector::start(stage.player_options(), random.next())?;
    stage.start_engine(options.quantum)?;
    let script = stage.receiver()?;
    let source = script.with_extension("c");
    let mut specs = receiver::ours(
        &options.rates,
        &options.python,
        &script,
        &source,
        options.load,
    )?;
    specs.extend(options.peers.iter().cloned());
    let mut scores: Vec<Score> = specs.into_iter().map(Score::new).collect();

    let hogs = Hogs::start(options.load);
    sleep(SETTLE, stop)?;
    injector.take_worst_ns();
    let before = stage.status()?.losses;
    let mut turns = Turns {
        options,
        stage: &stage,
        injector: &injector,
        stop,
        for_tails: options.load == Load::None && !options.peers.is_empty(),
        engine_cpu: (0, 0),
        graph: None,
    };
    for round in 1..=options.rounds {
        let order = random.shuffled(scores.len());
        for index in together(order, |index| targets::is_compared(&scores[index].spec)) {
            let score = &mut scores[index];
            if (round - 1) % score.spec.every.max(1) != 0 {
                continue;
            }
            let form = match score.spec.form.as_str() {
                "" => String::new(),
                form => format!(" ({form})"),
            };
            tell(&format!(
                "round {round} of {}: {}{form}",
                options.rounds, score.spec.name
            ));
            let before = score.outcome.arrivals.len();
            let taken = turns.take(score);
            score.per_round.resize(round as usize - 1, 0);
            let arrived = score.outcome.arrivals.len() - before;
            score.per_round.push(arrived);
            if let Err(error) = taken {
                if stop.load(Ordering::Relaxed) {
                    return Err(error);
                }
                if injector.is_lost() {
                    let message = "PipeWire ended during the run";
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                score.error = Some(error.to_string());
            }
        }
    }
    drop(hogs);

    let (engine_cpu, graph) = (turns.engine_cpu, turns.graph);
    let status = stage.status()?;
    let emissions = injector.emissions();
    let (cycles, late) = injector.cycles();
    Ok(Report::new(
        machine,
        Graph {
            path: stage.route,
            version: status.source.server_version.clone(),
            quantum: graph.map_or(status.source.quantum, |graph| graph.0),
            rate: graph.map_or(status.source.rate, |graph| graph.1),
            stock: options.stock,
        },
        options.load,
        Engine::new(&status, &before, engine_cpu),
        Injected {
            scheduling: injector.scheduling().map(|s| s.to_string()),
            impulses: emissions.len(),
            unheard: emissions.iter().filter(|e| e.spoiled).count(),
            cycles,
            late_cycles: late,
            worst_lateness_us: injector.take_worst_ns() as f64 / 1000.0,
        },
        scores,
    ))
}

/// One receiver's turn after the other.
struct Turns<'a> {
    options: &'a Options,
    stage: &'a Stage,
    injector: &'a Injector,
    stop: &'a AtomicBool,
    /// Whether tails are compared: there are peers, and the machine has nothing else to do.
    for_tails: bool,
    /// The engine's CPU time and the time in which it was used, with one of ours listening.
    engine_cpu: (u64, u64),
    /// Quantum and rate while one of ours listened.
    graph: Option<(u32, u32)>,
}

impl Turns<'_> {
    fn take(&mut self, score: &mut Score) -> Result<()> {
        let spec = &score.spec;
        // Only beside ours: it makes the engine ask for its quantum.
        let witness = spec.stream.map(|rate| self.stage.open(rate)).transpose()?;
        let listening = Listening::start(spec, self.stage, self.options.load)?;
        sleep(SETTLE, self.stop)?;

        let cpu = listening.cpu_ns();
        let engine = process::cpu_ns(self.stage.engine_pid());
        let from = monotonic_ns();
        let mut turn = self.options.duration / self.options.rounds;
        if self.for_tails && targets::is_compared(spec) {
            turn = turn.mul_f64(FOR_TAILS);
        }
        sleep(turn, self.stop)?;
        let to = monotonic_ns();
        let cpu = listening.cpu_ns().saturating_sub(cpu);
        if spec.stream.is_some() {
            let used = process::cpu_ns(self.stage.engine_pid()).saturating_sub(engine);
            self.engine_cpu.0 += used;
            self.engine_cpu.1 += (to - from) as u64;
            let source = self.stage.status()?.source;
            self.graph = Some((source.quantum, source.rate));
        }
        sleep(Duration::from_secs_f64(spec.drain_s), self.stop)?;

        let recording = listening.finish()?;
        let outcome = Outcome::of(&self.injector.emissions(), (from, to), &recording);
        if let Some((_connection, ring)) = witness {
            let lost = outcome.lost.iter();
            score.in_gaps += lost.filter(|emission| in_gap(&ring, emission)).count();
        }
        score.rate = recording.rate;
        score.cpu.0 += cpu;
        score.cpu.1 += (to - from) as u64;
        score.outcome.extend(outcome);
        Ok(())
    }
}

/// Whether the engine reported a loss where this impulse would be.
fn in_gap(ring: &Reader, emission: &Emission) -> bool {
    let count = ring.records_committed(EventLane::Gaps);
    (0..count).rev().take(1000).any(|number| {
        ring.record(EventLane::Gaps, number).is_some_and(|gap| {
            let end = gap.time_ns + ring.rate().ns(gap.length as i64);
            gap.time_ns < emission.captured_ns + TOUCHES_NS && emission.captured_ns < end
        })
    })
}

impl Score {
    fn new(spec: Spec) -> Self {
        Self {
            spec,
            rate: 0,
            outcome: Outcome::default(),
            per_round: Vec::new(),
            in_gaps: 0,
            cpu: (0, 0),
            error: None,
        }
    }
}

/// The same order, but for those that belong together: each follows the one before of them at once,
/// from where the first of them is, so that the machine's moods change little between them.
fn together(order: Vec<usize>, belongs: impl Fn(usize) -> bool) -> Vec<usize> {
    let first = order.iter().position(|&index| belongs(index));
    let (before, rest) = order.split_at(first.unwrap_or(order.len()));
    let (those, others): (Vec<usize>, Vec<usize>) = rest.iter().partition(|&&index| belongs(index));
    [before, &those, &others].concat()
}

/// Sleeps unless `stop` is set, or until it is.
fn sleep(time: Duration, stop: &AtomicBool) -> Result<()> {
    let end = std::time::Instant::now() + time;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::System,
                "interrupted: nothing was measured",
            ));
        }
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// xorshift64*: an order that nobody chose.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let other = (self.next() >> 32) as usize % (last + 1);
            order.swap(last, other);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_holds_everybody_and_orders_differ() {
        let mut random = Random(7);
        let orders: Vec<_> = (0..20).map(|_| random.shuffled(5)).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert!(orders.iter().any(|order| *order != orders[0]));
    }

    #[test]
    fn those_that_are_compared_follow_on_one_another() {
        let mut random = Random(11);
        let mut begins = Vec::new();
        for _ in 0..50 {
            let drawn = random.shuffled(9);
            let order = together(drawn.clone(), |index| index % 3 == 0);
            let places: Vec<_> = (0..9).filter(|&at| order[at] % 3 == 0).collect();
            assert_eq!(places, [0, 1, 2].map(|n| places[0] + n));
            // Each of the two in the order that was drawn.
            for belongs in [true, false] {
                let of = |order: &[usize]| -> Vec<usize> {
                    let some = order.iter().filter(|&&index| (index % 3 == 0) == belongs);
                    some.copied().collect()
                };
                assert_eq!(of(&order), of(&drawn));
            }
            begins.push(order[places[0]]);
        }
        begins.sort_unstable();
        begins.dedup();
        assert_eq!(begins, [0, 3, 6]);
        assert_eq!(together(vec![2, 0, 1], |_| false), [2, 0, 1]);
    }

    #[test]
    fn a_stopped_sleep_ends_at_once() {
        let stop = AtomicBool::new(true);
        assert!(sleep(Duration::from_secs(3600), &stop).is_err());
    }
}
