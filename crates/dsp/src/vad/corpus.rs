//! Speech in many recordings, on all cores. Each worker takes some of the recordings that are
//! open, brings them a few seconds further together, so that they share the network's
//! weights, and puts them back: so many short ones keep all cores busy as well as few long
//! ones, and memory holds a few seconds of each that is open, however long they are.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::hearing::Hearing;
use super::native::{Memory, Network, Part, Recordings, TOGETHER};
use super::recording::{Windows, check};
use super::segment::{LOOK_BACK, Levels, Params, Segment, Segmenter};
use super::{SAMPLE_RATE, WINDOW};
use crate::{Error, ErrorKind, Result};

/// A recording goes so many windows further before another has its turn: 4 s.
const TURN: usize = 128;

/// More threads than any machine has cores for.
pub const MAX_JOBS: usize = 1024;

/// One channel of audio, from its beginning to its end.
pub trait Source: Send {
    /// Samples per second.
    fn rate(&self) -> u32;

    /// Appends what follows, full scale 1.0; false at the end. Blocks.
    ///
    /// # Errors
    /// What ends this recording, and no other.
    fn read(&mut self, out: &mut Vec<f32>) -> Result<bool>;

    /// An error about what was read, saying of which recording.
    fn named(&self, error: Error) -> Error {
        error
    }
}

/// Recordings to come, and what becomes of those that are done. Called by all workers.
pub trait Items: Sync {
    /// The next recording, opened, with a number of its own; None if there is none.
    fn next(&self) -> Option<(usize, Result<Box<dyn Source + '_>>)>;

    /// What was found in that one.
    fn done(&self, number: usize, found: Result<Found>);

    /// Whether to give up: nothing more is asked for, and what is open is dropped.
    fn stopped(&self) -> bool {
        false
    }
}

/// Where speech is in a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// In samples at 16 kHz.
    pub segments: Vec<Segment>,
    /// Of each 32 ms.
    pub probabilities: Vec<f32>,
    /// The recording's length in samples at 16 kHz.
    pub length: u64,
    /// Samples of the recording itself, and how many of them are a second.
    pub samples: u64,
    pub rate: u32,
}

/// How speech is looked for.
#[derive(Clone, Debug)]
pub struct Search {
    /// What counts as speech.
    pub params: Params,
    /// How the network hears.
    pub hearing: Hearing,
    /// Threads; None: as many as there are cores for this process.
    pub jobs: Option<usize>,
    /// Keep each recording's probabilities, 4 bytes for 32 ms.
    pub probabilities: bool,
}

impl Found {
    /// A position at 16 kHz as a sample of the recording itself, never beyond its end.
    pub fn own(&self, position: u64) -> u64 {
        own_position(position, self.rate).min(self.samples)
    }
}

/// Samples at `rate` that so many windows may be of, the first and the last of which may reach
/// beyond them.
pub fn lengths(windows: u64, rate: u32) -> RangeInclusive<u64> {
    let before = windows.saturating_sub(1).saturating_mul(WINDOW as u64);
    let beyond = windows.saturating_add(1).saturating_mul(WINDOW as u64);
    let least = if windows == 0 {
        0
    } else {
        own_position(before, rate) + 1
    };
    least..=own_position(beyond - 1, rate)
}

/// A position at 16 kHz as a sample at `rate`.
pub fn own_position(position: u64, rate: u32) -> u64 {
    (u128::from(position) * u128::from(rate) / u128::from(SAMPLE_RATE)) as u64
}

impl Search {
    /// Finds speech in all of `items`. Blocks until all are done.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for parameters that are not valid, and for a number of jobs that is
    /// not 1 to [`MAX_JOBS`].
    pub fn run(&self, items: &impl Items) -> Result<()> {
        self.params.validate()?;
        let jobs = match self.jobs {
            Some(jobs) if (1..=MAX_JOBS).contains(&jobs) => jobs,
            Some(jobs) => {
                let message =
                    format!("jobs = {jobs}: must be 1 to {MAX_JOBS}, or absent for one per core");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            None => thread::available_parallelism().map_or(1, usize::from),
        };
        let pool = Pool {
            search: self,
            items,
            jobs,
            open: Mutex::default(),
            changed: Condvar::new(),
        };
        thread::scope(|scope| {
            for _ in 1..jobs {
                scope.spawn(|| pool.work());
            }
            pool.work();
        });
        Ok(())
    }
}

/// The recordings that are open.
struct Pool<'a, I: Items> {
    search: &'a Search,
    items: &'a I,
    jobs: usize,
    open: Mutex<OpenRecordings<'a>>,
    /// One came back, or the last one is over.
    changed: Condvar,
}

#[derive(Default)]
struct OpenRecordings<'a> {
    waiting: VecDeque<Track<'a>>,
    /// With a worker.
    taken: usize,
    /// No more to come.
    exhausted: bool,
}

impl<'a, I: Items> Pool<'a, I> {
    fn open(&self) -> MutexGuard<'_, OpenRecordings<'a>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut hands = Hands::default();
        loop {
            let Some((tracks, _lease)) = self.take() else {
                return;
            };
            let kept = hands.advance(tracks, self.items);
            self.open().waiting.extend(kept);
        }
    }

    /// As many recordings as come to each worker, up to what shares the weights; None at the
    /// end of all.
    fn take(&self) -> Option<(Vec<Track<'a>>, Lease<'_, 'a, I>)> {
        loop {
            if self.items.stopped() {
                let mut open = self.open();
                open.exhausted = true;
                open.waiting.clear();
                return None;
            }
            self.fill();
            let mut open = self.open();
            if let Some(first) = open.waiting.pop_front() {
                let each = (open.waiting.len() + open.taken + 1).div_ceil(self.jobs);
                let mut tracks = vec![first];
                // Those of the other network are for another turn.
                let rate = tracks[0].windows.network().rate();
                while tracks.len() < each.min(TOGETHER) {
                    let same = |track: &Track<'_>| track.windows.network().rate() == rate;
                    match open.waiting.iter().position(same) {
                        Some(at) => tracks.extend(open.waiting.remove(at)),
                        None => break,
                    }
                }
                let lease = self.lease(&mut open, tracks.len());
                return Some((tracks, lease));
            }
            if open.exhausted && open.taken == 0 {
                return None;
            }
            // One that is with another worker comes back, or ends.
            drop(
                self.changed
                    .wait(open)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    /// Opens recordings until every worker has its share.
    fn fill(&self) {
        loop {
            let mut open = self.open();
            if open.exhausted || open.waiting.len() + open.taken >= self.jobs * TOGETHER {
                return;
            }
            // Its place, while it is being opened.
            let _lease = self.lease(&mut open, 1);
            drop(open);
            let Some((number, source)) = self.items.next() else {
                self.open().exhausted = true;
                return;
            };
            match source.and_then(|source| Track::new(number, source, self.search)) {
                Ok(track) => self.open().waiting.push_back(track),
                Err(error) => self.items.done(number, Err(error)),
            }
        }
    }

    fn lease(&self, open: &mut OpenRecordings<'a>, count: usize) -> Lease<'_, 'a, I> {
        open.taken += count;
        Lease { pool: self, count }
    }
}

/// Recordings that are with a worker, until they are back or over; also if it panics, so
/// that no other waits for them.
struct Lease<'p, 'a, I: Items> {
    pool: &'p Pool<'a, I>,
    count: usize,
}

impl<I: Items> Drop for Lease<'_, '_, I> {
    fn drop(&mut self) {
        self.pool.open().taken -= self.count;
        self.pool.changed.notify_all();
    }
}

/// A recording on its way.
struct Track<'a> {
    number: usize,
    source: Box<dyn Source + 'a>,
    ended: bool,
    given: u64,
    windows: Windows,
    memory: Memory,
    segmenter: Segmenter,
    /// Of the last seconds, if a cut may depend on them.
    levels: Option<Levels>,
    judged: u64,
    keeps: bool,
    found: Found,
}

impl<'a> Track<'a> {
    fn new(number: usize, source: Box<dyn Source + 'a>, search: &Search) -> Result<Self> {
        let rate = source.rate();
        let windows = Windows::new(rate, search.hearing).map_err(|e| source.named(e))?;
        Ok(Self {
            number,
            source,
            ended: false,
            given: 0,
            memory: windows.memory(),
            windows,
            segmenter: Segmenter::new(&search.params)?,
            levels: (search.params.asks_for_quiet()).then(|| Levels::new(rate)),
            judged: 0,
            keeps: search.probabilities,
            found: Found {
                segments: Vec::new(),
                probabilities: Vec::new(),
                length: 0,
                samples: 0,
                rate,
            },
        })
    }

    /// Reads what one turn needs.
    fn read(&mut self, scratch: &mut Vec<f32>) -> Result<()> {
        let enough = TURN * self.windows.network().window();
        while !self.ended && self.windows.ready().len() < enough {
            scratch.clear();
            self.ended = !self.source.read(scratch)?;
            check(scratch, self.given).map_err(|e| self.source.named(e))?;
            self.given += scratch.len() as u64;
            self.windows.push(scratch);
            if let Some(levels) = &mut self.levels {
                levels.push(scratch);
            }
        }
        if self.ended {
            self.windows.finish();
        }
        Ok(())
    }

    /// Takes the probabilities of what was ready.
    fn hear(&mut self, probabilities: &[f32]) {
        self.windows.judged();
        for (index, &p) in (self.judged..).zip(probabilities) {
            let quietest = |range| self.levels.as_ref()?.quietest(range);
            let out = &mut self.found.segments;
            self.segmenter.push_heard(index, p, quietest, out);
        }
        self.judged += probabilities.len() as u64;
        if let Some(levels) = &mut self.levels {
            levels.forget((self.judged * WINDOW as u64).saturating_sub(LOOK_BACK));
        }
        if self.keeps {
            self.found.probabilities.extend_from_slice(probabilities);
        }
        if self.ended {
            self.found.samples = self.given;
            self.found.length = self.windows.end();
            let end = self.found.length;
            self.segmenter.finish(end, &mut self.found.segments);
        }
    }
}

/// What a worker works with.
#[derive(Default)]
struct Hands {
    networks: Vec<(u32, Recordings)>,
    scratch: Vec<f32>,
    probabilities: [Vec<f32>; TOGETHER],
}

impl Hands {
    /// Brings recordings of one rate a turn further; those that are not over.
    fn advance<'a>(&mut self, tracks: Vec<Track<'a>>, items: &impl Items) -> Vec<Track<'a>> {
        let mut read = Vec::with_capacity(tracks.len());
        for mut track in tracks {
            match track.read(&mut self.scratch) {
                Ok(()) => read.push(track),
                Err(error) => items.done(track.number, Err(error)),
            }
        }
        let Some(first) = read.first() else {
            return read;
        };
        let network = first.windows.network().clone();
        let parts = read.iter_mut().zip(&mut self.probabilities);
        let mut parts: Vec<_> = parts
            .map(|(track, out)| {
                out.clear();
                let (memory, samples) = (&mut track.memory, track.windows.ready());
                Part {
                    memory,
                    samples,
                    out,
                }
            })
            .collect();
        recordings(&mut self.networks, network).advance(&mut parts);
        drop(parts);
        for (track, probabilities) in read.iter_mut().zip(&self.probabilities) {
            track.hear(probabilities);
        }
        let (over, going): (Vec<_>, Vec<_>) = read.into_iter().partition(|track| track.ended);
        for track in over {
            items.done(track.number, Ok(track.found));
        }
        going
    }
}

/// The workspace of that network.
fn recordings(all: &mut Vec<(u32, Recordings)>, network: Network) -> &mut Recordings {
    let rate = network.rate();
    let at = all.iter().position(|(other, _)| *other == rate);
    let at = at.unwrap_or_else(|| {
        all.push((rate, Recordings::new(network)));
        all.len() - 1
    });
    &mut all[at].1
}

#[cfg(test)]
mod tests;
