//! What the disk is given to do, and what becomes of it.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::super::disk::{Disk, Done, Operation, Payload};
use super::super::head::{HEAD, seconds};
use super::super::target::{self, STDOUT};
use super::{Job, RecordingFile, Trouble};
use crate::error::Result;

/// From one attempt to write to the next, while the disk refuses.
const RETRY: Duration = Duration::from_millis(500);

impl RecordingFile {
    /// Waits until the disk has news, `notifier` or, where it goes into a pipe, `audio` is
    /// readable, or time is up.
    pub(in crate::record) fn wait(
        &mut self,
        notifier: Option<BorrowedFd<'_>>,
        audio: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<()> {
        let timeout = match &self.trouble {
            Some(trouble) => timeout.min(trouble.retry.saturating_duration_since(Instant::now())),
            None => timeout,
        };
        self.disk.wait(notifier, audio, timeout)
    }

    /// Whether nobody reads the pipe any more: nothing more can be written.
    pub(in crate::record) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the disk's news and gives it what comes next. Doesn't wait. True if a sync
    /// is over.
    pub(in crate::record) fn pump(&mut self) -> Result<bool> {
        let mut synced = false;
        while !self.closed {
            if !matches!(self.job, Job::Idle) {
                let Some(done) = self.disk.take() else {
                    break;
                };
                synced |= self.ended(&done);
            }
            if !self.start()? {
                break;
            }
        }
        Ok(synced)
    }

    /// Starts the next job; false if there is none to start now.
    fn start(&mut self) -> Result<bool> {
        let may_write = match &self.trouble {
            Some(trouble) => Instant::now() >= trouble.retry,
            None => true,
        };
        // While the disk refuses audio, what it took before is still committed; if it
        // refuses that, too, there is no hurry.
        let may_commit = may_write || (self.write_queue.is_dirty() && !self.commit_refused);
        if may_write
            && !self.write_queue.is_empty()
            && !(self.commit_due && self.is_worth_a_commit())
        {
            let mut losses = Vec::new();
            let steps = self.write_queue.start(&mut losses);
            self.note(losses);
            if steps.is_empty() {
                return Ok(false);
            }
            self.job = Job::Audio;
            // What was there when it was wanted goes first; what a slow disk has not taken by
            // then doesn't hold it up.
            self.commit_due = self.commit_wanted;
            self.disk.start(steps)?;
            return Ok(true);
        }
        if self.ending && self.write_queue.is_empty() && self.tail.is_none() {
            let tail = self.tail_bytes();
            self.tail = Some(tail.len() as u64);
            self.write_queue.push_bytes(tail, 0);
            return self.start();
        }
        if self.commit_wanted && may_commit && self.is_worth_a_commit() {
            (self.commit_wanted, self.commit_due) = (false, false);
            let claimed = self.write_queue.complete();
            let turned = self.notes.turned(self.new_notes());
            let head = self.head(claimed, turned.as_ref().unwrap_or(&self.notes));
            let bytes: Arc<[u8]> = head.bytes.into();
            let write = |part: Range<usize>| Operation::Write {
                offset: part.start as u64,
                source: Payload::Bytes(bytes.clone(), part.start),
                length: part.len(),
            };
            let first = turned.is_some().then(|| write(head.first));
            let rest = [Operation::Sync, write(0..HEAD), Operation::Sync];
            let notes = turned.unwrap_or_else(|| self.notes.clone());
            self.job = Job::Commit(claimed, notes);
            self.disk.start(first.into_iter().chain(rest).collect())?;
            return Ok(true);
        }
        Ok(false)
    }

    fn is_worth_a_commit(&self) -> bool {
        self.write_queue.is_dirty() || (self.trouble.is_none() && self.write_queue.is_empty())
    }

    /// Takes note of what became of the job; true if it was a sync that worked.
    fn ended(&mut self, done: &Done) -> bool {
        match std::mem::replace(&mut self.job, Job::Idle) {
            Job::Idle => {}
            Job::Audio => {
                let mut losses = Vec::new();
                let refused = self.write_queue.finish(done, &mut losses);
                self.note(losses);
                match refused {
                    Some(Errno::EPIPE) if !self.is_file => self.closed = true,
                    Some(cause) => self.refused(cause),
                    // Cut short without a reason: what is left is tried at once.
                    None => self.recovered(),
                }
            }
            Job::Commit(claimed, notes) => {
                let failed = done.iter().find_map(|result| match result {
                    Err(cause) if *cause != Errno::ECANCELED => Some(*cause),
                    _ => None,
                });
                let head = done.iter().rev().nth(1);
                let whole = done.iter().all(Result::is_ok)
                    && matches!(head, Some(Ok(written)) if *written == HEAD);
                match failed.or((!whole).then_some(Errno::ENOSPC)) {
                    None => {
                        self.commit_refused = false;
                        self.notes = notes;
                        self.write_queue.synced();
                        self.commit_wanted |= self.ending && !self.write_queue.is_empty();
                        tracing::debug!(
                            "{}: synced to sample {claimed} ({})",
                            self.path.display(),
                            seconds(self.origin.shape.rate, claimed)
                        );
                        self.look_after();
                        return true;
                    }
                    Some(cause) => {
                        self.write_queue.sync_failed();
                        self.commit_refused = true;
                        self.commit_wanted = true;
                        self.refused(cause);
                    }
                }
            }
        }
        false
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
                seconds(self.origin.shape.rate, kept)
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
        let named = self.path.as_os_str() != STDOUT;
        let file = self
            .disk
            .file_ref()
            .filter(|file| named && target::is_removed(file));
        let Some(file) = file else {
            return self.recovered();
        };
        match target::restore(&self.path, file, self.write_queue.end()) {
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
}
