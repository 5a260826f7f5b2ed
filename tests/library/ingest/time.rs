//! The ingest against a model of time: whatever stops, for however long, and whoever goes on
//! first, a position means its time.

use proptest::prelude::*;
use v2m_engine::capture::{Block, Sink};
use v2m_ring::{NS_PER_SAMPLE, Reader};

use super::{START_NS, Setup, setup_of};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;
/// How often the main thread looks whether silence is to be filled in.
const TICK: i64 = 100 * MS;
/// Beyond one block, times may be off by this before it is taken for a loss.
const SLACK: i64 = 10 * MS;
/// What a clock conceals is found after so long, and a block.
const FOUND: i64 = 200 * MS;
/// What the resampler holds back, and the rounding of edges.
const HELD: i64 = 3 * MS;

/// What the source sounds like: a value for every moment, never zero.
fn sound(time_ns: i64) -> f32 {
    (0.1 + (time_ns - START_NS) as f64 * 4e-12) as f32
}

/// When a sample was captured, by its value.
fn heard_at(sample: f32) -> i64 {
    START_NS + ((f64::from(sample) - 0.1) / 4e-12) as i64
}

/// What becomes of the source's clock while it stands still.
#[derive(Clone, Copy, Debug)]
enum Clock {
    /// It counts what is missing.
    Counts,
    /// It goes on as if nothing were missing.
    Conceals,
    /// Another one comes.
    Changes,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// For so many ms all is well.
    Run(i64),
    /// The source captures nothing for so many ms.
    Stop(i64, Clock),
    /// The source captures, and hands it out only after so many ms, all at once. The main
    /// thread is awake meanwhile, or else comes first or second afterwards.
    Hold(i64, Main),
    /// The source's clock says that so many ms are missing, and lies.
    Claim(i64),
    /// So many blocks get lost.
    Lose(u64),
    /// Another clock gives the last ms again.
    Again(i64),
    /// Another rate.
    Rate(u32),
    /// Another quantum.
    Quantum(u64),
    /// Blocks arrive so many ms after their end from now on.
    Late(i64),
    /// The user mutes it for so many ms; the source goes on, or rests.
    Mute(i64, bool),
}

impl Step {
    /// Whether the clock's count is wrong after it: only times tell, after a while.
    fn deceives(&self) -> bool {
        matches!(self, Self::Claim(_) | Self::Stop(_, Clock::Conceals))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Main {
    Awake,
    First,
    Second,
}

struct World {
    setup: Setup,
    now: i64,
    tick: i64,
    clock: u64,
    rate: u32,
    quantum: u64,
    lag: i64,
    /// Position and time of the source's next sample, when these were last set.
    anchor: (u64, i64),
    position: u64,
    /// Times are told so much too late at most.
    jitter: i64,
    /// All times are told so much too late.
    wrong: i64,
    random: u64,
    longest_block: i64,
}

impl World {
    fn new(rate: u32, quantum: u64, jitter: i64) -> Self {
        let world = Self {
            setup: setup_of(1 << 21),
            now: START_NS,
            tick: START_NS,
            clock: 1,
            rate,
            quantum,
            lag: 0,
            anchor: (7000, START_NS),
            position: 7000,
            jitter,
            wrong: 0,
            random: 1,
            longest_block: 0,
        };
        world.setup.ingest.expect(rate);
        world
    }

    fn reader(&self) -> &Reader {
        &self.setup.reader
    }

    fn time_of(&self, position: u64) -> i64 {
        let samples = i128::from(position) - i128::from(self.anchor.0);
        self.anchor.1 + (samples * 1_000_000_000 / i128::from(self.rate)) as i64
    }

    /// Until when the source has captured.
    fn captured(&self) -> i64 {
        self.time_of(self.position)
    }

    fn anchor(&mut self, position: u64, time_ns: i64) {
        (self.anchor, self.position) = ((position, time_ns), position);
    }

    fn late_by(&mut self) -> i64 {
        self.random = self
            .random
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        match self.jitter {
            0 => 0,
            most => (self.random >> 33) as i64 % most,
        }
    }

    fn deliver(&mut self, lost: bool) {
        let from = self.position;
        self.position += self.quantum;
        let time_ns = self.time_of(from) + self.late_by() + self.wrong;
        let (first, end) = (sound(self.time_of(from)), sound(self.captured()));
        let step = (end - first) / self.quantum as f32;
        let samples: Vec<f32> = (0..self.quantum).map(|n| first + n as f32 * step).collect();
        let block = Block {
            rate: self.rate,
            clock: self.clock,
            position: from,
            time_ns,
            ..Block::mono(&samples)
        };
        self.longest_block = self.longest_block.max(block.duration_ns());
        if !lost {
            self.setup.ingest.take(&block, self.now);
        }
    }

    /// The main thread looks after the ingest.
    fn tick(&mut self) {
        self.setup.ingest.prepare();
        self.setup.ingest.fill(self.now);
        self.tick = self.now + TICK;
    }

    /// Lets time pass; what arrives and ticks is due.
    fn pass(&mut self, until: i64, source: bool, main: bool) {
        loop {
            let arrival = self.time_of(self.position + self.quantum) + self.lag;
            let arrival = if source { arrival } else { i64::MAX };
            let tick = if main { self.tick } else { i64::MAX };
            if arrival.min(tick) > until {
                break;
            }
            self.now = self.now.max(arrival.min(tick));
            if arrival <= tick {
                self.deliver(false);
            } else {
                self.tick();
            }
        }
        self.now = self.now.max(until);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Run(ms) => self.pass(self.now + ms * MS, true, true),
            Step::Stop(ms, clock) => {
                // What was captured is still handed out.
                self.pass(self.now + self.lag, true, true);
                let stopped = self.captured();
                self.pass(self.now + ms * MS, false, true);
                let again = stopped + ms * MS;
                match clock {
                    Clock::Counts => {
                        let missing = ms as u64 * u64::from(self.rate) / 1000;
                        self.anchor(self.position + missing, again);
                    }
                    Clock::Conceals => self.anchor(self.position, again),
                    Clock::Changes => {
                        self.clock += 1;
                        self.anchor(0, again);
                    }
                }
            }
            Step::Hold(ms, main) => {
                self.pass(self.now + ms * MS, false, main == Main::Awake);
                if main == Main::First {
                    self.tick();
                }
                self.pass(self.now, true, false);
                self.tick = self.tick.max(self.now);
            }
            Step::Claim(ms) => {
                let captured = self.captured();
                let claimed = ms as u64 * u64::from(self.rate) / 1000;
                self.anchor(self.position + claimed, captured);
            }
            Step::Lose(count) => {
                for _ in 0..count {
                    let end = self.time_of(self.position + self.quantum) + self.lag;
                    self.now = self.now.max(end);
                    self.deliver(true);
                }
            }
            Step::Again(ms) => {
                let again = (self.captured() - ms * MS).max(START_NS);
                self.clock += 1;
                self.anchor(123, again);
            }
            Step::Rate(rate) => {
                let captured = self.captured();
                self.rate = rate;
                self.anchor(self.position, captured);
            }
            Step::Quantum(quantum) => self.quantum = quantum,
            Step::Late(ms) => self.lag = ms * MS,
            Step::Mute(ms, goes_on) => {
                let stopped = self.captured();
                self.setup.ingest.set_muted(true);
                self.pass(self.now + ms * MS, goes_on, true);
                self.setup.ingest.set_muted(false);
                if !goes_on {
                    self.clock += 1;
                    self.anchor(0, stopped.max(self.now - self.lag));
                }
            }
        }
    }

    /// How much later than its position's the time is at which the source is now.
    fn off(&self) -> i64 {
        let position = self.reader().committed();
        self.captured() - START_NS - position as i64 * NS_PER_SAMPLE
    }
}

fn clocks() -> impl Strategy<Value = Clock> {
    prop_oneof![
        Just(Clock::Counts),
        Just(Clock::Conceals),
        Just(Clock::Changes)
    ]
}

fn mains() -> impl Strategy<Value = Main> {
    prop_oneof![Just(Main::Awake), Just(Main::First), Just(Main::Second)]
}

/// From a quantum to many seconds, as often short as long.
fn lengths() -> impl Strategy<Value = i64> {
    prop_oneof![100_i64..600, 600_i64..3000, 3000_i64..12_000]
}

fn steps(rates: &'static [u32]) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_i64..1500).prop_map(Step::Run),
        2 => (lengths(), clocks()).prop_map(|(ms, clock)| Step::Stop(ms, clock)),
        2 => (lengths(), mains()).prop_map(|(ms, main)| Step::Hold(ms, main)),
        1 => (100_i64..2000).prop_map(Step::Claim),
        1 => (1_u64..80).prop_map(Step::Lose),
        1 => (1_i64..3000).prop_map(Step::Again),
        1 => prop::sample::select(rates).prop_map(Step::Rate),
        1 => (32_u64..1024).prop_map(Step::Quantum),
        1 => prop_oneof![Just(0_i64), 0_i64..2500].prop_map(Step::Late),
    ];
    prop::collection::vec(step, 1..12)
}

/// The same, and now and then it is muted.
fn steps_muted(rates: &'static [u32]) -> impl Strategy<Value = Vec<Step>> {
    let mute = (1_i64..2500, any::<bool>()).prop_map(|(ms, goes_on)| Step::Mute(ms, goes_on));
    (
        steps(rates),
        prop::collection::vec((any::<prop::sample::Index>(), mute), 1..5),
    )
        .prop_map(|(mut steps, mutes)| {
            for (at, mute) in mutes {
                steps.insert(at.index(steps.len() + 1), mute);
            }
            steps
        })
}

/// Everything in the ring, and which of it is flagged.
fn everything(reader: &Reader) -> (Vec<f32>, Vec<bool>) {
    let mut samples = vec![0.0; reader.committed() as usize];
    reader.read_samples(0, &mut samples).unwrap();
    let mut flagged = vec![false; samples.len()];
    for gap in reader.gaps_within(0, reader.committed()) {
        let end = (gap.end() as usize).min(flagged.len());
        flagged[gap.position as usize..end].fill(true);
    }
    (samples, flagged)
}

/// Whatever happens, and after it all is well for a while: where does the source stand?
fn live_through(steps: &[Step], rate: u32, jitter: i64) -> World {
    let mut world = World::new(rate, 256, jitter);
    world.step(Step::Run(500));
    let mut position = 0;
    for step in steps {
        world.step(*step);
        let now = world.reader().committed();
        assert!(now >= position, "back from {position} to {now}");
        position = now;
    }
    world.step(Step::Run(6500));
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_position_is_its_time(
        steps in steps(&[22_050, 48_000, 16_000]),
        jitter in prop_oneof![Just(0), Just(5 * MS)],
    ) {
        let world = live_through(&steps, 24_000, jitter);
        let tolerance = world.longest_block + SLACK + HELD + jitter;
        let off = world.off();
        prop_assert!(off.abs() <= tolerance, "off by {} ms", off as f64 / 1e6);
        let newest = world.reader().committed() - 1;
        let told = world.reader().time_ns(newest).unwrap();
        let off = told - START_NS - newest as i64 * NS_PER_SAMPLE;
        prop_assert!(off.abs() <= tolerance, "told {} ms off", off as f64 / 1e6);
    }

    /// At 16 kHz nothing is converted: each sample is audio or silence.
    #[test]
    fn each_sample_is_of_its_time_or_flagged_and_counted_once(
        steps in steps(&[16_000]),
        jitter in prop_oneof![Just(0), Just(5 * MS)],
    ) {
        let world = live_through(&steps, 16_000, jitter);
        let (samples, flagged) = everything(world.reader());
        prop_assert!(samples.len() > 4 * 16_000);
        let tolerance = world.longest_block + SLACK + jitter;
        let found = if steps.iter().any(Step::deceives) {
            (FOUND + 2 * world.longest_block) / NS_PER_SAMPLE
        } else {
            0
        };
        let mut wrong = 0;
        for (n, (&sample, &flagged)) in samples.iter().zip(&flagged).enumerate() {
            prop_assert_eq!(sample == 0.0, flagged, "sample {}", n);
            let off = heard_at(sample) - START_NS - n as i64 * NS_PER_SAMPLE;
            wrong = if flagged || off.abs() <= tolerance { 0 } else { wrong + 1 };
            prop_assert!(wrong <= found, "sample {} off by {} ms", n, off as f64 / 1e6);
        }
        let silent = samples.iter().filter(|sample| **sample == 0.0).count() as u64;
        prop_assert_eq!(world.reader().losses().samples, silent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is converted is of its time, too: nothing that a filter makes of where audio begins and
    /// ends is without a flag.
    #[test]
    fn what_is_converted_is_of_its_time_or_flagged(
        steps in steps_muted(&[48_000, 44_100, 22_050]),
        jitter in prop_oneof![Just(0), Just(5 * MS)],
    ) {
        // How far the filter may be from 0 dB.
        const OFF: f32 = 1e-3;
        let world = live_through(&steps, 48_000, jitter);
        let (samples, flagged) = everything(world.reader());
        let tolerance = (world.longest_block + SLACK + HELD + jitter) as f32 * 4e-12;
        let found = if steps.iter().any(Step::deceives) {
            (FOUND + 2 * world.longest_block) / NS_PER_SAMPLE
        } else {
            0
        };
        let mut wrong = 0;
        // At its very beginning the filter has heard nothing yet.
        for (n, (&sample, &flagged)) in samples.iter().zip(&flagged).enumerate().skip(50) {
            let expected = sound(START_NS + n as i64 * NS_PER_SAMPLE);
            let off = (sample - expected).abs();
            wrong = if flagged || off <= tolerance + OFF * expected { 0 } else { wrong + 1 };
            prop_assert!(wrong <= found, "sample {} is {}, not {}", n, sample, expected);
        }
    }
}

/// Whatever a source's times are worth, some seconds later its audio is there.
#[test]
fn a_clock_that_is_wrong_is_heard_all_the_same() {
    for wrong in [-3600 * SECOND, -20 * SECOND, 20 * SECOND, 3600 * SECOND] {
        for from_the_start in [true, false] {
            let mut world = World::new(16_000, 512, 0);
            if !from_the_start {
                world.step(Step::Run(2000));
                world.clock += 1;
            }
            world.wrong = wrong;
            world.step(Step::Run(70_000));
            let before = world.reader().committed();
            world.step(Step::Run(2000));
            let samples = (world.reader().committed() - before) as i64;
            let what = format!("{} s, from the start: {from_the_start}", wrong / SECOND);
            assert!((samples - 32_000).abs() < 2000, "{what}: {samples}");
            let flagged = world.reader().has_gap(before, samples as u64);
            assert!(!flagged, "{what}: silence");
        }
    }
}

#[test]
fn ten_minutes_cost_the_real_time_thread_no_more_than_the_ring() {
    for main in [Main::Awake, Main::First, Main::Second] {
        let mut world = World::new(16_000, 1024, 0);
        world.step(Step::Run(1000));
        world.step(Step::Hold(600_000, main));
        world.step(Step::Run(1000));
        assert!(
            world.off().abs() <= HELD,
            "{main:?}: {} ms",
            world.off() / MS
        );
        let lost = world.reader().losses().samples as i64;
        let expected = if main == Main::Second {
            0
        } else {
            600 * 16_000 - 4800
        };
        assert!((lost - expected).abs() <= 1600, "{main:?}: {lost} lost");
    }
}
