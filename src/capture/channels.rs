//! Which of the source's channels are heard: said to the ingest with each block.
//!
//! ```text
//! audio thread:    block ─> Mixer ─> what each channel counts for ─> ingest
//!                             │ ▲
//!                       copies│ │weights
//!                             ▼ │
//! v2m-channels:            Chooser ─> status, events
//! ```
//!
//! A file's thread is not real time: it asks its own [`Chooser`], so that the same file
//! gives the same samples.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};

use super::Event;
use v2m_client::status::ChannelStatus;
use v2m_dsp::channels::{
    Aim, Chooser, Heard, MAX_CHANNELS, Mix, Planar, Selection, Weights, names_for,
};
use v2m_error::Result;
use v2m_ring::sync::TryCell;
use v2m_rt as rt;

/// Frames of one channel that fit between the two threads: two of the longest cycles.
const FRAMES: usize = 16_384;
/// Before each block: its frames and its rate.
const HEAD: usize = 2;

/// How often the copies are listened to: of several channels soon enough for a word, of
/// one for its level only.
const SOON: Duration = Duration::from_millis(20);
const LEVEL_ONLY: Duration = Duration::from_millis(200);

/// Where changes are told.
type Tell = Box<dyn Fn(Event) + Send>;

/// A source's channels, for whoever is not the audio thread.
pub struct Channels {
    selection: Selection,
    aims: Arc<Aims>,
    report: Arc<Mutex<ChannelReport>>,
    tell: Arc<Mutex<Tell>>,
    /// The thread that listens, since a mixer was made.
    listener: Mutex<Option<(Sender<ToListener>, JoinHandle<()>)>>,
}

/// For the status.
#[derive(Default)]
struct ChannelReport {
    names: Vec<String>,
    channels: Vec<ChannelStatus>,
    arranged: Arranged,
}

/// What was decided, on its way to the audio thread.
struct Aims {
    version: AtomicU32,
    latest: TryCell<Decided>,
}

#[derive(Clone, Copy)]
struct Decided {
    /// Grows with each arrangement: from one to the next there is nothing to fade.
    arrangement: u32,
    channels: usize,
    aim: Aim,
}

enum ToListener {
    /// Another mixer copies from now on, so many channels.
    Tap(Consumer<u32>, usize),
    /// Other channels.
    Arranged(Box<Arranged>),
}

/// Channels that are listened to.
#[derive(Clone, Copy, Default)]
struct Arranged {
    arrangement: u32,
    channels: usize,
    /// What they count for, if that is no choice.
    fixed: Option<Weights>,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels")
            .field("selection", &self.selection)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channels {
    /// Hears what `selection` says, and tells of changes.
    pub fn new(selection: Selection, tell: Tell) -> Arc<Self> {
        Arc::new(Self {
            selection,
            aims: Arc::new(Aims {
                version: AtomicU32::new(0),
                latest: TryCell::new(Decided {
                    arrangement: 0,
                    channels: 1,
                    aim: Aim::Undecided,
                }),
            }),
            report: Arc::default(),
            tell: Arc::new(Mutex::new(tell)),
            listener: Mutex::default(),
        })
    }

    /// Hears the source's voice, and tells nobody.
    pub fn auto() -> Arc<Self> {
        Self::new(Selection::Auto, Box::new(drop))
    }

    /// Which channels are to be heard.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Another source, whose channels have these names. Before audio comes from it.
    ///
    /// # Errors
    /// [`v2m_error::ErrorKind::Invalid`] if it has no such channel as is to be heard; the
    /// message says which it has.
    pub fn arrange(&self, names: &[String]) -> Result<()> {
        let fixed = self.begin(names)?;
        let arranged = {
            let mut report = lock(&self.report);
            report.arranged = Arranged {
                arrangement: report.arranged.arrangement + 1,
                channels: report.names.len(),
                fixed,
            };
            report.arranged
        };
        self.aims.begin(arranged);
        if let Some((notes, _)) = &*lock(&self.listener) {
            let _ = notes.send(ToListener::Arranged(Box::new(arranged)));
        }
        Ok(())
    }

    /// The half for an audio thread, for blocks of up to `channels` channels.
    ///
    /// # Errors
    /// [`v2m_error::ErrorKind::System`] if no thread can be started.
    pub fn mixer(&self, channels: usize) -> Result<Mixer> {
        let channels = channels.clamp(1, MAX_CHANNELS);
        let (mut tap, copies) = RingBuffer::<u32>::new(channels * (FRAMES + HEAD));
        if let Ok(mut all) = tap.write_chunk(channels * (FRAMES + HEAD)) {
            let (memory, _) = all.as_mut_slices();
            rt::lock(
                "channels",
                memory.as_ptr().cast(),
                std::mem::size_of_val(memory),
            );
        }
        let notes = self.listener()?;
        let arranged = lock(&self.report).arranged;
        let _ = notes.send(ToListener::Tap(copies, channels));
        let _ = notes.send(ToListener::Arranged(Box::new(arranged)));
        Ok(Mixer {
            aims: self.aims.clone(),
            seen: u32::MAX,
            arrangement: u32::MAX,
            mix: Mix::default(),
            tap,
        })
    }

    /// The thread that listens, started when it is first needed.
    fn listener(&self) -> Result<Sender<ToListener>> {
        let mut listener = lock(&self.listener);
        if let Some((notes, _)) = &*listener {
            return Ok(notes.clone());
        }
        let (notes, inbox) = channel();
        let (aims, report) = (self.aims.clone(), self.report.clone());
        let tell = self.tell.clone();
        let thread = std::thread::Builder::new()
            .name("v2m-channels".into())
            .spawn(move || {
                ChannelListener {
                    aims,
                    report,
                    tell,
                    copies: None,
                    arranged: Arranged::default(),
                    chooser: None,
                    block: Vec::new(),
                    idle: true,
                    changed: false,
                    failed: false,
                }
                .run(&inbox);
            })
            .map_err(|e| v2m_error::Error::system("can't start the channels' thread", e))?;
        *listener = Some((notes.clone(), thread));
        Ok(notes)
    }

    /// Which channels there are, and how they are.
    pub fn status(&self) -> Vec<ChannelStatus> {
        lock(&self.report).channels.clone()
    }

    /// A chooser for the calling thread, for a source whose channels have these names.
    ///
    /// # Errors
    /// As [`arrange`](Self::arrange).
    pub(super) fn chooser(&self, names: &[String], rate: u32) -> Result<Chooser> {
        let fixed = self.begin(names)?;
        Ok(Chooser::new(names.len(), rate, fixed))
    }

    /// A chooser's levels, for the status; and, if it `changed`, what is heard now.
    pub(super) fn publish(&self, chooser: &Chooser, changed: bool) {
        lock(&self.report).show(chooser);
        if changed {
            tell_heard(&self.tell, &self.report, chooser);
        }
    }

    fn begin(&self, names: &[String]) -> Result<Option<Weights>> {
        let names = match names {
            [] => names_for(1),
            names => names[..names.len().min(MAX_CHANNELS)].to_vec(),
        };
        let fixed = self.selection.weights(&names)?;
        let mut report = lock(&self.report);
        report.channels = names
            .iter()
            .enumerate()
            .map(|(n, name)| ChannelStatus {
                name: name.clone(),
                level_dbfs: -120.0,
                peak_dbfs: -120.0,
                heard: fixed.map_or(0.0, |weights| weights[n]),
                ..ChannelStatus::default()
            })
            .collect();
        report.names = names;
        Ok(fixed)
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        if let Some((notes, thread)) = lock(&self.listener).take() {
            drop(notes);
            if thread.join().is_err() {
                tracing::error!("the channels' thread panicked");
            }
        }
    }
}

impl ChannelReport {
    fn show(&mut self, chooser: &Chooser) {
        for (status, level) in self.channels.iter_mut().zip(chooser.levels()) {
            status.level_dbfs = level.level_dbfs;
            status.peak_dbfs = level.peak_dbfs;
            status.heard = level.heard;
            status.dead = level.dead;
            status.inverted = level.inverted;
        }
    }
}

fn tell_heard(tell: &Mutex<Tell>, report: &Mutex<ChannelReport>, chooser: &Chooser) {
    let Some(channel) = chooser.heard() else {
        return;
    };
    let name = lock(report).names.get(channel).cloned().unwrap_or_default();
    let number = channel as u32 + 1;
    lock(tell)(Event::Heard { number, name });
}

impl Aims {
    /// Other channels.
    fn begin(&self, arranged: Arranged) {
        self.change(|latest| {
            *latest = Decided {
                arrangement: arranged.arrangement,
                channels: arranged.channels,
                aim: arranged.fixed.map_or(Aim::Undecided, Aim::Weights),
            };
        });
    }

    /// What is to be heard of the channels of one arrangement, if it is still that one.
    fn decide(&self, arrangement: u32, aim: Aim) {
        self.change(|latest| {
            if latest.arrangement == arrangement {
                latest.aim = aim;
            }
        });
    }

    /// The audio thread never waits for this; this waits for it, for as long as a copy takes.
    fn change(&self, mut change: impl FnMut(&mut Decided)) {
        while self.latest.try_with(&mut change).is_none() {
            std::thread::yield_now();
        }
        self.version.fetch_add(1, Release);
    }
}

/// The audio thread's half.
pub struct Mixer {
    aims: Arc<Aims>,
    /// The version that was taken up last, and its arrangement.
    seen: u32,
    arrangement: u32,
    mix: Mix,
    tap: Producer<u32>,
}

impl Mixer {
    /// What is heard of `block`. Real-time safe: no allocation, lock or system call.
    pub fn hear(&mut self, block: Planar<'_>, rate: u32) -> Heard<'_> {
        let version = self.aims.version.load(Acquire);
        if version != self.seen {
            // Just being changed: the next block takes it up.
            if let Some(decided) = self.aims.latest.try_with(|latest| *latest) {
                self.seen = version;
                if decided.arrangement == self.arrangement {
                    self.mix.fade_to(decided.aim, rate);
                } else {
                    self.arrangement = decided.arrangement;
                    self.mix = Mix::new(decided.channels, decided.aim);
                }
            }
        }
        self.copy(block, rate);
        self.mix.hear(block, rate)
    }

    /// For the thread that listens; where that is late, it misses a block.
    fn copy(&mut self, block: Planar<'_>, rate: u32) {
        let words = HEAD + block.channels() * block.frames();
        if self.tap.slots() < words {
            return;
        }
        let head = [block.frames() as u32, rate];
        let mut whole = self.tap.push_entire_slice(&head).is_ok();
        for channel in 0..block.channels() {
            let samples: &[u32] = bytemuck::cast_slice(block.channel(channel));
            whole &= self.tap.push_entire_slice(samples).is_ok();
        }
        debug_assert!(whole, "there was room");
    }
}

/// The thread that listens to the copies.
struct ChannelListener {
    aims: Arc<Aims>,
    report: Arc<Mutex<ChannelReport>>,
    tell: Arc<Mutex<Tell>>,
    copies: Option<(Consumer<u32>, usize)>,
    arranged: Arranged,
    chooser: Option<Chooser>,
    block: Vec<f32>,
    /// Nothing came when last looked.
    idle: bool,
    /// What is heard changed since then.
    changed: bool,
    /// A rate can't be listened to, and that was said.
    failed: bool,
}

impl ChannelListener {
    fn run(mut self, inbox: &Receiver<ToListener>) {
        loop {
            let chooses = self.arranged.channels > 1 && self.arranged.fixed.is_none();
            let patience = match chooses && !self.idle {
                true => SOON,
                false => LEVEL_ONLY,
            };
            match inbox.recv_timeout(patience) {
                Ok(ToListener::Tap(copies, channels)) => self.copies = Some((copies, channels)),
                Ok(ToListener::Arranged(arranged)) => {
                    // What is still on its way is of the channels before.
                    while self.next().is_some() {}
                    self.arranged = *arranged;
                    self.chooser = None;
                    self.idle = false;
                }
                Err(RecvTimeoutError::Timeout) => self.listen(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// The next block's rate, frames and channels; its samples are in `block`.
    fn next(&mut self) -> Option<(u32, usize, usize)> {
        let (copies, channels) = self.copies.as_mut()?;
        let (frames, rate) = {
            let head = copies.read_chunk(HEAD).ok()?;
            let (first, second) = head.as_slices();
            let word = |n: usize| *first.get(n).unwrap_or_else(|| &second[n - first.len()]);
            (word(0) as usize, word(1))
        };
        let body = copies.read_chunk(HEAD + frames * *channels).ok()?;
        self.block.clear();
        self.block
            .extend(body.into_iter().skip(HEAD).map(f32::from_bits));
        Some((rate, frames, *channels))
    }

    fn listen(&mut self) {
        (self.idle, self.changed) = (true, false);
        while let Some((rate, frames, channels)) = self.next() {
            self.idle = false;
            let arranged = &self.arranged;
            let chooser = self
                .chooser
                .get_or_insert_with(|| Chooser::new(arranged.channels, rate, arranged.fixed));
            chooser.set_rate(rate);
            let block = Planar::new(&self.block, frames, frames, channels);
            match chooser.listen(block) {
                Ok(changed) => self.changed |= changed,
                Err(error) if !std::mem::replace(&mut self.failed, true) => {
                    tracing::warn!("no channel is chosen by its speech: {error}");
                }
                Err(_) => {}
            }
        }
        let Some(chooser) = self.chooser.as_ref().filter(|_| !self.idle) else {
            return;
        };
        lock(&self.report).show(chooser);
        if self.changed {
            self.aims.decide(self.arranged.arrangement, chooser.aim());
            tell_heard(&self.tell, &self.report, chooser);
        }
    }
}
