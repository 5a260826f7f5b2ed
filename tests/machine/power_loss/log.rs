//! What the machine wrote to its disk, in order, as QEMU's `blklogwrites` logs it (the
//! format of Linux's `dm-log-writes`), and what of that a disk can hold after a power loss.
//!
//! ```text
//! super │ entry, data │ entry, data │ flush │ entry, data …
//!         └─ on the disk ───────────┘         └─ any of it, in any order
//! ```

use std::ops::Range;

pub(crate) const SECTOR: usize = 512;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// One request.
pub(crate) struct Entry {
    flags: u64,
    /// In the disk, in bytes.
    at: usize,
    /// Of the log.
    data: Range<usize>,
}

/// The requests of a log, as far as it was written without a hole.
pub(crate) fn entries(log: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut at = SECTOR;
    while at + SECTOR <= log.len() {
        let word =
            |n: usize| u64::from_le_bytes(log[at + 8 * n..at + 8 * n + 8].try_into().unwrap());
        let [sector, sectors, flags] = [word(0), word(1), word(2)];
        if [sector, sectors, flags] == [0; 3] {
            break;
        }
        at += SECTOR;
        let length = if flags & DISCARD == 0 {
            sectors as usize * SECTOR
        } else {
            0
        };
        if at + length > log.len() {
            break;
        }
        entries.push(Entry {
            flags,
            at: sector as usize * SECTOR,
            data: at..at + length,
        });
        at += length;
    }
    entries
}

impl Entry {
    /// Where the next one begins.
    pub(crate) fn end(&self) -> usize {
        self.data.end
    }
}

/// How much of what no flush has covered gets to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// A disk without a volatile cache.
    Kept,
    Lost,
    /// Some requests.
    Some,
    /// Some sectors.
    Torn,
}

pub(crate) const CACHES: [Cache; 4] = [Cache::Kept, Cache::Lost, Cache::Some, Cache::Torn];

/// The disk that was `before`, when power is lost after these requests.
pub(crate) fn disk_after(
    before: &[u8],
    log: &[u8],
    entries: &[Entry],
    cache: Cache,
    mut toss: impl FnMut() -> bool,
) -> Vec<u8> {
    let mut disk = before.to_vec();
    let flushed = entries.iter().rposition(|entry| entry.flags & FLUSH != 0);
    for (number, entry) in entries.iter().enumerate() {
        let safe = cache == Cache::Kept || flushed.is_some_and(|flushed| number < flushed);
        let all = safe || (cache == Cache::Some && toss());
        for (n, sector) in log[entry.data.clone()].chunks(SECTOR).enumerate() {
            if all || (cache == Cache::Torn && toss()) {
                let at = entry.at + n * SECTOR;
                disk[at..at + SECTOR].copy_from_slice(sector);
            }
        }
    }
    disk
}
