//! Models of the ring's protocol for loom: every interleaving and every value
//! that the memory model allows a load to see, for one writer and up to two
//! readers of a small lane.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test --release --lib model`.

use loom::sync::Arc;
use loom::thread;

use super::lane::{Counters, Lane, Overwritten};
use super::wake;
use crate::sync::{AtomicU32, Site, weaken};

/// A lane in ordinary memory. Element `n` is written as words that all differ
/// from those of any other element.
struct Owned {
    counters: Counters,
    words: Vec<AtomicU32>,
    width: usize,
    capacity: u64,
}

impl Owned {
    fn new(width: usize, capacity: u64) -> Self {
        let words = (0..width as u64 * capacity)
            .map(|_| AtomicU32::new(0))
            .collect();
        Self {
            counters: Counters::new(),
            words,
            width,
            capacity,
        }
    }

    fn lane(&self) -> Lane<'_> {
        Lane::new(&self.counters, &self.words, self.width, self.capacity)
    }

    fn write(&self, first: u64, count: u64) {
        self.lane().append(first, count, |n, i| word(first + n, i));
    }

    /// Reads the newest `count` elements: right, or refused as overwritten.
    fn check_newest(&self, count: u64) {
        let lane = self.lane();
        let committed = lane.committed();
        let count = count.min(committed).min(lane.capacity());
        let first = committed - count;
        let mut out = vec![0; count as usize * self.width];
        match lane.read(first, &mut out) {
            Ok(()) => {
                for (at, &got) in out.iter().enumerate() {
                    let n = first + (at / self.width) as u64;
                    assert_eq!(got, word(n, at % self.width), "element {n}");
                }
            }
            Err(Overwritten { oldest }) => assert!(oldest > first),
        }
    }
}

fn word(n: u64, i: usize) -> u32 {
    (n as u32 + 1) * 16 + i as u32
}

/// Explores `model` with at most three preemptions (loom's own advice is two or
/// three); memory orders are explored in full whatever the bound.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A writer that laps its reader.
fn one_reader() {
    explore(|| {
        let owned = Arc::new(Owned::new(1, 2));
        let writer = owned.clone();
        let thread = thread::spawn(move || {
            writer.write(0, 1);
            writer.write(1, 2);
        });
        owned.check_newest(2);
        thread.join().unwrap();
        owned.check_newest(2);
    });
}

/// Elements of several words are never seen half.
fn two_readers() {
    explore(|| {
        let owned = Arc::new(Owned::new(2, 1));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let reader = owned.clone();
                thread::spawn(move || reader.check_newest(1))
            })
            .collect();
        owned.write(0, 1);
        owned.write(1, 1);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// What is known about samples is there when the samples are.
fn two_lanes() {
    explore(|| {
        let gaps = Arc::new(Owned::new(1, 2));
        let samples = Arc::new(Owned::new(1, 2));
        let writer = (gaps.clone(), samples.clone());
        let thread = thread::spawn(move || {
            writer.0.write(0, 1);
            writer.1.write(0, 1);
        });
        if samples.lane().committed() == 1 {
            assert_eq!(gaps.lane().committed(), 1);
            gaps.check_newest(1);
        }
        thread.join().unwrap();
    });
}

/// A reader that saw the newest wake word has seen the newest sample; with any
/// older one its wait returns at once.
fn no_missed_wake_up() {
    explore(|| {
        let samples = Arc::new(Owned::new(1, 2));
        let word = Arc::new(AtomicU32::new(0));
        let capture = {
            let (samples, word) = (samples.clone(), word.clone());
            thread::spawn(move || {
                samples.write(0, 1);
                wake::announce(&word);
            })
        };
        if wake::ticket(&word) == 1 {
            assert_eq!(samples.lane().committed(), 1);
        }
        capture.join().unwrap();
        assert_eq!(wake::ticket(&word), 1);
    });
}

/// What is wiped is never taken for what was written.
fn wiped() {
    explore(|| {
        let owned = Arc::new(Owned::new(1, 2));
        owned.write(0, 2);
        let writer = owned.clone();
        let thread = thread::spawn(move || writer.lane().wipe(2, 0..2));
        owned.check_newest(2);
        thread.join().unwrap();
        assert_eq!(owned.lane().oldest(), 2);
    });
}

const MODELS: [fn(); 5] = [one_reader, two_readers, two_lanes, wiped, no_missed_wake_up];

/// One test, since the weakened site is global: first every model holds, then
/// for each site some model fails once that site is weakened.
#[test]
fn orderings_hold_and_each_is_needed() {
    for model in MODELS {
        model();
    }
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let unnoticed: Vec<Site> = [
        Site::Claim,
        Site::Commit,
        Site::Committed,
        Site::Validate,
        Site::Wake,
        Site::Awake,
    ]
    .into_iter()
    .filter(|&site| {
        weaken::set(Some(site));
        !MODELS
            .iter()
            .any(|&model| std::panic::catch_unwind(model).is_err())
    })
    .collect();
    weaken::set(None);
    std::panic::set_hook(quiet);
    assert!(
        unnoticed.is_empty(),
        "no model needs the ordering at {unnoticed:?}"
    );
}
