//! Layout version 2: where everything lies in the ring's memory. The document
//! for other implementations is `docs/ring-layout.md`; the two change together.
//!
//! Nothing here touches memory: a header is parsed from a copy of its bytes and
//! believed only as far as the descriptor's real size allows.

use crate::error::{Error, ErrorKind, Result};
use crate::rate::Rate;
use crate::shm::{ALIGNMENT, Section};

/// Samples per second of [`Rate::SPEECH`].
pub const SAMPLE_RATE: u32 = Rate::SPEECH.hz();
/// Nanoseconds per sample at [`SAMPLE_RATE`]; exact.
pub const NS_PER_SAMPLE: i64 = 62_500;
/// Samples of a window at [`SAMPLE_RATE`].
pub const WINDOW: u64 = Rate::SPEECH.window();

pub(crate) const MAGIC: [u8; 8] = *b"v2m-ring";
pub(crate) const VERSION: u32 = 2;
pub(crate) const HEADER_BYTES: usize = ALIGNMENT;

/// Byte offsets of the header's fields.
pub(crate) mod at {
    pub(crate) const MAGIC: usize = 0x000;
    pub(crate) const VERSION: usize = 0x008;
    pub(crate) const HEADER_BYTES: usize = 0x00c;
    pub(crate) const TOTAL_BYTES: usize = 0x010;
    pub(crate) const RING_ID: usize = 0x018;
    pub(crate) const SAMPLE_RATE: usize = 0x028;
    pub(crate) const WINDOW: usize = 0x02c;
    pub(crate) const LANE_COUNT: usize = 0x030;
    pub(crate) const ENGINE_PID: usize = 0x034;
    pub(crate) const CREATED_NS: usize = 0x038;
    /// The lane table: 32 bytes a lane.
    pub(crate) const LANES: usize = 0x080;
    pub(crate) const LANE_ENTRY: usize = 32;
    /// Counters: one pair a lane, each on cache lines of its own.
    pub(crate) const COUNTERS: usize = 0x400;
    pub(crate) const COUNTERS_STRIDE: usize = 0x80;
    /// The futex word; written by whichever of the engine's threads has news.
    pub(crate) const WAKE: usize = 0x800;
    /// Losses and the time of writing; written with the samples.
    pub(crate) const CAPTURE: usize = 0x880;
    /// Engine state and heartbeat; written by the engine's main thread.
    pub(crate) const ENGINE: usize = 0x900;
    /// End of what version 2 defines.
    pub(crate) const END: usize = 0x980;
}

/// The lanes, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum LaneId {
    /// f32 at the ring's rate.
    Samples = 0,
    /// i64 nanoseconds of CLOCK_MONOTONIC, one for each window's first sample.
    Clock = 1,
    /// [`Event`](super::Event)s: stretches of filled silence, by position.
    Gaps = 2,
    /// f32 speech probability, one for each window.
    Speech = 3,
    /// Events: speech start and end.
    SpeechEvents = 4,
    /// Events: changes of device and of state.
    EngineEvents = 5,
    /// [`Echo`](super::Echo), one for each window.
    Echo = 6,
}

pub(crate) const LANES: [LaneId; 7] = [
    LaneId::Samples,
    LaneId::Clock,
    LaneId::Gaps,
    LaneId::Speech,
    LaneId::SpeechEvents,
    LaneId::EngineEvents,
    LaneId::Echo,
];

impl LaneId {
    /// 32-bit words of one element.
    pub(crate) const fn width(self) -> usize {
        match self {
            Self::Samples | Self::Speech => 1,
            Self::Clock | Self::Echo => 2,
            Self::Gaps | Self::SpeechEvents | Self::EngineEvents => 8,
        }
    }

    /// Index of the lane's section in the map; the header is section 0.
    pub(crate) const fn section(self) -> usize {
        self as usize + 1
    }

    pub(crate) const fn counters(self) -> usize {
        at::COUNTERS + self as usize * at::COUNTERS_STRIDE
    }
}

/// Where one lane lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LanePlace {
    pub(crate) offset: usize,
    /// Elements; a power of two.
    pub(crate) capacity: u64,
}

/// Everything that stays the same for the life of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of the whole memory.
    pub total_bytes: usize,
    /// Of the samples.
    pub rate: Rate,
    pub(crate) lanes: [LanePlace; LANES.len()],
    /// Random; two rings never share it.
    pub ring_id: [u8; 16],
    /// Process id of the engine, as it sees itself.
    pub engine_pid: u32,
    /// CLOCK_MONOTONIC nanoseconds at which the ring was made.
    pub created_ns: i64,
}

/// Elements of a lane of records: 64 KiB of them.
const RECORDS: u64 = 2048;

/// The smallest history that a ring has, in samples (about 4 s at 16 kHz).
pub const MIN_HISTORY: u64 = 1 << 16;
/// The largest, in samples (about 6 h at 48 kHz, 4 GiB).
pub const MAX_HISTORY: u64 = 1 << 30;

impl Layout {
    /// A ring that keeps at least `history` samples at `rate`.
    pub(crate) fn new(
        rate: Rate,
        history: u64,
        ring_id: [u8; 16],
        engine_pid: u32,
        created_ns: i64,
    ) -> Result<Self> {
        let samples = history
            .checked_next_power_of_two()
            .filter(|samples| (MIN_HISTORY..=MAX_HISTORY).contains(samples))
            .ok_or_else(|| {
                let message = format!(
                    "a history of {history} samples is not between {MIN_HISTORY} and {MAX_HISTORY}"
                );
                Error::new(ErrorKind::Invalid, message)
            })?;
        // At least a section's worth of windows: they outlive the samples a little.
        let windows = |bytes: u64| {
            let windows = samples.div_ceil(rate.window()).next_power_of_two();
            windows.max(ALIGNMENT as u64 / bytes)
        };
        let mut offset = HEADER_BYTES;
        let lanes = LANES.map(|lane| {
            let capacity = match lane {
                LaneId::Samples => samples,
                LaneId::Clock | LaneId::Echo => windows(8),
                LaneId::Speech => windows(4),
                LaneId::Gaps | LaneId::SpeechEvents | LaneId::EngineEvents => RECORDS,
            };
            let place = LanePlace { offset, capacity };
            offset += capacity as usize * lane.width() * 4;
            place
        });
        Ok(Self {
            total_bytes: offset,
            rate,
            lanes,
            ring_id,
            engine_pid,
            created_ns,
        })
    }

    /// Parses the first bytes of a ring's file, which is `file_bytes` long.
    /// Whatever the bytes say, a layout that comes out of here maps inside the file.
    ///
    /// Fails with [`ErrorKind::Protocol`]; the message names the field.
    pub fn parse(header: &[u8], file_bytes: usize) -> Result<Self> {
        let wrong =
            |what: String| Error::new(ErrorKind::Protocol, format!("not a usable ring: {what}"));
        if header.len() < at::END || file_bytes < HEADER_BYTES {
            return Err(wrong(format!(
                "{file_bytes} bytes are too few for its header"
            )));
        }
        if header[at::MAGIC..at::MAGIC + 8] != MAGIC {
            return Err(wrong("it does not begin with the magic number".into()));
        }
        let expect = |field: &str, offset: usize, want: u32| match u32_at(header, offset) {
            got if got == want => Ok(()),
            got => Err(wrong(format!(
                "its {field} is {got}, this client knows {want}"
            ))),
        };
        let version = u32_at(header, at::VERSION);
        if version != VERSION {
            return Err(wrong(format!(
                "its layout has version {version}, this client reads {VERSION}: install the same release of both"
            )));
        }
        expect("header size", at::HEADER_BYTES, HEADER_BYTES as u32)?;
        let rate = Rate::new(u32_at(header, at::SAMPLE_RATE))
            .map_err(|error| wrong(format!("by its header, {error}")))?;
        expect("window", at::WINDOW, rate.window() as u32)?;
        expect("number of lanes", at::LANE_COUNT, LANES.len() as u32)?;
        let total = u64_at(header, at::TOTAL_BYTES);
        if total != file_bytes as u64 {
            return Err(wrong(format!("it says {total} bytes and has {file_bytes}")));
        }
        let mut lanes = [LanePlace {
            offset: 0,
            capacity: 0,
        }; LANES.len()];
        let mut free = HEADER_BYTES;
        for (lane, place) in LANES.into_iter().zip(&mut lanes) {
            let entry = at::LANES + lane as usize * at::LANE_ENTRY;
            let name = format!("lane {lane:?}");
            expect(&format!("{name} number"), entry, lane as u32)?;
            expect(
                &format!("{name} element size"),
                entry + 4,
                lane.width() as u32 * 4,
            )?;
            let offset = u64_at(header, entry + 8);
            let capacity = u64_at(header, entry + 16);
            let bytes = capacity
                .checked_mul(lane.width() as u64 * 4)
                .filter(|&bytes| {
                    capacity.is_power_of_two()
                        && bytes.is_multiple_of(ALIGNMENT as u64)
                        && bytes <= total
                });
            let end = bytes.and_then(|bytes| offset.checked_add(bytes));
            match end {
                Some(end) if offset == free as u64 && end <= total => {
                    *place = LanePlace {
                        offset: free,
                        capacity,
                    };
                    free = end as usize;
                }
                _ => {
                    return Err(wrong(format!(
                        "{name} ({capacity} elements at {offset}) does not fit"
                    )));
                }
            }
        }
        let samples = lanes[LaneId::Samples as usize].capacity;
        let by_window = [LaneId::Clock, LaneId::Speech, LaneId::Echo];
        let windows = by_window.map(|lane| lanes[lane as usize].capacity);
        let windows = windows.into_iter().min().unwrap_or_default();
        if windows < samples.div_ceil(rate.window()) || samples < MIN_HISTORY {
            return Err(wrong("its lanes do not cover the same time".into()));
        }
        Ok(Self {
            total_bytes: file_bytes,
            rate,
            lanes,
            ring_id: header[at::RING_ID..at::RING_ID + 16]
                .try_into()
                .expect("16 bytes"),
            engine_pid: u32_at(header, at::ENGINE_PID),
            created_ns: u64_at(header, at::CREATED_NS) as i64,
        })
    }

    /// The constant part of the header, as [`parse`](Self::parse) reads it.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut header = vec![0; at::END];
        let mut put = |offset: usize, bytes: &[u8]| {
            header[offset..offset + bytes.len()].copy_from_slice(bytes)
        };
        put(at::MAGIC, &MAGIC);
        put(at::VERSION, &VERSION.to_ne_bytes());
        put(at::HEADER_BYTES, &(HEADER_BYTES as u32).to_ne_bytes());
        put(at::TOTAL_BYTES, &(self.total_bytes as u64).to_ne_bytes());
        put(at::RING_ID, &self.ring_id);
        put(at::SAMPLE_RATE, &self.rate.hz().to_ne_bytes());
        put(at::WINDOW, &(self.rate.window() as u32).to_ne_bytes());
        put(at::LANE_COUNT, &(LANES.len() as u32).to_ne_bytes());
        put(at::ENGINE_PID, &self.engine_pid.to_ne_bytes());
        put(at::CREATED_NS, &self.created_ns.to_ne_bytes());
        for (lane, place) in LANES.into_iter().zip(&self.lanes) {
            let entry = at::LANES + lane as usize * at::LANE_ENTRY;
            put(entry, &(lane as u32).to_ne_bytes());
            put(entry + 4, &(lane.width() as u32 * 4).to_ne_bytes());
            put(entry + 8, &(place.offset as u64).to_ne_bytes());
            put(entry + 16, &place.capacity.to_ne_bytes());
        }
        header
    }

    /// Samples that the ring keeps.
    pub fn history(&self) -> u64 {
        self.lanes[LaneId::Samples as usize].capacity
    }

    /// The sections to map: the header, then each lane twice.
    pub(crate) fn sections(&self) -> Vec<Section> {
        let header = Section {
            offset: 0,
            length: HEADER_BYTES,
            mirrored: false,
        };
        let lanes = LANES
            .into_iter()
            .zip(&self.lanes)
            .map(|(lane, place)| Section {
                offset: place.offset,
                length: place.capacity as usize * lane.width() * 4,
                mirrored: true,
            });
        std::iter::once(header).chain(lanes).collect()
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(bytes[offset..offset + 8].try_into().expect("8 bytes"))
}
