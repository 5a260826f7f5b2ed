//! The engine's side: one writer for each thread that writes, each with lanes
//! of its own. None ever looks at a reader.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::rand::{GetRandomFlags, getrandom};

use super::State;
use super::echo::Echo;
use super::event::{Event, GapReason, Kind, NAME_BYTES};
use super::layout::{LaneId, Layout};
use super::memory::Memory;
use super::rate::Rate;
use crate::error::{Error, Result};
use crate::shm::{self, Access};
use crate::sync::{AtomicU32, Ordering};

/// A new ring: what the engine keeps of it, and its writers.
#[derive(Debug)]
pub struct Ring {
    memory: Arc<Memory>,
    file: OwnedFd,
}

impl Ring {
    /// Creates a ring that keeps at least `history` samples at 16 kHz; sealed, its pages
    /// present.
    pub fn create(history: u64) -> Result<(Self, CaptureWriter, SpeechWriter, ControlWriter)> {
        Self::at(Rate::SPEECH, history)
    }

    /// The same, at another rate.
    pub fn at(
        rate: Rate,
        history: u64,
    ) -> Result<(Self, CaptureWriter, SpeechWriter, ControlWriter)> {
        let mut ring_id = [0; 16];
        // Unique is all that it must be: zeros, should the call be refused, are as good a ring.
        let _ = getrandom(&mut ring_id, GetRandomFlags::empty());
        let layout = Layout::new(
            rate,
            history,
            ring_id,
            std::process::id(),
            crate::time::monotonic_ns(),
        )?;
        let file = shm::create("v2m-ring", layout.total_bytes)?;
        let memory = Arc::new(Memory::map(file.as_fd(), layout, Access::Write)?);
        memory.write_header();
        shm::seal(file.as_fd())?;
        let file = shm::read_only(file.as_fd())?;
        let capture = CaptureWriter {
            memory: memory.clone(),
            next: 0,
            windows: 0,
            echo: Echo::default(),
            wiped: 0,
            wiping: false,
            gaps: 0,
            lost: Lost::default(),
        };
        let speech = SpeechWriter {
            memory: memory.clone(),
            windows: 0,
            turns: 0,
        };
        let control = ControlWriter {
            memory: memory.clone(),
            notices: 0,
        };
        Ok((Self { memory, file }, capture, speech, control))
    }

    /// The descriptor to give to readers: it can't be opened or mapped for writing.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A descriptor of the engine's own, for a reader of its own.
    pub fn duplicate(&self) -> Result<OwnedFd> {
        let copy = self.file.try_clone();
        copy.map_err(|cause| Error::system("cannot duplicate the ring's descriptor", cause))
    }

    /// What never changes.
    pub fn layout(&self) -> &Layout {
        self.memory.layout()
    }

    /// Keeps the ring in RAM; an error says which limit forbids it.
    pub fn lock(&self) -> Result<()> {
        self.memory.lock()
    }

    /// Windows whose samples are all there.
    pub(super) fn complete_windows(&self) -> u64 {
        self.memory.lane(LaneId::Samples).committed() / self.layout().rate.window()
    }

    pub(super) fn wake_word(&self) -> &AtomicU32 {
        self.memory.wake_word()
    }
}

/// Counts of [`CaptureWriter::losses`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Stretches of filled silence.
    pub gaps: u64,
    /// Samples, at the ring's rate, that were lost.
    pub samples: u64,
    /// Jumps of the source's own clock.
    pub xruns: u64,
    /// Blocks offered twice and ignored.
    pub repeated: u64,
}

/// Writes samples, their clock and their gaps. Real-time safe throughout: no
/// allocation, lock or system call; time in proportion to the samples given.
#[derive(Debug)]
pub struct CaptureWriter {
    memory: Arc<Memory>,
    next: u64,
    windows: u64,
    /// Of the audio that is appended now.
    echo: Echo,
    /// Before this position, nothing of the audio is left.
    wiped: u64,
    /// It is being wiped, and readers were told.
    wiping: bool,
    gaps: u64,
    lost: Lost,
}

impl CaptureWriter {
    /// The rate of its samples.
    pub fn rate(&self) -> Rate {
        self.memory.layout().rate
    }

    /// The position that the next sample gets.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// What is taken off the samples that are appended from here on; nothing at first.
    pub fn set_echo(&mut self, echo: Echo) {
        self.echo = echo;
    }

    /// Appends samples, the first of which was captured at `time_ns`
    /// (CLOCK_MONOTONIC).
    #[inline]
    pub fn append(&mut self, samples: &[f32], time_ns: i64) {
        self.extend(samples.len() as u64, time_ns, self.echo, |i| {
            samples[i as usize].to_bits()
        });
    }

    /// Appends `count` samples of exact silence, in no more time than the whole
    /// ring takes. Announce them by [`gap`](Self::gap) before.
    pub fn append_silence(&mut self, count: u64, time_ns: i64) {
        self.extend(count, time_ns, Echo::default(), |_| 0);
    }

    #[inline]
    fn extend(&mut self, count: u64, time_ns: i64, echo: Echo, sample: impl Fn(u64) -> u32) {
        // The clock first: a reader that sees a sample finds its window's time.
        let rate = self.rate();
        let windows = (self.next + count).div_ceil(rate.window()) - self.windows;
        if windows > 0 {
            let clock = self.memory.lane(LaneId::Clock);
            clock.append(self.windows, windows, |n, i| {
                let after = ((self.windows + n) * rate.window() - self.next) as i64;
                let words: [u32; 2] = bytemuck::cast(time_ns + rate.ns(after));
                words[i]
            });
            self.windows += windows;
        }
        // As is what was taken off those that are complete now.
        let (done, complete) = (
            self.next / rate.window(),
            (self.next + count) / rate.window(),
        );
        if complete > done {
            let words = echo.to_words();
            let echoes = self.memory.lane(LaneId::Echo);
            echoes.append(done, complete - done, |_, i| words[i]);
        }
        // From the vDSO: no system call.
        let now = crate::time::monotonic_ns();
        let words = self.memory.capture();
        words.written_ns.store(now as u64, Ordering::Relaxed);
        self.memory
            .lane(LaneId::Samples)
            .append(self.next, count, |n, _| sample(n));
        self.next += count;
    }

    /// Announces that `length` samples from the next position on are not, or
    /// not only, what the source sent.
    pub fn gap(&mut self, length: u64, reason: GapReason, time_ns: i64) {
        let record = Event {
            kind: Kind::Gap as u32,
            detail: reason as u32,
            position: self.next,
            length,
            time_ns,
        };
        append_record(&self.memory, LaneId::Gaps, &mut self.gaps, record);
        let lost = matches!(reason, GapReason::Xrun | GapReason::Interrupted);
        if lost {
            self.lost.gaps += 1;
        }
        if reason == GapReason::Xrun {
            self.lost.xruns += 1;
        }
        self.publish_losses();
    }

    /// Wipes up to `count` of the samples that are kept, the oldest first; whether some are
    /// left. Not for the real-time thread, and only while nothing is captured. Readers
    /// find a gap there from the first call on.
    pub fn wipe(&mut self, count: u64) -> bool {
        let lane = self.memory.lane(LaneId::Samples);
        let oldest = self.next.saturating_sub(lane.capacity());
        let first = self.wiped.max(oldest);
        let end = self.next.min(first + count);
        if first == end {
            return false;
        }
        if !self.wiping {
            let record = Event {
                kind: Kind::Gap as u32,
                detail: GapReason::NotCaptured as u32,
                position: first,
                length: self.next - first,
                time_ns: crate::time::monotonic_ns(),
            };
            append_record(&self.memory, LaneId::Gaps, &mut self.gaps, record);
        }
        lane.wipe(self.next, first..end);
        self.wiped = end;
        self.wiping = end < self.next;
        self.wiping
    }

    /// Whether a part of what is kept is wiped and a part is not yet.
    pub fn is_wiping(&self) -> bool {
        self.wiping
    }

    /// Counts samples that the source had and nobody will get.
    pub fn count_lost(&mut self, samples: u64) {
        self.lost.samples += samples;
        self.publish_losses();
    }

    /// Counts a block that was offered twice.
    pub fn count_repeated(&mut self) {
        self.lost.repeated += 1;
        self.publish_losses();
    }

    /// What was lost so far.
    pub fn losses(&self) -> Lost {
        self.lost
    }

    fn publish_losses(&self) {
        let words = self.memory.capture();
        words.gaps.store(self.lost.gaps, Ordering::Relaxed);
        words
            .lost_samples
            .store(self.lost.samples, Ordering::Relaxed);
        words.xruns.store(self.lost.xruns, Ordering::Relaxed);
        words.repeated.store(self.lost.repeated, Ordering::Relaxed);
    }
}

/// Writes the speech track.
#[derive(Debug)]
pub struct SpeechWriter {
    memory: Arc<Memory>,
    windows: u64,
    turns: u64,
}

impl SpeechWriter {
    /// The rate of the ring's samples.
    pub fn rate(&self) -> Rate {
        self.memory.layout().rate
    }

    /// The window whose probability comes next.
    pub fn window(&self) -> u64 {
        self.windows
    }

    /// Says this of all windows before number `window`, of which nobody has heard anything.
    pub fn skip_to(&mut self, window: u64, probability: f32) {
        let count = window.saturating_sub(self.windows);
        self.memory
            .lane(LaneId::Speech)
            .append(self.windows, count, |_, _| probability.to_bits());
        self.windows += count;
    }

    /// Appends the probability of the next window.
    pub fn probability(&mut self, probability: f32) {
        self.memory
            .lane(LaneId::Speech)
            .append(self.windows, 1, |_, _| probability.to_bits());
        self.windows += 1;
    }

    /// Appends a speech start or end.
    pub fn turn(&mut self, record: Event) {
        append_record(&self.memory, LaneId::SpeechEvents, &mut self.turns, record);
    }
}

/// Writes what the engine says of itself.
#[derive(Debug)]
pub struct ControlWriter {
    memory: Arc<Memory>,
    notices: u64,
}

impl ControlWriter {
    /// The engine lives at `time_ns`.
    pub fn heartbeat(&mut self, time_ns: i64) {
        self.memory
            .engine()
            .heartbeat_ns
            .store(time_ns as u64, Ordering::Relaxed);
    }

    /// The engine's state from about the newest position on.
    pub fn state(&mut self, state: State, time_ns: i64) {
        self.memory
            .engine()
            .state
            .store(state as u32, Ordering::Release);
        self.notice(Kind::State, state as u32, time_ns);
    }

    /// The source of this name from about the newest position on; of a name that is longer
    /// than [`NAME_BYTES`] the beginning is told.
    pub fn device(&mut self, name: &str, time_ns: i64) {
        let name = &name[..name.floor_char_boundary(NAME_BYTES)];
        for (number, piece) in name.as_bytes().chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes[..piece.len()].copy_from_slice(piece);
            let bytes = u64::from_ne_bytes(bytes);
            self.note(Kind::Name, number as u32, bytes, time_ns);
        }
        self.notice(Kind::Device, name.len() as u32, time_ns);
    }

    /// From about the newest position on, this channel of the source is heard.
    pub fn channel(&mut self, number: u32, time_ns: i64) {
        self.notice(Kind::Channel, number, time_ns);
    }

    /// From `time_ns` on the wall clock is so far ahead of CLOCK_MONOTONIC.
    pub fn clock(&mut self, offset_ns: i64, time_ns: i64) {
        self.note(Kind::Clock, 0, offset_ns as u64, time_ns);
    }

    /// At about the newest position the machine slept for as long as so many samples take.
    pub fn suspend(&mut self, samples: u64, time_ns: i64) {
        self.note(Kind::Suspend, 0, samples, time_ns);
    }

    fn notice(&mut self, kind: Kind, detail: u32, time_ns: i64) {
        self.note(kind, detail, 0, time_ns);
    }

    fn note(&mut self, kind: Kind, detail: u32, length: u64, time_ns: i64) {
        let position = self.memory.lane(LaneId::Samples).committed();
        let record = Event {
            kind: kind as u32,
            detail,
            position,
            length,
            time_ns,
        };
        append_record(
            &self.memory,
            LaneId::EngineEvents,
            &mut self.notices,
            record,
        );
    }
}

fn append_record(memory: &Memory, lane: LaneId, next: &mut u64, record: Event) {
    let words = record.to_words();
    memory.lane(lane).append(*next, 1, |_, i| words[i]);
    *next += 1;
}
