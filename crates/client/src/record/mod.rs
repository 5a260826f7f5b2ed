//! The recorder: an ordinary reader of the ring that keeps what it reads in files.
//!
//! ```text
//! ring ──> Recorder ──────> RecordingFile ────────> WriteQueue ────────> Disk
//!          which samples,   one file:      pieces until     io_uring, plain
//!          which file       encodes, head  they are synced  writes, a pipe
//! ```
//!
//! Float WAV goes from the ring's pages to the file without a copy in user space;
//! anything else is encoded on the way, as are several sources, which [`Multitrack`] puts side
//! by side into the channels of one file. While the disk is slow, full or gone the ring
//! keeps the audio; what it can't keep until the disk is back becomes silence of the
//! same length, marked by a cue, and is counted.

mod background;
mod cues;
mod disk;
mod encoding;
mod flac;
mod format;
mod head;
mod moment;
mod multitrack;
mod once;
mod options;
mod pace;
mod recording_file;
mod resume;
mod segments;
mod speech;
mod stop;
mod suspend;
mod target;
mod track;
mod tracks;
mod wav;
mod write_queue;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::follow;
use crate::locator::Locator;
use crate::readiness::Readiness;
use crate::ring::{Reader, State};
pub use background::Background;
pub use format::Format;
use head::{Origin, Shape, seconds};
pub use multitrack::Multitrack;
pub use once::Once;
pub use options::{Options, Progress};
use pace::{Cadence, Pace};
use recording_file::{GRACE, RecordingFile};
use resume::{Lost, Resumed};
use speech::Speech;
pub use stop::Stop;
use suspend::Suspends;

/// From one look at the engine's connection to the next, at least.
const LOOK: Duration = Duration::from_millis(200);
/// Samples of which the level is told, at most.
const LEVEL: u64 = 4096;

pub struct Recorder {
    engine: Arc<Engine>,
    locator: Locator,
    ring: Arc<Reader>,
    path: PathBuf,
    format: Format,
    options: Options,
    next: u64,
    end: Option<u64>,
    speech: Option<Speech>,
    file: Option<RecordingFile>,
    suspends: Suspends,
    /// The engine that is gone, until another gives audio.
    lost: Option<Lost>,
    /// What was committed when the engine was connected to, and when that was.
    begun: (u64, Instant),
    /// Of the files before the present one, and speech that no file holds.
    before: Progress,
}

impl Recorder {
    /// Connects to the engine that `locator` finds, which has to detect speech if that is
    /// asked for, and [opens](Self::open) `path`. Blocks. What can't be done is said before.
    ///
    /// # Errors
    /// Those of [`Locator::connect`], [`follow::check`] and [`open`](Self::open).
    pub fn connect(locator: Locator, path: &Path, options: Options) -> Result<Self> {
        options.format_for(path)?;
        let engine = locator.connect()?;
        if (options.speech || options.split)
            && let Some(status) = engine.status()
        {
            follow::check(&status)?;
        }
        Self::open(engine, locator, path, options)
    }

    /// The engine whose audio is recorded now.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Opens `path`, or standard output for `-`, to record what `engine` captures from now
    /// on, or from `options.last` ago. When that engine is gone, `locator` finds another.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: an option is out of range, the path says no format, it
    /// exists or can't be made; [`ErrorKind::System`]: the disk refuses.
    pub fn open(
        engine: Arc<Engine>,
        locator: Locator,
        path: &Path,
        options: Options,
    ) -> Result<Self> {
        let format = options.format_for(path)?;
        let ring = engine.ring().clone();
        let rate = ring.rate();
        let samples = |time: Duration| (time.as_secs_f64() * f64::from(rate.hz())) as u64;
        let (committed, oldest) = (ring.committed(), ring.oldest());
        // What is about to be overwritten is not begun with.
        let margin = if oldest > 0 {
            u64::from(rate.hz()) / 4
        } else {
            0
        };
        let next = committed
            .saturating_sub(samples(options.last))
            .max(oldest + margin);
        let next = next.min(committed);
        let missing = samples(options.last).saturating_sub(committed - next);
        if missing > margin {
            tracing::warn!(
                "the ring goes back by {} only",
                seconds(rate, committed - next)
            );
        }
        let speech = match options.speech || options.split {
            true => Some(Speech::new(&ring, next, &options.detection)?),
            false => None,
        };
        let mut recorder = Self {
            end: options
                .length
                .map(|length| next.saturating_add(samples(length).max(1))),
            path: path.to_owned(),
            engine,
            locator,
            suspends: Suspends::from(&ring, next),
            ring,
            format,
            next,
            speech,
            file: None,
            lost: None,
            begun: (committed, Instant::now()),
            before: Progress::default(),
            options,
        };
        if !recorder.options.split {
            let path = recorder.path.clone();
            recorder.file = Some(recorder.create(&path, next)?);
        }
        Ok(recorder)
    }

    fn create(&self, path: &Path, position: u64) -> Result<RecordingFile> {
        let time = self.ring.time_ns(position);
        let origin = Origin {
            ring: ring_id(&self.ring),
            position,
            began: time.map(|ns| (ns, moment::Moment::of(&self.ring, ns))),
            source: self.engine.source().to_owned(),
            shape: Shape::mono(self.ring.rate()),
        };
        RecordingFile::create(
            path,
            self.format,
            self.options.overwrite && !self.options.split,
            origin,
            &self.ring,
        )
    }

    /// How the file is written, for people.
    pub fn how(&self) -> &'static str {
        self.file.as_ref().map_or("files", RecordingFile::how)
    }

    /// Records until the end, or until `stop` is asked; `report` is told at intervals. From
    /// one engine to the next there is silence of the same length, marked by a cue. What was
    /// recorded is in the files then, also when this fails.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the engine went away, and none came in its place;
    /// [`ErrorKind::Protocol`]: its ring contradicts itself; [`ErrorKind::System`]: the disk
    /// did not take all of it.
    pub fn run(mut self, stop: &Stop, mut report: impl FnMut(&Progress)) -> Result<Progress> {
        let mut pace = Pace::new(self.ring.committed());
        let mut cadence = Cadence::new(self.options.sync, Instant::now());
        // What goes into a pipe goes as it comes.
        let audio = match &self.file {
            Some(file) if !file.is_file() => Some(Readiness::new()?),
            _ => None,
        };
        let mut reported = Instant::now();
        let mut failed = None;
        let mut asked = None::<Instant>;
        let mut ended: Option<Instant> = None;
        loop {
            if let Some(audio) = &audio {
                audio.drain();
                audio.arm_for(&self.engine)?;
            }
            // Before the count: once it says that no more comes, the count is final.
            let state = self.ring.state();
            if asked.is_none_or(|asked| asked.elapsed() >= LOOK) {
                self.engine.check();
                asked = Some(Instant::now());
            }
            let is_gone = self.engine.is_lost() || state == State::Stopped;
            let committed = self.ring.committed();
            resume::credible(self.ring.rate(), self.begun, committed)?;
            if self.end.is_none_or(|end| committed < end) {
                if stop.is_asked() || state == State::Ended {
                    self.end = Some(committed);
                } else if is_gone {
                    match self.resume(committed)? {
                        Resumed::Now => continue,
                        Resumed::NotYet => {}
                        Resumed::Never(error) => {
                            failed = Some(error);
                            self.end = Some(committed);
                        }
                    }
                }
            }
            let now = Instant::now();
            let ending = self.end.is_some_and(|end| committed >= end);
            let end = self.end.map_or(committed, |end| end.min(committed));
            let pressed = end.saturating_sub(self.next) >= self.ring.layout().history() / 8;
            let due = audio.is_some() || now >= cadence.due();
            if due || pressed || ending {
                self.advance(end, ending, is_gone)?;
                self.engine.reached(self.next);
                if due {
                    self.file.iter_mut().for_each(RecordingFile::sync);
                    cadence.begin(now);
                }
            }
            if let Some(file) = &mut self.file
                && file.pump()?
            {
                cadence.done(Instant::now());
            }
            if self.close_file() && ending && self.is_over(end) {
                break;
            }
            if ending {
                let since = *ended.get_or_insert(now);
                self.give_up(since, stop.is_asked() || failed.is_some())?;
            }
            if now.duration_since(reported) >= self.options.report {
                report(&self.progress(Some(committed)));
                reported = now;
            }
            let mut timeout = self.options.report.saturating_sub(reported.elapsed());
            timeout = timeout.min(cadence.due().saturating_duration_since(Instant::now()));
            timeout = timeout.min(pace.look(self.ring.committed(), self.ring.layout().history()));
            if let Some(end) = self.end.filter(|_| !ending) {
                let left = self.ring.rate().seconds(end.saturating_sub(committed));
                timeout = timeout.min(Duration::from_secs_f64(left.min(3600.0) + 0.002));
            }
            if ending || is_gone {
                timeout = timeout.min(Duration::from_millis(20));
            }
            let timeout = timeout.max(Duration::from_millis(1));
            match &mut self.file {
                Some(file) => {
                    file.wait(stop.notifier(), audio.as_ref().map(AsFd::as_fd), timeout)?
                }
                None => disk::idle(stop.notifier(), timeout)?,
            }
        }
        let progress = self.progress(None);
        report(&progress);
        match failed {
            None => Ok(progress),
            Some(error) => Err(Error::new(
                error.kind(),
                format!(
                    "{error}: recorded {} until then",
                    seconds(self.ring.rate(), progress.samples)
                ),
            )),
        }
    }

    /// Gives the present file what the ring has up to `end`.
    fn advance(&mut self, end: u64, ending: bool, is_gone: bool) -> Result<()> {
        if self.speech.is_some() {
            return self.advance_speech(end, ending, is_gone);
        }
        self.bridge(end)?;
        self.pass_suspends(end)?;
        let end = self.end.map_or(end, |last| last.min(end));
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if file.has_room() && end > self.next {
            file.add(self.next, end - self.next)?;
            self.next = end;
        }
        if ending && self.next >= end {
            file.end()?;
        }
        Ok(())
    }

    /// Lets go of a file that is finished; true if none is under way.
    fn close_file(&mut self) -> bool {
        if self
            .file
            .as_ref()
            .is_some_and(|file| file.is_done() || file.is_closed())
            && let Some(file) = self.file.take()
        {
            self.before.samples += file.samples();
            self.before.bytes += file.bytes();
            self.before.lost += file.lost();
            self.before.files.push(file.path().to_owned());
            if file.is_closed() {
                // Nobody listens to what would follow.
                self.end = Some(self.next);
                self.speech = None;
            }
        }
        self.file.is_none()
    }

    fn is_over(&self, end: u64) -> bool {
        match &self.speech {
            Some(speech) => speech.is_over(),
            None => self.next >= end,
        }
    }

    /// After the end, as [`RecordingFile::give_up`].
    fn give_up(&self, since: Instant, asked: bool) -> Result<()> {
        match (&self.file, &self.before.trouble) {
            (Some(file), _) => file.give_up(since, asked),
            (None, Some(trouble)) if since.elapsed() >= GRACE => {
                Err(Error::new(ErrorKind::System, trouble.clone()))
            }
            (None, _) => Ok(()),
        }
    }

    fn progress(&self, committed: Option<u64>) -> Progress {
        let mut progress = self.before.clone();
        if let Some(file) = &self.file {
            progress.samples += file.samples();
            progress.bytes += file.bytes();
            progress.lost += file.lost();
            progress.files.push(file.path().to_owned());
            if let Some(trouble) = file.trouble() {
                progress.trouble = Some(trouble.to_owned());
            }
        }
        progress.level = committed.and_then(|committed| self.level(committed));
        progress
    }

    /// The peak of the newest samples.
    fn level(&self, committed: u64) -> Option<f32> {
        let mut samples = vec![0.0; committed.min(LEVEL) as usize];
        let first = committed - samples.len() as u64;
        self.ring.read_samples(first, &mut samples).ok()?;
        samples.into_iter().map(f32::abs).reduce(f32::max)
    }
}

/// A ring's id, hexadecimal.
fn ring_id(ring: &Reader) -> String {
    let id = ring.layout().ring_id;
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
