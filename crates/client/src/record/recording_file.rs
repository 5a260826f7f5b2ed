//! One file of a recording: encodes, hands to the disk, keeps the head true.
//!
//! The head says what a sync has brought to the disk, and is written after that:
//! whenever the recorder is killed, what the file claims to hold is there.

mod jobs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cues::{Cues, GAP, LOST};
use super::disk::Disk;
use super::encoding::Encoding;
use super::format::Format;
use super::head::{Cue, HEAD, Head, Length, Notes, Origin, Shape, seconds};
use super::target::{self, Target};
use super::tracks::Frames;
use super::write_queue::{Stretch, WriteQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::ring::Reader;

/// Encoded bytes that wait for the disk, at most (s16: 4 minutes).
const ROOM: u64 = 8 << 20;
/// How long a recording that has ended waits for a disk that refuses, or a pipe
/// that nobody reads.
pub(super) const GRACE: Duration = Duration::from_secs(3);
/// Samples that are encoded at once.
const BLOCK: u64 = 1 << 16;

enum Job {
    Idle,
    Audio,
    /// Syncing, then writing the head, which claims so many samples and has these notes,
    /// then syncing that.
    Commit(u64, Notes),
}

/// Why the disk doesn't take audio just now, and when it is tried again.
struct Trouble {
    message: String,
    retry: Instant,
}

pub(super) struct RecordingFile {
    /// As given; [`STDOUT`] for standard output.
    path: PathBuf,
    is_file: bool,
    ring: Arc<Reader>,
    origin: Origin,
    encoding: Encoding,
    /// As the last sync left them.
    notes: Notes,
    write_queue: WriteQueue,
    disk: Disk,
    job: Job,
    trouble: Option<Trouble>,
    cues: Cues,
    /// Samples given so far, encoded or not.
    samples: u64,
    commit_wanted: bool,
    /// Audio has had its turn since.
    commit_due: bool,
    commit_refused: bool,
    /// Nothing more comes.
    ending: bool,
    /// Bytes after the audio, once that has ended.
    tail: Option<u64>,
    /// The head is out (a pipe's goes first).
    begun: bool,
    /// Nobody reads the pipe any more.
    closed: bool,
}

impl RecordingFile {
    /// Opens the target and gives it a head. Its first sample will be the one at
    /// `origin.position`.
    pub(super) fn create(
        path: &Path,
        format: Format,
        overwrite: bool,
        origin: Origin,
        ring: &Arc<Reader>,
    ) -> Result<Self> {
        let encoding = Encoding::new(format, origin.shape)?;
        // A file of no length, from its first moment on.
        let none = Length::Known {
            samples: 0,
            tail: 0,
        };
        let notes = Notes::new(encoding.notes(&origin, &[]));
        let head = encoding.head(origin.shape, none, &notes);
        let target = target::open(path, overwrite, &head.bytes)?;
        // Without a head there is nothing to go back to.
        let is_raw = encoding.is_raw();
        let (is_file, disk) = match target {
            Target::File(file) if !is_raw => (true, Disk::file(file)),
            Target::File(file) | Target::Pipe(file) => (false, Disk::pipe(file)),
            Target::Fifo(fifo) => (false, Disk::fifo(fifo)),
        };
        let audio = if is_raw { 0 } else { HEAD as u64 };
        Ok(Self {
            path: path.to_owned(),
            is_file,
            ring: ring.clone(),
            origin,
            encoding,
            notes,
            write_queue: WriteQueue::new(audio),
            disk,
            job: Job::Idle,
            trouble: None,
            cues: Cues::new(ring.rate()),
            samples: 0,
            commit_wanted: false,
            commit_due: false,
            commit_refused: false,
            ending: false,
            tail: None,
            begun: is_file || is_raw,
            closed: false,
        })
    }

    /// Where it goes; after the file was removed, where it is now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How it is written, for people.
    pub(super) fn how(&self) -> &'static str {
        self.disk.name()
    }

    pub(super) fn is_file(&self) -> bool {
        self.is_file
    }

    pub(super) fn shape(&self) -> Shape {
        self.origin.shape
    }

    /// Samples given so far.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    pub(super) fn bytes(&self) -> u64 {
        self.write_queue.end() + self.tail.unwrap_or(0)
    }

    /// Samples that are silence because the audio was overwritten before the disk
    /// took it.
    pub(super) fn lost(&self) -> u64 {
        self.cues.lost()
    }

    /// Why the disk doesn't take audio just now.
    pub(super) fn trouble(&self) -> Option<&str> {
        match &self.trouble {
            Some(trouble) => Some(&trouble.message),
            None => self.is_unread().then_some("nobody reads it yet"),
        }
    }

    /// A FIFO that has not had a reader.
    pub(super) fn is_unread(&self) -> bool {
        self.disk.is_unread()
    }

    /// Whether it takes more. While the disk is late, float samples wait in the ring
    /// itself, and others here, up to a limit.
    pub(super) fn has_room(&self) -> bool {
        self.write_queue.own_bytes() < ROOM
    }

    pub(super) fn cue(&mut self, label: String) {
        self.cues.speech(self.samples, label);
    }

    /// Appends samples of the ring. What it no longer holds becomes silence.
    pub(super) fn add(&mut self, position: u64, count: u64) -> Result<()> {
        self.begin();
        self.cues.gaps(&self.ring, position, count, self.samples);
        if self.encoding.is_verbatim() {
            self.write_queue.push_ring(&self.ring, position, count);
            self.samples += count;
            return Ok(());
        }
        let mut samples = vec![0_f32; count.min(BLOCK) as usize];
        let (mut at, end) = (position, position + count);
        while at < end {
            let block = &mut samples[..(end - at).min(BLOCK) as usize];
            match self.ring.read_samples(at, block) {
                Ok(()) => {
                    at += block.len() as u64;
                    self.encode(block)?;
                }
                Err(error) if error.kind() == ErrorKind::Overrun => {
                    let gone = self.ring.oldest().clamp(at, end) - at;
                    self.lose(gone)?;
                    at += gone;
                }
                Err(error) => return Err(error),
            }
        }
        self.flush(false)
    }

    /// Says when it began, as soon as that is known, and has a pipe begin.
    fn begin(&mut self) {
        if self.origin.began.is_none() {
            let time = self.ring.time_ns(self.origin.position);
            let moment = |ns| (ns, super::moment::Moment::of(&self.ring, ns));
            self.origin.began = time.map(moment);
        }
        if !self.begun {
            self.notes = Notes::new(self.new_notes());
            let head = self.head(0, &self.notes);
            self.write_queue.push_bytes(head.bytes, 0);
            self.begun = true;
        }
    }

    /// Its first frame is that sample of a ring, which is known only now.
    pub(super) fn begin_at(&mut self, ring: &Arc<Reader>, position: u64) {
        let id = super::ring_id(ring);
        self.origin.began = None;
        (self.origin.ring, self.origin.position) = (id, position);
        self.ring = ring.clone();
    }

    /// Appends frames, which are this file's own copy.
    pub(super) fn add_frames(&mut self, frames: Frames) -> Result<()> {
        self.begin();
        for mut silence in frames.silences {
            silence.stretch.sample += self.samples;
            self.cues.add(silence);
        }
        self.encode(&frames.samples)
    }

    /// Gives what was added to the disk, as far as the format lets it.
    pub(super) fn flush_frames(&mut self) -> Result<()> {
        self.flush(false)
    }

    /// Appends silence in place of audio that is gone.
    pub(super) fn lose(&mut self, count: u64) -> Result<()> {
        let lost = self.silence(count)?;
        self.note(vec![lost]);
        Ok(())
    }

    /// What follows comes from another ring, so many samples later: silence till then.
    pub(super) fn turn_to(&mut self, ring: &Arc<Reader>, count: u64) -> Result<()> {
        self.ring = ring.clone();
        if count > 0 {
            let gap = self.silence(count)?;
            self.cues.silence(gap, GAP);
        }
        Ok(())
    }

    /// The machine slept: silence as long as that.
    pub(super) fn sleep(&mut self, count: u64) -> Result<()> {
        if count > 0 {
            let slept = self.silence(count)?;
            self.cues.sleep(slept);
        }
        Ok(())
    }

    fn silence(&mut self, count: u64) -> Result<Stretch> {
        let silent = Stretch {
            sample: self.samples,
            samples: count,
        };
        if let Some(bytes) = self.encoding.silence() {
            self.write_queue.push_silence(count, bytes);
            self.samples += count;
        } else {
            let (mut left, silence) = (count, [0.0; 4096]);
            while left > 0 {
                let block = &silence[..left.min(4096) as usize];
                self.encode(block)?;
                left -= block.len() as u64;
            }
        }
        Ok(silent)
    }

    fn encode(&mut self, samples: &[f32]) -> Result<()> {
        let (bytes, encoded) = self.encoding.push(samples)?;
        self.write_queue.push_bytes(bytes, encoded);
        self.samples += self.origin.shape.frames(samples.len());
        Ok(())
    }

    /// Gives the encoder's last samples to the queue.
    fn flush(&mut self, last: bool) -> Result<()> {
        let (bytes, encoded) = self.encoding.flush(last)?;
        self.write_queue.push_bytes(bytes, encoded);
        Ok(())
    }

    fn note(&mut self, losses: Vec<Stretch>) {
        for lost in losses {
            tracing::warn!(
                "{}: {} were overwritten before the disk took them: silence from {} on",
                self.path.display(),
                seconds(self.origin.shape.rate, lost.samples),
                seconds(self.origin.shape.rate, lost.sample)
            );
            self.cues.silence(lost, LOST);
        }
    }

    /// Has what was given so far brought to the disk for good.
    pub(super) fn sync(&mut self) {
        self.commit_wanted = self.is_file;
    }

    /// Nothing more comes: from here on the recording no longer depends on the ring.
    pub(super) fn end(&mut self) -> Result<()> {
        if !self.ending {
            self.ending = true;
            self.flush(true)?;
            let mut losses = Vec::new();
            self.write_queue.own(&mut losses);
            self.note(losses);
            self.sync();
        }
        Ok(())
    }

    /// It has ended, and all of it is on the disk.
    pub(super) fn is_done(&self) -> bool {
        let written = self.write_queue.is_empty() && !self.commit_wanted && self.tail.is_some();
        self.ending && written && matches!(self.job, Job::Idle)
    }

    /// What a recording that is given up lacks: an error to say so.
    pub(super) fn incomplete(&self) -> Error {
        let missing = self.samples - self.write_queue.complete().min(self.samples);
        let why = self.trouble().unwrap_or("the disk does not answer");
        Error::new(
            ErrorKind::System,
            format!(
                "{}: the last {} could not be written: {why}",
                self.path.display(),
                seconds(self.origin.shape.rate, missing)
            ),
        )
    }

    /// After the end: a disk that refuses, or a pipe without a reader, is not waited
    /// for for ever. (A disk that is only slow is, and the first reader of a FIFO until
    /// somebody `asked` for the end.)
    pub(super) fn give_up(&self, since: Instant, asked: bool) -> Result<()> {
        let is_in_vain = match self.is_unread() {
            true => asked,
            false => since.elapsed() >= GRACE && (self.trouble.is_some() || !self.is_file),
        };
        match is_in_vain {
            true => Err(self.incomplete()),
            false => Ok(()),
        }
    }

    /// What the head says of cues, as far as it has room.
    fn cues_of_head(&self) -> Vec<Cue> {
        let all = self.cues.all();
        match self.encoding.room(&self.origin, &all) < all.len() {
            true => self.cues.without_gaps(),
            false => all,
        }
    }

    /// What the head is to say of the recording.
    fn new_notes(&self) -> Vec<u8> {
        let cues = match self.tail {
            // All of them stand there.
            Some(1..) => Vec::new(),
            _ => self.cues_of_head(),
        };
        self.encoding.notes(&self.origin, &cues)
    }

    fn head(&self, samples: u64, notes: &Notes) -> Head {
        let length = match self.is_file {
            true => Length::Known {
                samples,
                tail: self.tail.unwrap_or(0),
            },
            false => Length::Unknown,
        };
        self.encoding.head(self.origin.shape, length, notes)
    }

    fn tail_bytes(&self) -> Vec<u8> {
        if !self.is_file {
            return Vec::new();
        }
        let all = self.cues.all();
        let tail = self.encoding.tail(&self.origin, &all);
        let kept = self.encoding.room(&self.origin, &self.cues_of_head());
        if tail.is_empty() && kept < all.len() {
            tracing::warn!(
                "{}: FLAC has room for {kept} of {} cues: WAV would hold them all",
                self.path.display(),
                all.len()
            );
        }
        tail
    }
}
