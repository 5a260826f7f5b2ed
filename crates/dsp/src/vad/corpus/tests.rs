use super::*;
use crate::resample::RATES;
use crate::vad::recording::{Recording, at_model_rate};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A buzz whose loudness comes and goes, for so many samples; then it may fail.
#[derive(Clone, Debug)]
struct Buzz {
    rate: u32,
    length: usize,
    piece: usize,
    fails: bool,
    position: usize,
}

impl Source for Buzz {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        if self.position == self.length && self.fails {
            return Err(Error::new(ErrorKind::Device, "it fails"));
        }
        let end = (self.position + self.piece).min(self.length);
        out.extend((self.position..end).map(|n| {
            let t = n as f32 / self.rate as f32 * std::f32::consts::TAU;
            0.3 * ((t * 140.0).sin() + (t * 700.0).sin()) * (t * 0.7).sin().max(0.0)
        }));
        self.position = end;
        Ok(end < self.length || self.fails)
    }
}

struct Buzzes {
    all: Vec<Buzz>,
    next: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
    found: Mutex<Vec<Option<Result<Found>>>>,
    stop_after: usize,
}

impl Items for Buzzes {
    fn next(&self) -> Option<(usize, Result<Box<dyn Source + '_>>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let buzz = self.all.get(number)?.clone();
        let open = 1 + self.open.fetch_add(1, Ordering::Relaxed);
        self.most.fetch_max(open, Ordering::Relaxed);
        Some((number, Ok(Box::new(buzz))))
    }

    fn done(&self, number: usize, found: Result<Found>) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let mut all = self.found.lock().expect("no other panics");
        assert!(all[number].replace(found).is_none(), "done twice");
    }

    fn stopped(&self) -> bool {
        let all = self.found.lock().expect("no other panics");
        all.iter().flatten().count() >= self.stop_after
    }
}

fn search(jobs: usize) -> Search {
    Search {
        params: Params::default(),
        hearing: Hearing::Plain,
        jobs: Some(jobs),
        probabilities: true,
    }
}

fn run(all: Vec<Buzz>, jobs: usize, stop_after: usize) -> Buzzes {
    let count = all.len();
    let items = Buzzes {
        all,
        next: AtomicUsize::new(0),
        open: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        found: Mutex::new((0..count).map(|_| None).collect()),
        stop_after,
    };
    search(jobs).run(&items).expect("valid parameters");
    items
}

fn buzz() -> impl Strategy<Value = Buzz> {
    let rate = prop::sample::select(vec![16_000u32, 8000, 44_100]);
    (
        rate,
        0usize..200_000,
        1usize..9000,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(rate, length, piece, fails)| Buzz {
            rate,
            length,
            piece,
            fails,
            position: 0,
        })
}

proptest! {
    /// Audio of so many samples is in the range of its own number of windows, and of no number
    /// that differs by two.
    #[test]
    fn a_recording_has_one_of_its_lengths(length in 0u64..1 << 40, rate in RATES) {
        let windows = at_model_rate(length, rate).div_ceil(WINDOW as u64);
        prop_assert!(lengths(windows, rate).contains(&length));
        prop_assert!(!lengths(windows + 2, rate).contains(&length));
        if windows >= 2 {
            prop_assert!(!lengths(windows - 2, rate).contains(&length));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Each is what it is alone, whichever others are there and on however many threads;
    /// one that fails concerns no other, and no more are open than there is room for.
    #[test]
    fn recordings_do_not_concern_each_other(
        all in prop::collection::vec(buzz(), 0..14), jobs in 1usize..4
    ) {
        let items = run(all.clone(), jobs, usize::MAX);
        prop_assert!(items.most.into_inner() <= jobs * TOGETHER);
        let found = items.found.into_inner().expect("no panic");
        for (buzz, found) in all.into_iter().zip(found) {
            let found = found.expect("done");
            prop_assert_eq!(found.is_err(), buzz.fails);
            let Ok(found) = found else { continue };
            let (mut samples, mut alone) = (Vec::new(), Vec::new());
            let mut again = buzz.clone();
            while again.read(&mut samples)? {}
            let mut recording = Recording::new(buzz.rate)?;
            recording.push(&samples, &mut alone);
            recording.finish(&mut alone);
            prop_assert_eq!(found.probabilities.len(), alone.len());
            for (a, b) in found.probabilities.iter().zip(&alone) {
                prop_assert!((a - b).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn to_stop_leaves_the_rest() {
    let long = Buzz {
        rate: 16_000,
        length: 100_000,
        piece: 1000,
        fails: false,
        position: 0,
    };
    let items = run(vec![long; 60], 2, 5);
    let found = items.found.into_inner().expect("no panic");
    let done = found.iter().flatten().count();
    assert!((5..30).contains(&done), "{done}");
}

struct Panics;

impl Items for Panics {
    fn next(&self) -> Option<(usize, Result<Box<dyn Source + '_>>)> {
        panic!("as it may")
    }

    fn done(&self, _: usize, _: Result<Found>) {}
}

#[test]
fn a_panic_ends_all_instead_of_leaving_others_to_wait() {
    let run = || search(3).run(&Panics);
    assert!(std::panic::catch_unwind(run).is_err());
}

#[test]
fn no_jobs_are_refused() {
    assert_eq!(
        search(0).run(&Panics).expect_err("refused").kind(),
        ErrorKind::Invalid
    );
}
