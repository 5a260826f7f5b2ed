//! What still has to get into a file: pieces, each with its place there.
//!
//! ```text
//! queued ──> under way ──> written ──> (a sync) forgotten
//!    ▲           │            │
//!    └─ failed ──┘            └─ the sync failed: written again
//! ```
//!
//! Pieces of the ring are written from the ring's own memory. Whether that held
//! still is asked after the write: what was overwritten meanwhile becomes silence
//! of the same length, and is reported.

use std::collections::VecDeque;
use std::sync::Arc;

use nix::errno::Errno;

use super::disk::{Done, Operation, Payload, ZEROS};
use crate::ring::Reader;

/// Bytes of a sample in the ring.
const SAMPLE: u64 = size_of::<f32>() as u64;
/// Steps of one chain, at most.
const STEPS: usize = 32;
/// Samples of one step from the ring, at most: 4 MiB.
const MOST: u64 = 1 << 20;

#[derive(Clone)]
enum Content {
    /// Samples of a ring from this position on. A recording may go on with another ring.
    Ring(Arc<Reader>, u64),
    /// Bytes of our own.
    Bytes(Arc<[u8]>),
    Silence,
}

#[derive(Clone)]
struct Piece {
    /// In the file, in bytes.
    offset: u64,
    bytes: u64,
    /// The file's sample that it begins with.
    sample: u64,
    /// Bytes of one, of all channels, where they don't vary.
    sample_bytes: u64,
    content: Content,
    /// Already written once, before a sync that failed.
    again: bool,
    /// Being written from the ring, and copied since: to be written once more.
    copied: bool,
}

impl Piece {
    /// Its first `bytes` and the rest; not of [`Content::Bytes`]: only what holds its samples as they
    /// are can be split.
    fn split(self, bytes: u64) -> (Self, Self) {
        let samples = bytes / self.sample_bytes;
        let mut rest = self.clone();
        rest.offset += bytes;
        rest.bytes -= bytes;
        rest.sample += samples;
        if let Content::Ring(_, position) = &mut rest.content {
            *position += samples;
        }
        (Self { bytes, ..self }, rest)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) sample: u64,
    pub(super) samples: u64,
}

pub(super) struct WriteQueue {
    /// In the order of the file.
    queue: VecDeque<Piece>,
    under_way: Vec<Piece>,
    /// Since the last sync.
    written: Vec<Piece>,
    /// Where the next piece goes, and the sample that it begins with.
    end: u64,
    samples: u64,
}

impl WriteQueue {
    /// The file's audio begins at `offset`.
    pub(super) fn new(offset: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            under_way: Vec::new(),
            written: Vec::new(),
            end: offset,
            samples: 0,
        }
    }

    /// Appends samples of `ring` as they are.
    pub(super) fn push_ring(&mut self, ring: &Arc<Reader>, position: u64, samples: u64) {
        let content = Content::Ring(ring.clone(), position);
        self.push(content, SAMPLE, samples * SAMPLE, samples);
    }

    /// Appends encoded samples.
    pub(super) fn push_bytes(&mut self, bytes: Vec<u8>, samples: u64) {
        let length = bytes.len() as u64;
        self.push(Content::Bytes(bytes.into()), 1, length, samples);
    }

    /// Appends so many samples of silence, of so many bytes each.
    pub(super) fn push_silence(&mut self, samples: u64, sample_bytes: u64) {
        let bytes = samples * sample_bytes;
        self.push(Content::Silence, sample_bytes, bytes, samples);
    }

    fn push(&mut self, content: Content, sample_bytes: u64, bytes: u64, samples: u64) {
        let piece = Piece {
            offset: self.end,
            bytes,
            sample: self.samples,
            sample_bytes,
            content,
            again: false,
            copied: false,
        };
        append(&mut self.queue, piece);
        self.end += bytes;
        self.samples += samples;
    }

    /// Where the file's audio ends, once all is written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Samples from the beginning on that are all in the file.
    pub(super) fn complete(&self) -> u64 {
        let first = self.under_way.first().or(self.queue.front());
        first.map_or(self.samples, |piece| piece.sample)
    }

    /// Nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.under_way.is_empty()
    }

    /// Bytes of our own that wait to be written.
    pub(super) fn own_bytes(&self) -> u64 {
        let all = self.queue.iter().chain(&self.under_way);
        let own = all.filter(|piece| matches!(piece.content, Content::Bytes(_)));
        own.map(|piece| piece.bytes).sum()
    }

    /// Something was written that no sync has covered yet.
    pub(super) fn is_dirty(&self) -> bool {
        !self.written.is_empty()
    }

    /// Copies what is still to be read from the ring, so that it can't be lost any
    /// more: for the end of a recording whose disk is late.
    pub(super) fn own(&mut self, lost: &mut Vec<Stretch>) {
        self.expire(lost);
        let copy = |piece: &mut Piece| {
            let Content::Ring(ring, position) = &piece.content else {
                return false;
            };
            let mut samples = vec![0_f32; (piece.bytes / SAMPLE) as usize];
            let is_there = ring.read_samples(*position, &mut samples).is_ok();
            if is_there {
                piece.content = Content::Bytes(bytemuck::cast_slice(&samples).into());
            }
            is_there
        };
        for piece in &mut self.queue {
            copy(piece);
        }
        for piece in &mut self.under_way {
            piece.copied = copy(piece);
        }
    }

    /// The next chain's steps; empty if there is nothing to write.
    pub(super) fn start(&mut self, lost: &mut Vec<Stretch>) -> Vec<Operation> {
        self.expire(lost);
        let mut steps = Vec::new();
        while steps.len() < STEPS
            && let Some(piece) = self.queue.pop_front()
        {
            let most = match &piece.content {
                Content::Ring(..) => MOST * SAMPLE,
                Content::Bytes(_) => piece.bytes,
                Content::Silence => ZEROS as u64 / piece.sample_bytes * piece.sample_bytes,
            };
            let piece = match piece.bytes > most {
                true => {
                    let (piece, rest) = piece.split(most);
                    self.queue.push_front(rest);
                    piece
                }
                false => piece,
            };
            let source = match &piece.content {
                Content::Ring(ring, position) => {
                    match ring.window(*position, piece.bytes / SAMPLE) {
                        Ok(_) => Payload::Ring(ring.clone(), *position),
                        // Overwritten this very moment: the next look replaces it.
                        Err(_) => {
                            self.queue.push_front(piece);
                            break;
                        }
                    }
                }
                Content::Bytes(bytes) => Payload::Bytes(bytes.clone(), 0),
                Content::Silence => Payload::Zeros,
            };
            steps.push(Operation::Write {
                offset: piece.offset,
                source,
                length: piece.bytes as usize,
            });
            self.under_way.push(piece);
        }
        steps
    }

    /// Takes note of what became of the chain. Says why, if not all of it was
    /// written; what was not is queued again.
    pub(super) fn finish(&mut self, done: &Done, lost: &mut Vec<Stretch>) -> Option<Errno> {
        let mut refused = None;
        let mut again = VecDeque::new();
        for (piece, result) in std::mem::take(&mut self.under_way).into_iter().zip(done) {
            let written = match result {
                Ok(written) => *written as u64,
                Err(Errno::ECANCELED) => 0,
                Err(cause) => {
                    refused.get_or_insert(*cause);
                    0
                }
            };
            if piece.copied {
                // The ring may have overwritten it by the time the disk took it.
                again.push_back(Piece {
                    copied: false,
                    ..piece
                });
                continue;
            }
            if written < piece.bytes && matches!(piece.content, Content::Bytes(_)) {
                // Frames and such are written as a whole.
                again.push_back(piece);
                continue;
            }
            let sample_bytes = piece.sample_bytes;
            let whole = written / sample_bytes * sample_bytes;
            let (piece, mut rest) = piece.split_if(whole);
            // A sample of which half was written is no longer what it was before.
            if whole < written
                && let Some(piece) = rest.take()
            {
                let (torn, after) = piece.split_if(sample_bytes);
                let torn = torn.map(|torn| Piece {
                    again: false,
                    ..torn
                });
                again.extend(torn);
                rest = after;
            }
            again.extend(rest);
            let Some(piece) = piece else { continue };
            // Was it still what was meant when it was written?
            let (gone, piece) = ring_lost(piece);
            if let Some(gone) = gone {
                lost.push(Stretch {
                    sample: gone.sample,
                    samples: gone.bytes / SAMPLE,
                });
                again.push_back(Piece {
                    content: Content::Silence,
                    ..gone
                });
            }
            self.written.extend(piece);
        }
        // In the order of the file: `complete` relies on it.
        again.make_contiguous().sort_by_key(|piece| piece.offset);
        while let Some(piece) = again.pop_back() {
            self.queue.push_front(piece);
        }
        refused
    }

    /// A sync has covered all that was written.
    pub(super) fn synced(&mut self) {
        self.written.clear();
    }

    /// A sync has failed: nobody knows what of the written is on the disk, so all
    /// of it is written again, as far as the ring still holds it.
    pub(super) fn sync_failed(&mut self) {
        let written = std::mem::take(&mut self.written);
        let mut all: Vec<Piece> = written
            .into_iter()
            .map(|piece| Piece {
                again: true,
                ..piece
            })
            .collect();
        all.extend(self.queue.drain(..));
        all.sort_by_key(|piece| piece.offset);
        self.queue = all.into();
    }

    /// Replaces what the ring no longer holds.
    fn expire(&mut self, lost: &mut Vec<Stretch>) {
        if !self
            .queue
            .iter()
            .any(|piece| matches!(piece.content, Content::Ring(..)))
        {
            return;
        }
        for piece in std::mem::take(&mut self.queue) {
            let again = piece.again;
            let (gone, piece) = ring_lost(piece);
            // What was written before stays as it is.
            if let Some(gone) = gone.filter(|_| !again) {
                lost.push(Stretch {
                    sample: gone.sample,
                    samples: gone.bytes / SAMPLE,
                });
                append(
                    &mut self.queue,
                    Piece {
                        content: Content::Silence,
                        ..gone
                    },
                );
            }
            if let Some(piece) = piece {
                append(&mut self.queue, piece);
            }
        }
    }
}

/// Parts what its ring has overwritten from what that still holds.
fn ring_lost(piece: Piece) -> (Option<Piece>, Option<Piece>) {
    let Content::Ring(ring, position) = &piece.content else {
        return (None, Some(piece));
    };
    if ring.is_valid(*position) {
        return (None, Some(piece));
    }
    let gone = ring.oldest().saturating_sub(*position);
    piece.split_if(gone.saturating_mul(SAMPLE))
}

impl Piece {
    /// As [`split`](Self::split), without empty parts.
    fn split_if(self, bytes: u64) -> (Option<Self>, Option<Self>) {
        match bytes {
            0 => (None, Some(self)),
            bytes if bytes >= self.bytes => (Some(self), None),
            bytes => {
                let (first, rest) = self.split(bytes);
                (Some(first), Some(rest))
            }
        }
    }
}

/// Appends a piece; one that goes on where the last one ends becomes part of it.
fn append(queue: &mut VecDeque<Piece>, piece: Piece) {
    if piece.bytes == 0 {
        return;
    }
    if let Some(last) = queue.back_mut()
        && last.again == piece.again
        && last.offset + last.bytes == piece.offset
    {
        let goes_on = match (&last.content, &piece.content) {
            (Content::Ring(ring, from), Content::Ring(other, to)) => {
                Arc::ptr_eq(ring, other) && from + last.bytes / SAMPLE == *to
            }
            (Content::Silence, Content::Silence) => true,
            _ => false,
        };
        if goes_on {
            last.bytes += piece.bytes;
            return;
        }
    }
    queue.push_back(piece);
}

#[cfg(test)]
mod tests;
