//! Audio whose every sample tells which one it is, and a check of what was captured.

#![allow(dead_code)] // each test file uses its own part

use std::sync::Mutex;

use v2m_engine::capture::ingest::heard;
use v2m_engine::capture::{Block, Sink};

/// After so many frames the content repeats.
pub(crate) const CYCLE: u64 = 65_536;

/// The upper 16 bits of frame `index`: a permutation of all values.
fn scramble(index: u64) -> u16 {
    let mixed = (index as u16).wrapping_mul(0x9e37);
    (mixed ^ (mixed >> 7)).wrapping_mul(0x85eb)
}

/// Frame `index` as 16 bits.
pub(crate) fn sample16(index: u64) -> i16 {
    scramble(index) as i16
}

/// Frame `index` as 32 bits, of which 24 are used: what a float can hold.
pub(crate) fn sample32(index: u64) -> i32 {
    let top = scramble(index);
    (i32::from(top as i16) << 16) | (i32::from((top >> 3) as u8) << 8)
}

/// Keeps blocks for the check.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Mutex<Vec<Piece>>);

/// A block as it came.
pub(crate) struct Piece {
    pub(crate) clock: u64,
    pub(crate) rate: u32,
    pub(crate) position: u64,
    pub(crate) time_ns: i64,
    pub(crate) samples: Vec<f32>,
}

impl Sink for Kept {
    fn block(&self, block: &Block<'_>) {
        self.0.lock().unwrap().push(Piece {
            clock: block.clock,
            rate: block.rate,
            position: block.position,
            time_ns: block.time_ns,
            samples: heard(block, 0, &mut vec![0.0; block.frames()]).to_vec(),
        });
    }
}

/// What one clock's blocks hold.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Found {
    pub(crate) rate: u32,
    /// Frames in blocks.
    pub(crate) frames: u64,
    /// Frames that are what was played at their position.
    pub(crate) right: u64,
    /// Frames that are not.
    pub(crate) wrong: u64,
    /// Frame played at position 0, modulo [`CYCLE`]; none in silence.
    pub(crate) offset: Option<u64>,
    /// Of the first one: position, frame played there, frame expected.
    pub(crate) first_wrong: Option<(u64, u64, u64)>,
    /// Frames missing between blocks, and at how many places.
    pub(crate) lost: u64,
    pub(crate) gaps: u64,
    /// Of each gap: position, length, microseconds from the start by its block's time.
    pub(crate) holes: Vec<(u64, u64, i64)>,
    /// The largest distance of a block's time from nominal, in microseconds.
    pub(crate) off_us: i64,
}

/// Each stretch without a loss as a clock of its own: for sources that are stopped
/// and started, where a loss is known to the period only.
pub(crate) fn apart(pieces: Vec<Piece>) -> Vec<Piece> {
    let (mut clock, mut next) = (0, None);
    let numbered = pieces.into_iter().map(|piece| {
        if next != Some((piece.clock, piece.position)) {
            clock += 1;
        }
        next = Some((piece.clock, piece.position + piece.samples.len() as u64));
        Piece { clock, ..piece }
    });
    numbered.collect()
}

/// Compares each clock's frames with what was played on channel 0, silence being on the
/// others. Silence before the first frame is left out.
pub(crate) fn check(pieces: &[Piece], bits: u32) -> Vec<Found> {
    let mut index_of = vec![0u64; CYCLE as usize];
    (0..CYCLE).for_each(|index| index_of[usize::from(scramble(index))] = index);
    let mut all: Vec<Found> = Vec::new();
    for life in pieces.chunk_by(|a, b| a.clock == b.clock) {
        let mut found = Found {
            rate: life[0].rate,
            ..Found::default()
        };
        let (mut offset, mut next) = (None, life[0].position);
        for piece in life {
            if piece.position != next {
                assert!(
                    piece.position > next,
                    "backwards: {} after {next}",
                    piece.position
                );
                found.lost += piece.position - next;
                found.gaps += 1;
                found.holes.push((
                    next,
                    piece.position - next,
                    (piece.time_ns - life[0].time_ns) / 1000,
                ));
            }
            next = piece.position + piece.samples.len() as u64;
            found.frames += piece.samples.len() as u64;
            let nominal =
                (piece.position - life[0].position) as i64 * 1_000_000_000 / i64::from(piece.rate);
            found.off_us = found
                .off_us
                .max(((piece.time_ns - life[0].time_ns - nominal) / 1000).abs());
            for (position, sample) in (piece.position..).zip(&piece.samples) {
                let whole = sample * 32768.0;
                if whole == 0.0 && offset.is_none() {
                    continue;
                }
                let index = index_of[usize::from(whole.floor() as i16 as u16)];
                let exact = match bits {
                    16 => f32::from(sample16(index)),
                    _ => sample32(index) as f32 / 65536.0,
                };
                let here = (index + CYCLE - position % CYCLE) % CYCLE;
                let wanted = *offset.get_or_insert(here);
                if here == wanted && whole == exact {
                    found.right += 1;
                } else {
                    found.wrong += 1;
                    found
                        .first_wrong
                        .get_or_insert((position, index, (wanted + position) % CYCLE));
                }
            }
        }
        found.offset = offset;
        all.push(found);
    }
    all
}
