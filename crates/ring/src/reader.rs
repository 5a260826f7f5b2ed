//! A reader's side: a read-only map, windows into it, and waiting for more.
//! Nothing in the memory is believed beyond what was validated.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use super::echo::Echo;
use super::event::{Event, GapReason, Kind, NAME_BYTES};
use super::lane::Lane;
use super::layout::{HEADER_BYTES, LaneId, Layout};
use super::memory::Memory;
use super::rate::Rate;
use super::wake::{self, Waited};
use super::{Lost, State};
use crate::error::{Error, ErrorKind, Result};
use crate::shm::{self, Access};
use crate::sync::{AtomicU64, Ordering};

/// A ring mapped for reading. Stays readable as long as it is held, whatever
/// becomes of the engine.
#[derive(Debug)]
pub struct Reader {
    memory: Memory,
    file: OwnedFd,
    gaps: GapOrder,
}

/// Which records of gaps lie in the order of their positions: all but what was wiped, whose
/// record says so of everything before it. Each record is looked at once.
#[derive(Debug, Default)]
struct GapOrder {
    /// Records below this number were looked at.
    seen: AtomicU64,
    /// From this number on they are in order.
    from: AtomicU64,
}

/// Lanes of records that clients read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLane {
    /// Filled silence.
    Gaps,
    /// Speech start and end.
    SpeechEvents,
    /// Changes of device and state.
    EngineEvents,
}

impl EventLane {
    fn lane(self) -> LaneId {
        match self {
            Self::Gaps => LaneId::Gaps,
            Self::SpeechEvents => LaneId::SpeechEvents,
            Self::EngineEvents => LaneId::EngineEvents,
        }
    }
}

impl Reader {
    /// Maps a ring received as a descriptor.
    ///
    /// Fails with [`ErrorKind::Protocol`] if it isn't sealed memory or its header
    /// is not one of a ring.
    pub fn new(file: OwnedFd) -> Result<Self> {
        shm::check_sealed(file.as_fd())?;
        shm::check_present(file.as_fd())?;
        let bytes = shm::file_size(file.as_fd())?;
        let header = copy_header(file.as_fd(), bytes)?;
        let layout = Layout::parse(&header, bytes)?;
        let memory = Memory::map(file.as_fd(), layout, Access::Read)?;
        let gaps = GapOrder::default();
        Ok(Self { memory, file, gaps })
    }

    /// What never changes.
    pub fn layout(&self) -> &Layout {
        self.memory.layout()
    }

    /// The rate of its samples.
    pub fn rate(&self) -> Rate {
        self.layout().rate
    }

    /// The ring's descriptor.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Keeps this view of the ring in RAM, for a thread that must not wait for a page; an
    /// error says which limit forbids it.
    pub fn lock(&self) -> Result<()> {
        self.memory.lock()
    }

    /// Positions below this can be read.
    #[inline]
    pub fn committed(&self) -> u64 {
        self.memory.lane(LaneId::Samples).committed()
    }

    /// The oldest position that is not overwritten now. Never further back from
    /// [`committed`](Self::committed) than the ring holds, whatever a broken engine claims.
    pub fn oldest(&self) -> u64 {
        oldest(&self.memory.lane(LaneId::Samples))
    }

    /// Whether samples from `position` on were still whole just now. To be asked
    /// *after* reading them.
    pub fn is_valid(&self, position: u64) -> bool {
        self.memory.lane(LaneId::Samples).validate(position).is_ok()
    }

    /// The address of `count` contiguous samples (f32) from `position` on, if they
    /// are committed and still there. The memory stays readable while the reader
    /// lives; whether it still holds those samples afterwards,
    /// [`is_valid`](Self::is_valid) tells.
    pub fn window(&self, position: u64, count: u64) -> Result<NonNull<f32>> {
        self.window_of(LaneId::Samples, position, count)
            .map(NonNull::cast)
    }

    /// The address of the sample at `position`, there or not: a ring's length of them lies
    /// behind it, mapped while the reader lives.
    pub fn address(&self, position: u64) -> *const u8 {
        self.memory.element(LaneId::Samples, position).as_ptr()
    }

    /// The address of the probabilities (f32) of `count` windows from number
    /// `window` on; as [`window`](Self::window), in the speech track.
    pub fn speech(&self, window: u64, count: u64) -> Result<NonNull<f32>> {
        self.window_of(LaneId::Speech, window, count)
            .map(NonNull::cast)
    }

    /// How many windows have a probability, counted from the ring's beginning.
    pub fn speech_committed(&self) -> u64 {
        self.memory.lane(LaneId::Speech).committed()
    }

    /// Copies the probabilities from window number `first` on.
    pub fn read_speech(&self, first: u64, out: &mut [f32]) -> Result<()> {
        self.read(LaneId::Speech, first, out)
    }

    /// What was taken off a window whose samples are all there; `None` for others, and for one
    /// long forgotten.
    pub fn echo(&self, window: u64) -> Option<Echo> {
        let lane = self.memory.lane(LaneId::Echo);
        if window >= lane.committed() {
            return None;
        }
        let mut words = [0_u32; 2];
        lane.read(window, &mut words).ok()?;
        Some(Echo::from_words(words))
    }

    /// What was taken off the windows that end in `[position, position + count)` and the one
    /// that it begins in, as far as they are there.
    pub fn echoes(&self, position: u64, count: u64) -> Vec<Echo> {
        let window = self.rate().window();
        let (first, end) = (position / window, position.saturating_add(count) / window);
        let windows = first..end.min(self.memory.lane(LaneId::Echo).committed());
        windows.map_while(|window| self.echo(window)).collect()
    }

    /// Windows whose samples are all there.
    #[inline]
    pub fn complete_windows(&self) -> u64 {
        self.committed() / self.rate().window()
    }

    /// Copies samples from `position` on.
    ///
    /// Fails with [`ErrorKind::Overrun`] if some were overwritten and with
    /// [`ErrorKind::Invalid`] if some are not there yet.
    pub fn read_samples(&self, position: u64, out: &mut [f32]) -> Result<()> {
        self.read(LaneId::Samples, position, out)
    }

    fn read(&self, lane: LaneId, first: u64, out: &mut [f32]) -> Result<()> {
        self.window_of(lane, first, out.len() as u64)?;
        self.memory
            .lane(lane)
            .read(first, bytemuck::cast_slice_mut(out))
            .map_err(|gone| overrun(first, gone.oldest))
    }

    fn window_of(&self, id: LaneId, first: u64, count: u64) -> Result<NonNull<u8>> {
        let lane = self.memory.lane(id);
        let committed = lane.committed();
        if count > lane.capacity() || first.checked_add(count).is_none_or(|end| end > committed) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{count} elements from {first} on are not there: {committed} are committed"
                ),
            ));
        }
        let oldest = oldest(&lane);
        if first < oldest {
            return Err(overrun(first, oldest));
        }
        Ok(self.memory.element(id, first))
    }

    /// CLOCK_MONOTONIC nanoseconds at which the sample at `position` was captured;
    /// `None` for a position not written yet or long forgotten.
    pub fn time_ns(&self, position: u64) -> Option<i64> {
        let lane = self.memory.lane(LaneId::Clock);
        let rate = self.rate();
        let window = position / rate.window();
        if window >= lane.committed() {
            return None;
        }
        let mut words = [0_u32; 2];
        lane.read(window, &mut words).ok()?;
        let time: i64 = bytemuck::cast(words);
        Some(time.wrapping_add(rate.ns((position % rate.window()) as i64)))
    }

    /// Whether `[position, position + count)` holds filled silence. When the record
    /// of it is overwritten already: true, since it can't be ruled out.
    pub fn has_gap(&self, position: u64, count: u64) -> bool {
        let (from, before) = self.gaps_before(position.saturating_add(count));
        let Some(last) = before.checked_sub(1).filter(|last| *last >= from) else {
            return from > 0;
        };
        self.record_at(LaneId::Gaps, last)
            .is_none_or(|record| record.end() > position)
    }

    /// The records of filled silence in `[position, position + count)` that are still
    /// there, oldest first.
    pub fn gaps_within(&self, position: u64, count: u64) -> Vec<Event> {
        let (from, before) = self.gaps_before(position.saturating_add(count));
        let mut gaps: Vec<Event> = (from..before)
            .rev()
            .map_while(|number| self.record_at(LaneId::Gaps, number))
            .take_while(|gap| gap.end() > position)
            .collect();
        gaps.reverse();
        gaps
    }

    /// The filled silence that `position` lies in, first position and end, if it
    /// lies in one whose record is still there.
    pub fn gap_at(&self, position: u64) -> Option<(u64, u64)> {
        let (from, before) = self.gaps_before(position.saturating_add(1));
        let last = before.checked_sub(1).filter(|last| *last >= from)?;
        let gap = self.record_at(LaneId::Gaps, last)?;
        (position < gap.end()).then(|| (gap.position, gap.end()))
    }

    /// The numbers of the records that tell of what the ring holds: the first, and the end of
    /// those whose gap begins before `position`. A binary search, so that it costs a reader
    /// that is far behind no more than one that isn't.
    fn gaps_before(&self, position: u64) -> (u64, u64) {
        let (from, committed) = self.ordered_gaps();
        let (mut low, mut high) = (from, committed);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.record_at(LaneId::Gaps, middle) {
                Some(gap) if gap.position >= position => high = middle,
                // Overwritten meanwhile: then it was an old one.
                _ => low = middle + 1,
            }
        }
        (from, low)
    }

    /// From which record of gaps on they are in the order of their positions, and how many
    /// there are. What lies before the first is gone from the ring.
    fn ordered_gaps(&self) -> (u64, u64) {
        let lane = self.memory.lane(LaneId::Gaps);
        let committed = lane.committed();
        let oldest = committed.saturating_sub(lane.capacity());
        let seen = self.gaps.seen.load(Ordering::Acquire);
        if seen < committed {
            let mut newest = 0;
            for number in seen.saturating_sub(1).max(oldest)..committed {
                let Some(gap) = self.record_at(LaneId::Gaps, number) else {
                    continue;
                };
                if gap.position < newest {
                    self.gaps.from.fetch_max(number, Ordering::Relaxed);
                }
                newest = gap.position;
            }
            self.gaps.seen.fetch_max(committed, Ordering::Release);
        }
        let from = self.gaps.from.load(Ordering::Relaxed);
        (from.max(oldest).min(committed), committed)
    }

    /// How many records of a kind were ever written.
    pub fn records_committed(&self, records: EventLane) -> u64 {
        self.memory.lane(records.lane()).committed()
    }

    /// The number of the oldest record of a kind that is still there.
    pub fn records_oldest(&self, records: EventLane) -> u64 {
        oldest(&self.memory.lane(records.lane()))
    }

    /// Where the newest stretch ends in which nobody listened and nothing was
    /// captured: audio begins here. 0 if none is known.
    pub fn unused_until(&self) -> u64 {
        let count = self.records_committed(EventLane::Gaps);
        (count.saturating_sub(64)..count)
            .rev()
            .filter_map(|number| self.record(EventLane::Gaps, number))
            .find(|gap| gap.detail == GapReason::NotCaptured as u32)
            .map_or(0, |gap| gap.end())
    }

    /// What the wall clock showed when CLOCK_MONOTONIC was `time_ns`, in nanoseconds since
    /// 1970, as far as the ring knows of suspends and of clocks that were set.
    pub fn wall_ns(&self, time_ns: i64) -> i64 {
        let count = self.records_committed(EventLane::EngineEvents);
        let events = (self.records_oldest(EventLane::EngineEvents)..count)
            .rev()
            .map_while(|number| self.record(EventLane::EngineEvents, number));
        let clocks = events.filter(|event| event.kind == Kind::Clock as u32);
        // Since the newest it may have been slewed: this is what it shows now.
        let mut offset_ns = crate::time::wall_offset_ns();
        for (newer, clock) in clocks.enumerate() {
            if newer > 0 {
                offset_ns = clock.length as i64;
            }
            if clock.time_ns <= time_ns {
                break;
            }
            offset_ns = clock.length as i64;
        }
        time_ns.wrapping_add(offset_ns)
    }

    /// Event number `number` of a kind; `None` if it is not there yet or no more.
    pub fn record(&self, records: EventLane, number: u64) -> Option<Event> {
        (number < self.records_committed(records))
            .then(|| self.record_at(records.lane(), number))?
    }

    /// The name of the source whose [`Kind::Device`] is record `number` of the engine's events;
    /// None if it is not told, or not there any more.
    pub fn device_name(&self, number: u64) -> Option<String> {
        let device = self.record(EventLane::EngineEvents, number)?;
        let length = device.detail as usize;
        if device.kind != Kind::Device as u32 || !(1..=NAME_BYTES).contains(&length) {
            return None;
        }
        let pieces = length.div_ceil(8) as u32;
        let mut name = Vec::with_capacity(8 * pieces as usize);
        for piece in 0..pieces {
            let at = number.checked_sub(u64::from(pieces - piece))?;
            let record = self.record(EventLane::EngineEvents, at)?;
            if (record.kind, record.detail) != (Kind::Name as u32, piece) {
                return None;
            }
            name.extend_from_slice(&record.length.to_ne_bytes());
        }
        name.truncate(length);
        String::from_utf8(name).ok()
    }

    fn record_at(&self, lane: LaneId, number: u64) -> Option<Event> {
        let mut words = [0; 8];
        self.memory.lane(lane).read(number, &mut words).ok()?;
        Some(Event::from_words(words))
    }

    /// What the engine lost so far.
    pub fn losses(&self) -> Lost {
        let words = self.memory.capture();
        Lost {
            gaps: words.gaps.load(Ordering::Relaxed),
            samples: words.lost_samples.load(Ordering::Relaxed),
            xruns: words.xruns.load(Ordering::Relaxed),
            repeated: words.repeated.load(Ordering::Relaxed),
        }
    }

    /// CLOCK_MONOTONIC nanoseconds at which the newest samples were written: how
    /// long ago that was is how long a reader took to wake up.
    pub fn written_ns(&self) -> i64 {
        self.memory.capture().written_ns.load(Ordering::Relaxed) as i64
    }

    /// The engine's state.
    pub fn state(&self) -> State {
        State::from_number(self.memory.engine().state.load(Ordering::Acquire))
    }

    /// CLOCK_MONOTONIC nanoseconds of the engine's last sign of life.
    pub fn heartbeat_ns(&self) -> i64 {
        self.memory.engine().heartbeat_ns.load(Ordering::Relaxed) as i64
    }

    /// The value of the wake word. Take it, look at the counters, then wait for
    /// it to change: nothing is missed in between.
    #[inline]
    pub fn ticket(&self) -> u32 {
        wake::ticket(self.memory.wake_word())
    }

    /// The wake word's address, for those who wait by other means (io_uring).
    pub fn wake_address(&self) -> *const u32 {
        self.memory.wake_word().as_ptr()
    }

    /// Waits until something was committed after `ticket` was taken, at most
    /// `timeout`.
    pub fn wait(&self, ticket: u32, timeout: Duration) -> Waited {
        wake::wait(self.memory.wake_word(), ticket, timeout)
    }

    /// Wakes whoever waits on this ring, in this process and others, without any
    /// news: they look and wait on. For a thread that must stop waiting.
    pub fn nudge(&self) {
        wake::wake_all(self.memory.wake_word());
    }

    /// Waits until `position` samples are committed or `timeout` is over; says
    /// which. For callers without anything else to look at meanwhile.
    pub fn wait_for(&self, position: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let ticket = self.ticket();
            if self.committed() >= position {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.wait(ticket, left);
        }
    }
}

/// A true writer claims before it commits, so that the first is the larger one.
fn oldest(lane: &Lane<'_>) -> u64 {
    let committed = lane.committed().saturating_sub(lane.capacity());
    lane.oldest().max(committed)
}

fn overrun(position: u64, oldest: u64) -> Error {
    Error::new(
        ErrorKind::Overrun,
        format!("position {position} was overwritten; the oldest kept is {oldest}"),
    )
}

/// The header's bytes, copied out so that they can't change while they are checked.
fn copy_header(file: BorrowedFd<'_>, bytes: usize) -> Result<Vec<u8>> {
    if bytes < HEADER_BYTES {
        return Err(Error::new(
            ErrorKind::Protocol,
            format!("{bytes} bytes are too few for a ring"),
        ));
    }
    let mut header = vec![0; HEADER_BYTES];
    let read = rustix::io::pread(file, &mut header, 0)
        .map_err(|cause| Error::system("cannot read the ring's header", cause))?;
    header.truncate(read);
    Ok(header)
}
