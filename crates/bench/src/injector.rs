//! Plays the impulses and notes when each of them left.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use super::code::Train;
use super::player::{Moment, Player, PlayerOptions};
use v2m_error::Result;
use v2m_ring::time::monotonic_ns;
use v2m_rt::Scheduling;

/// Impulses that are noted; then the player falls silent. Half an hour of them.
const ROOM: usize = 45_000;
/// Stretches that may not have been heard; of more, the last one grows.
const SPOILED: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emission {
    /// Which one; its code is this modulo [`CODES`](super::code::CODES).
    pub number: u64,
    /// CLOCK_MONOTONIC nanoseconds at which it was written into the graph.
    pub emitted_ns: i64,
    /// And at which a microphone would have heard it: the graph's own time of that
    /// sample, up to a cycle earlier.
    pub captured_ns: i64,
    /// Whether the graph may not have waited for it.
    pub spoiled: bool,
}

/// A player of impulses; dropping it ends it.
#[derive(Debug)]
pub struct Injector {
    player: Player,
    log: Arc<Log>,
}

/// Written by the data thread, read by anyone.
#[derive(Debug)]
struct Log {
    emissions: Box<[[AtomicI64; 3]]>,
    count: AtomicUsize,
    spoiled: Box<[[AtomicU64; 2]]>,
    spoiled_count: AtomicUsize,
    worst_ns: AtomicI64,
    late: AtomicU64,
    cycles: AtomicU64,
}

impl Injector {
    /// Starts to play the train of `seed`.
    pub fn start(options: PlayerOptions, seed: u64) -> Result<Self> {
        let log = Arc::new(Log::new());
        let mut pen = Pen::new(log.clone(), seed);
        let player = Player::start(
            options,
            Box::new(move |moment, out| pen.fill(moment, out, monotonic_ns)),
        )?;
        Ok(Self { player, log })
    }

    /// What has left so far, in order.
    pub fn emissions(&self) -> Vec<Emission> {
        let count = self.log.count.load(Ordering::Acquire);
        let spoiled = self.log.spoiled_numbers();
        let all = self.log.emissions[..count].iter().map(|words| {
            let [number, emitted_ns, captured_ns] =
                [0, 1, 2].map(|n| words[n].load(Ordering::Relaxed));
            let number = number as u64;
            Emission {
                number,
                emitted_ns,
                captured_ns,
                spoiled: spoiled
                    .iter()
                    .any(|[from, to]| (*from..=*to).contains(&number)),
            }
        });
        all.collect()
    }

    /// The longest time from the graph's wake-up to the player's callback since the last
    /// call, in nanoseconds: how much noise the machine makes.
    pub fn take_worst_ns(&self) -> i64 {
        self.log.worst_ns.swap(0, Ordering::Relaxed)
    }

    /// Cycles so far, and those that came too late.
    pub fn cycles(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.log.cycles), load(&self.log.late))
    }

    /// How the thread that plays is scheduled.
    pub fn scheduling(&self) -> Option<Scheduling> {
        self.player.scheduling()
    }

    pub fn is_lost(&self) -> bool {
        self.player.is_lost()
    }
}

impl Log {
    fn new() -> Self {
        let emissions = (0..ROOM).map(|_| [const { AtomicI64::new(0) }; 3]);
        let spoiled = (0..SPOILED).map(|_| [const { AtomicU64::new(0) }; 2]);
        Self {
            emissions: emissions.collect(),
            count: AtomicUsize::new(0),
            spoiled: spoiled.collect(),
            spoiled_count: AtomicUsize::new(0),
            worst_ns: AtomicI64::new(0),
            late: AtomicU64::new(0),
            cycles: AtomicU64::new(0),
        }
    }

    fn spoiled_numbers(&self) -> Vec<[u64; 2]> {
        let count = self.spoiled_count.load(Ordering::Acquire);
        self.spoiled[..count]
            .iter()
            .map(|range| [0, 1].map(|n| range[n].load(Ordering::Relaxed)))
            .collect()
    }
}

/// The data thread's side.
struct Pen {
    log: Arc<Log>,
    seed: u64,
    /// Clock, rate, and the position of the train's beginning.
    anchor: Option<(u32, u32, u64)>,
    train: Train,
    /// Where the next cycle should begin.
    expected: u64,
    /// Impulses below this have left, or never will.
    next: u64,
    /// Numbers go on where another clock or rate began.
    base: u64,
}

impl Pen {
    fn new(log: Arc<Log>, seed: u64) -> Self {
        Self {
            log,
            seed,
            anchor: None,
            train: Train::new(48_000, seed),
            expected: 0,
            next: 0,
            base: 0,
        }
    }

    /// Fills one cycle. On the data thread; `clock` is CLOCK_MONOTONIC in nanoseconds.
    fn fill(&mut self, moment: Moment, out: &mut [f32], clock: impl Fn() -> i64) {
        let log = self.log.clone();
        let now = clock();
        log.cycles.fetch_add(1, Ordering::Relaxed);
        let length = out.len() as u64;
        let here = (moment.clock_id, moment.rate);
        let origin = match self.anchor {
            Some((clock, rate, origin)) if (clock, rate) == here => {
                // The first wake-up belongs to the start, not to the machine.
                log.worst_ns
                    .fetch_max(now - moment.wake_ns, Ordering::Relaxed);
                if moment.position != self.expected {
                    log.late.fetch_add(1, Ordering::Relaxed);
                    let before = self.expected.saturating_sub(length).saturating_sub(origin);
                    let after = moment.position.saturating_sub(origin) + length;
                    self.spoil(before.min(after), after.max(before));
                }
                origin
            }
            _ => {
                if self.anchor.is_some() {
                    let numbers = self.next + 1;
                    self.mark(self.base + numbers.saturating_sub(2), self.base + numbers);
                    // A multiple of the codes, so that they still say the number.
                    self.base += numbers.next_multiple_of(super::code::CODES);
                }
                self.train = Train::new(moment.rate, self.seed);
                self.next = 0;
                self.anchor = Some((moment.clock_id, moment.rate, moment.position));
                moment.position
            }
        };
        self.expected = moment.position + length;
        let position = moment.position.saturating_sub(origin);
        if log.count.load(Ordering::Relaxed) >= ROOM {
            return;
        }
        self.train.play(position, out);

        self.next = self
            .next
            .max(self.train.number_at(position).saturating_sub(1));
        loop {
            let start = self.train.start(self.next);
            if start >= position + length {
                break;
            }
            if start >= position {
                let age = (length - (start - position)) * 1_000_000_000 / u64::from(moment.rate);
                self.note(now, moment.wake_ns - age as i64);
            }
            self.next += 1;
        }
        // The graph has gone on, or is about to: who hears it hears it a cycle later, or never.
        let length_ns = (length * 1_000_000_000 / u64::from(moment.rate)) as i64;
        if clock() > moment.wake_ns + length_ns - length_ns / 8 {
            self.spoil(position, position + 2 * length);
        }
    }

    fn note(&self, emitted_ns: i64, captured_ns: i64) {
        let count = self.log.count.load(Ordering::Relaxed);
        if let Some(words) = self.log.emissions.get(count) {
            let number = (self.base + self.next) as i64;
            for (word, value) in words.iter().zip([number, emitted_ns, captured_ns]) {
                word.store(value, Ordering::Relaxed);
            }
            self.log.count.store(count + 1, Ordering::Release);
        }
    }

    /// Impulses that touch this stretch of the train may not have been heard.
    fn spoil(&self, from: u64, to: u64) {
        let first = self.train.number_at(from).saturating_sub(1);
        self.mark(self.base + first, self.base + self.train.number_at(to));
    }

    fn mark(&self, first: u64, last: u64) {
        let count = self.log.spoiled_count.load(Ordering::Relaxed);
        match self.log.spoiled.get(count) {
            Some(range) => {
                range[0].store(first, Ordering::Relaxed);
                range[1].store(last, Ordering::Relaxed);
                self.log.spoiled_count.store(count + 1, Ordering::Release);
            }
            None => self.log.spoiled[SPOILED - 1][1].store(last, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(position: u64, clock_id: u32) -> Moment {
        Moment {
            rate: 48_000,
            position,
            clock_id,
            wake_ns: (position * 1_000_000_000 / 48_000) as i64,
        }
    }

    fn run(positions: impl Iterator<Item = (u64, u32)>) -> (Arc<Log>, Vec<f32>) {
        run_late(positions.map(|(position, clock)| (position, clock, 100_000)))
    }

    /// Each cycle is filled so many nanoseconds after the graph woke.
    fn run_late(cycles: impl Iterator<Item = (u64, u32, i64)>) -> (Arc<Log>, Vec<f32>) {
        let log = Arc::new(Log::new());
        let mut pen = Pen::new(log.clone(), 5);
        let mut all = Vec::new();
        for (position, clock, late_ns) in cycles {
            let (mut out, moment) = ([0.0; 256], moment(position, clock));
            pen.fill(moment, &mut out, || moment.wake_ns + late_ns);
            all.extend_from_slice(&out);
        }
        (log, all)
    }

    #[test]
    fn each_impulse_is_noted_once_with_its_time() {
        let (log, samples) = run((0..400).map(|n| (10_000 + n * 256, 1)));
        let found = super::super::code::find(&samples, 48_000);
        let count = log.count.load(Ordering::Acquire);
        assert!(found.len() + 1 >= count && found.len() <= count);
        for (n, (code, index)) in found.into_iter().enumerate() {
            let words = &log.emissions[n];
            assert_eq!(words[0].load(Ordering::Relaxed), n as i64);
            assert_eq!(code, n as u64 % super::super::code::CODES);
            // A cycle's samples were captured in the time before its wake-up.
            let captured = (10_000 + index as u64 - 256) * 1_000_000_000 / 48_000;
            let noted = words[2].load(Ordering::Relaxed);
            assert!((noted - captured as i64).abs() < 2, "{noted} {captured}");
        }
        assert_eq!(log.spoiled_count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_cycle_that_was_skipped_spoils_what_it_touched() {
        let skipped = (0..400).filter(|n| *n != 100).map(|n| (n * 256, 1));
        let (log, _) = run(skipped);
        assert_eq!(log.late.load(Ordering::Relaxed), 1);
        let train = Train::new(48_000, 5);
        let [from, to] = log.spoiled_numbers()[0];
        assert!(from < train.number_at(100 * 256) && train.number_at(101 * 256) <= to);
    }

    #[test]
    fn a_cycle_that_is_filled_at_its_end_spoils_what_it_holds() {
        let late = |n: u64| if n == 100 { 5_200_000 } else { 4_500_000 };
        let (log, _) = run_late((0..400).map(|n| (n * 256, 1, late(n))));
        assert_eq!(log.late.load(Ordering::Relaxed), 0);
        let train = Train::new(48_000, 5);
        let [[from, to]] = log.spoiled_numbers()[..] else {
            panic!("{:?}", log.spoiled_numbers());
        };
        assert!(from <= train.number_at(100 * 256) && train.number_at(101 * 256) <= to);
        assert!(to - from < 4, "{from} to {to}");
    }

    #[test]
    fn another_clock_begins_anew_with_other_numbers() {
        let first = (0..100).map(|n| (n * 256, 1));
        let (log, _) = run(first.chain((0..100).map(|n| (5_000_000 + n * 256, 2))));
        let count = log.count.load(Ordering::Acquire);
        let numbers: Vec<_> = (0..count)
            .map(|n| log.emissions[n][0].load(Ordering::Relaxed))
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(numbers.contains(&64), "{numbers:?}");
    }
}
