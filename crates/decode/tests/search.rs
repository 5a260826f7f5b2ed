//! Recordings keep their order, and their errors their place, however many workers there are.

use proptest::prelude::*;
use v2m_decode::{Error, ErrorKind, Item, Result, search};
use v2m_dsp::vad::corpus::{Search, Source};
use v2m_dsp::vad::hearing::Hearing;
use v2m_dsp::vad::segment::Params;

/// So many samples of silence.
struct Silence(usize);

impl Source for Silence {
    fn rate(&self) -> u32 {
        16_000
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        let count = self.0.min(4000);
        out.resize(out.len() + count, 0.0);
        self.0 -= count;
        Ok(self.0 > 0)
    }
}

/// What is given, one by one.
#[derive(Clone, Debug)]
enum Given {
    Audio(usize),
    Missing(u32),
    Bad(u32),
    /// Whoever gives fails.
    Failure(u32),
}

fn given() -> impl Strategy<Value = Given> {
    prop_oneof![
        8 => (0usize..20_000).prop_map(Given::Audio),
        1 => any::<u32>().prop_map(Given::Missing),
        1 => any::<u32>().prop_map(Given::Bad),
        1 => any::<u32>().prop_map(Given::Failure),
    ]
}

fn error(text: String) -> Error {
    Error::new(ErrorKind::Device, text)
}

fn run(all: &[Given], jobs: usize, looks: usize) -> Result<Vec<Result<u64>>> {
    let wanted = Search {
        params: Params::default(),
        hearing: Hearing::Plain,
        jobs: Some(jobs),
        probabilities: false,
    };
    let mut rest = all.iter();
    let next = || match rest.next() {
        None => Ok(None),
        Some(Given::Audio(samples)) => Ok(Some(Ok(Item::Audio(Box::new(Silence(*samples)))))),
        Some(Given::Missing(n)) => Ok(Some(Ok(Item::File(format!("/nowhere/{n}.wav").into())))),
        Some(Given::Bad(n)) => Ok(Some(Err(error(format!("bad {n}"))))),
        Some(Given::Failure(n)) => Err(error(format!("failure {n}"))),
    };
    let mut looked = 0;
    let look = || {
        looked += 1;
        if looked > looks {
            return Err(error("enough".into()));
        }
        Ok(())
    };
    let found = search(&wanted, next, look)?;
    Ok(found
        .into_iter()
        .map(|one| one.map(|found| found.samples))
        .collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_found_stands_where_it_was_given(
        all in prop::collection::vec(given(), 0..20),
        jobs in 1usize..5,
    ) {
        let failure = all.iter().find_map(|one| match one {
            Given::Failure(n) => Some(*n),
            _ => None,
        });
        match (run(&all, jobs, usize::MAX), failure) {
            (Err(why), Some(n)) => prop_assert_eq!(why.to_string(), format!("failure {n}")),
            (Ok(found), None) => {
                prop_assert_eq!(found.len(), all.len());
                for (one, given) in found.iter().zip(&all) {
                    match (one, given) {
                        (Ok(samples), Given::Audio(all)) => prop_assert_eq!(*samples, *all as u64),
                        (Err(why), Given::Missing(n)) => {
                            let name = format!("/nowhere/{n}.wav");
                            prop_assert!(why.to_string().contains(&name));
                        }
                        (Err(why), Given::Bad(n)) => {
                            prop_assert_eq!(why.to_string(), format!("bad {n}"));
                        }
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn whoever_looks_ends_it() {
    let endless = vec![Given::Audio(16_000); 10_000];
    let why = run(&endless, 2, 3).expect_err("it was to end");
    assert_eq!(why.to_string(), "enough");
}
