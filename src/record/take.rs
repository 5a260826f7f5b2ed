//! One file of a recording: encodes, hands to the disk, keeps the head true.
//!
//! The head says what a sync has brought to the disk, and is written after that:
//! whenever the recorder is killed, what the file claims to hold is there.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::disk::{Disk, Done, Source, Step};
use super::flac;
use super::format::{Format, integer};
use super::head::{Cue, HEAD, Length, Origin, seconds};
use super::outbox::{Lost, Outbox};
use super::target::{self, STDOUT};
use super::wav::{self, Sample};
use crate::error::{Error, ErrorKind, Result};
use crate::ring::Reader;

/// From one attempt to write to the next, while the disk refuses.
const RETRY: Duration = Duration::from_millis(500);
/// Encoded bytes that wait for the disk, at most (s16: 4 minutes).
const ROOM: u64 = 8 << 20;
/// Samples that are encoded at once.
const BLOCK: u64 = 1 << 16;

/// How samples become bytes.
enum Encoding {
    /// As they lie in the ring.
    Float,
    Integer16,
    Flac {
        bits: u32,
        encoder: Box<flac::Encoder>,
    },
}

/// What the disk is doing.
enum Job {
    Idle,
    /// Writing audio.
    Audio,
    /// Syncing, then writing the head, then syncing that.
    Commit,
}

/// Why the disk doesn't take audio just now, and when it is tried again.
struct Trouble {
    message: String,
    retry: Instant,
}

pub(super) struct Take {
    /// As given; [`STDOUT`] for standard output.
    path: PathBuf,
    is_file: bool,
    ring: Arc<Reader>,
    origin: Origin,
    encoding: Encoding,
    outbox: Outbox,
    disk: Disk,
    job: Job,
    trouble: Option<Trouble>,
    cues: Vec<Cue>,
    losses: Vec<Lost>,
    /// Samples given so far, encoded or not.
    samples: u64,
    commit_wanted: bool,
    /// The last one failed.
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

impl Take {
    /// Opens the target and gives it a head. Its first sample will be the one at
    /// `origin.position`.
    pub(super) fn create(
        path: &Path,
        format: Format,
        overwrite: bool,
        origin: Origin,
        ring: &Arc<Reader>,
    ) -> Result<Self> {
        let encoding = match format {
            Format::Wav => Encoding::Float,
            Format::Wav16 => Encoding::Integer16,
            Format::Flac | Format::Flac24 => {
                let bits = if format == Format::Flac { 16 } else { 24 };
                let encoder = Box::new(flac::Encoder::new(bits)?);
                Encoding::Flac { bits, encoder }
            }
        };
        let target = target::open(path, overwrite)?;
        let disk = match target.is_file {
            true => Disk::file(target.file),
            false => Disk::pipe(target.file),
        };
        let mut take = Self {
            path: path.to_owned(),
            is_file: target.is_file,
            ring: ring.clone(),
            origin,
            encoding,
            outbox: Outbox::new(ring.clone(), HEAD as u64),
            disk,
            job: Job::Idle,
            trouble: None,
            cues: Vec::new(),
            losses: Vec::new(),
            samples: 0,
            commit_wanted: false,
            commit_refused: false,
            ending: false,
            tail: None,
            begun: false,
            closed: false,
        };
        if take.is_file {
            // A file of no length from the first moment on.
            let head = take.head(0);
            let written = take.disk.file_ref().write_all_at(&head, 0);
            written.map_err(|cause| {
                Error::system(format!("cannot write {}", path.display()), cause)
            })?;
            take.begun = true;
        }
        Ok(take)
    }

    /// Where it goes; after the file was removed, where it is now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How it is written, for people.
    pub(super) fn how(&self) -> &'static str {
        self.disk.name()
    }

    /// A regular file, not a pipe.
    pub(super) fn is_file(&self) -> bool {
        self.is_file
    }

    /// Samples given so far.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// Bytes of the file so far.
    pub(super) fn bytes(&self) -> u64 {
        self.outbox.end() + self.tail.unwrap_or(0)
    }

    /// Samples that are silence because the audio was overwritten before the disk
    /// took it.
    pub(super) fn lost(&self) -> u64 {
        self.losses.iter().map(|lost| lost.samples).sum()
    }

    /// Why the disk doesn't take audio just now.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble
            .as_ref()
            .map(|trouble| trouble.message.as_str())
    }

    /// Whether it takes more. While the disk is late, float samples wait in the ring
    /// itself, and others here, up to a limit.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.own_bytes() < ROOM
    }

    /// Marks the next sample.
    pub(super) fn cue(&mut self, label: String) {
        self.cues.push(Cue {
            sample: self.samples,
            label,
        });
    }

    /// Appends samples of the ring. What it no longer holds becomes silence.
    pub(super) fn add(&mut self, position: u64, count: u64) -> Result<()> {
        if self.origin.began.is_none() {
            let time = self.ring.time_ns(self.origin.position);
            self.origin.began = time.map(|ns| (ns, super::moment::Moment::of_monotonic(ns)));
        }
        if !self.begun {
            let head = self.head(0);
            self.outbox.push_bytes(head, 0);
            self.begun = true;
        }
        if matches!(self.encoding, Encoding::Float) {
            self.outbox.push_ring(position, count);
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

    /// Appends silence in place of audio that is gone.
    pub(super) fn lose(&mut self, count: u64) -> Result<()> {
        let lost = Lost {
            sample: self.samples,
            samples: count,
        };
        let sample = match self.encoding {
            Encoding::Float => Some(Sample::Float),
            Encoding::Integer16 => Some(Sample::Integer16),
            Encoding::Flac { .. } => None,
        };
        if let Some(sample) = sample {
            self.outbox.push_silence(count, sample.bytes());
            self.samples += count;
        } else {
            let (mut left, silence) = (count, [0.0; 4096]);
            while left > 0 {
                let block = &silence[..left.min(4096) as usize];
                self.encode(block)?;
                left -= block.len() as u64;
            }
        }
        self.note(vec![lost]);
        Ok(())
    }

    fn encode(&mut self, samples: &[f32]) -> Result<()> {
        let count = samples.len() as u64;
        let mut out = Vec::new();
        let encoded = match &mut self.encoding {
            Encoding::Float => 0,
            Encoding::Integer16 => {
                out.extend(
                    samples
                        .iter()
                        .flat_map(|&s| (integer(s, 16) as i16).to_le_bytes()),
                );
                count
            }
            Encoding::Flac { encoder, .. } => {
                let before = encoder.samples();
                encoder.push(samples, &mut out)?;
                encoder.samples() - before
            }
        };
        self.outbox.push_bytes(out, encoded);
        self.samples += count;
        Ok(())
    }

    /// Gives the encoder's last samples to the outbox.
    fn flush(&mut self, last: bool) -> Result<()> {
        if let Encoding::Flac { encoder, .. } = &mut self.encoding {
            let before = encoder.samples();
            let mut out = Vec::new();
            encoder.flush(last, &mut out)?;
            self.outbox.push_bytes(out, encoder.samples() - before);
        }
        Ok(())
    }

    fn note(&mut self, losses: Vec<Lost>) {
        for lost in losses {
            tracing::warn!(
                "{}: {} were overwritten before the disk took them: silence from {} on",
                self.path.display(),
                seconds(lost.samples),
                seconds(lost.sample)
            );
            match self.losses.last_mut() {
                Some(last) if last.sample + last.samples == lost.sample => {
                    last.samples += lost.samples;
                }
                _ => self.losses.push(lost),
            }
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
            self.outbox.own(&mut losses);
            self.note(losses);
            self.sync();
        }
        Ok(())
    }

    /// It has ended, and all of it is on the disk.
    pub(super) fn is_done(&self) -> bool {
        let written = self.outbox.is_empty() && !self.commit_wanted && self.tail.is_some();
        self.ending && written && matches!(self.job, Job::Idle)
    }

    /// What a recording that is given up lacks: an error to say so.
    pub(super) fn incomplete(&self) -> Error {
        let missing = self.samples - self.outbox.complete().min(self.samples);
        let why = self.trouble().unwrap_or("the disk does not answer");
        Error::new(
            ErrorKind::System,
            format!(
                "{}: the last {} could not be written: {why}",
                self.path.display(),
                seconds(missing)
            ),
        )
    }

    /// Waits until the disk has news, `bell` is readable, or time is up.
    pub(super) fn wait(&mut self, bell: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<()> {
        let timeout = match &self.trouble {
            Some(trouble) => timeout.min(trouble.retry.saturating_duration_since(Instant::now())),
            None => timeout,
        };
        self.disk.wait(bell, timeout)
    }

    /// Whether nobody reads the pipe any more: nothing more can be written.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the disk's news and gives it what comes next. Doesn't wait.
    pub(super) fn pump(&mut self) -> Result<()> {
        while !self.closed {
            if !matches!(self.job, Job::Idle) {
                let Some(done) = self.disk.take() else {
                    return Ok(());
                };
                self.ended(&done);
            }
            if !self.start()? {
                break;
            }
        }
        Ok(())
    }

    /// Starts the next job; false if there is none to start now.
    fn start(&mut self) -> Result<bool> {
        let may_write = match &self.trouble {
            Some(trouble) => Instant::now() >= trouble.retry,
            None => true,
        };
        if may_write && !self.outbox.is_empty() {
            let mut losses = Vec::new();
            let steps = self.outbox.start(&mut losses);
            self.note(losses);
            if steps.is_empty() {
                return Ok(false);
            }
            self.job = Job::Audio;
            self.disk.start(steps)?;
            return Ok(true);
        }
        if self.ending && self.outbox.is_empty() && self.tail.is_none() {
            let tail = self.tail_bytes();
            self.tail = Some(tail.len() as u64);
            self.outbox.push_bytes(tail, 0);
            return self.start();
        }
        // While the disk refuses audio, what it took before is still committed; if it
        // refuses that, too, there is no hurry.
        let worth = self.outbox.is_dirty() || (self.trouble.is_none() && self.outbox.is_empty());
        let may_commit = may_write || (self.outbox.is_dirty() && !self.commit_refused);
        if self.commit_wanted && may_commit && worth {
            self.commit_wanted = false;
            let head = self.head(self.outbox.complete());
            let length = head.len();
            let write = Step::Write {
                offset: 0,
                source: Source::Bytes(head.into(), 0),
                length,
            };
            self.job = Job::Commit;
            self.disk.start(vec![Step::Sync, write, Step::Sync])?;
            return Ok(true);
        }
        Ok(false)
    }

    fn ended(&mut self, done: &Done) {
        match std::mem::replace(&mut self.job, Job::Idle) {
            Job::Idle => {}
            Job::Audio => {
                let mut losses = Vec::new();
                let refused = self.outbox.finish(done, &mut losses);
                self.note(losses);
                match refused {
                    Some(Errno::EPIPE) if !self.is_file => self.closed = true,
                    Some(cause) => self.refused(cause),
                    // Cut short without a reason: what is left is tried at once.
                    None => self.recovered(),
                }
            }
            Job::Commit => {
                let failed = done.iter().find_map(|result| match result {
                    Err(cause) if *cause != Errno::ECANCELED => Some(*cause),
                    _ => None,
                });
                let short = matches!(done.get(1), Some(Ok(written)) if *written < HEAD);
                match failed.or(short.then_some(Errno::ENOSPC)) {
                    None => {
                        self.commit_refused = false;
                        self.outbox.synced();
                        self.commit_wanted |= self.ending && !self.outbox.is_empty();
                        self.look_after();
                    }
                    Some(cause) => {
                        self.outbox.sync_failed();
                        self.commit_refused = true;
                        self.commit_wanted = true;
                        self.refused(cause);
                    }
                }
            }
        }
    }

    fn refused(&mut self, cause: Errno) {
        let advice = match cause {
            Errno::ENOSPC | Errno::EDQUOT => ": make room",
            Errno::EROFS => ": remount it for writing",
            _ => "",
        };
        self.in_trouble(format!("{}{advice}", cause.desc()));
    }

    fn in_trouble(&mut self, message: String) {
        if self.trouble().is_none_or(|before| before != message) {
            let kept = self.ring.layout().history();
            tracing::warn!(
                "cannot write {}: {message}; the engine keeps {} meanwhile",
                self.path.display(),
                seconds(kept)
            );
        }
        let retry = Instant::now() + RETRY;
        self.trouble = Some(Trouble { message, retry });
    }

    fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            tracing::warn!("{}: writing goes on", self.path.display());
        }
    }

    /// After a sync: is the file still where people will look for it?
    fn look_after(&mut self) {
        let named = self.is_file && self.path.as_os_str() != STDOUT;
        if !named || !target::is_removed(self.disk.file_ref()) {
            return self.recovered();
        }
        match target::restore(&self.path, self.disk.file_ref(), self.outbox.end()) {
            Ok((file, path)) => {
                tracing::warn!(
                    "{} was removed: recording goes on in {}, which holds all of it",
                    self.path.display(),
                    path.display()
                );
                self.disk = Disk::file(file);
                self.path = path;
                self.commit_wanted = true;
                self.recovered();
            }
            Err(cause) => {
                self.commit_wanted = true;
                self.in_trouble(format!("it was removed, and can't be made again: {cause}"));
            }
        }
    }

    /// Cues in the order of the file, losses among them.
    fn all_cues(&self) -> Vec<Cue> {
        let lost = |lost: &Lost| Cue {
            sample: lost.sample,
            label: format!("lost {}", seconds(lost.samples)),
        };
        let mut cues = self.cues.clone();
        cues.extend(self.losses.iter().map(lost));
        cues.sort_by_key(|cue| cue.sample);
        cues
    }

    fn head(&self, samples: u64) -> Vec<u8> {
        let length = match self.is_file {
            true => Length::Known {
                samples,
                tail: self.tail.unwrap_or(0),
            },
            false => Length::Unknown,
        };
        let cues = self.all_cues();
        match &self.encoding {
            Encoding::Float => wav::head(Sample::Float, &self.origin, length, &cues),
            Encoding::Integer16 => wav::head(Sample::Integer16, &self.origin, length, &cues),
            Encoding::Flac { bits, encoder } => {
                // Only of exactly these samples is the sum known; zeros mean unknown.
                let all = encoder.samples() == samples && self.is_file;
                let digest = if all { encoder.digest() } else { [0; 16] };
                flac::head(*bits, &self.origin, length, digest, &cues)
            }
        }
    }

    fn tail_bytes(&self) -> Vec<u8> {
        let cues = self.all_cues();
        let sample = match &self.encoding {
            _ if !self.is_file => return Vec::new(),
            Encoding::Float => Sample::Float,
            Encoding::Integer16 => Sample::Integer16,
            Encoding::Flac { .. } => {
                let room = flac::room(&self.origin, &cues);
                if room < cues.len() {
                    tracing::warn!(
                        "{}: FLAC has room for {room} of {} cues: WAV would hold them all",
                        self.path.display(),
                        cues.len()
                    );
                }
                return Vec::new();
            }
        };
        wav::tail(sample, &self.origin, &cues)
    }
}
