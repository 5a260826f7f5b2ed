//! The recorder: an ordinary reader of the ring that keeps what it reads in files.
//!
//! ```text
//! ring ──> Recorder ──────> Take ────────> Outbox ────────> Disk
//!          which samples,   one file:      pieces until     io_uring, plain
//!          which file       encodes, head  they are synced  writes, a pipe
//! ```
//!
//! Float WAV goes from the ring's pages to the file without a copy in user space;
//! anything else is encoded on the way. While the disk is slow, full or gone the ring
//! keeps the audio; what it can't keep until the disk is back becomes silence of the
//! same length, marked by a cue, and is counted.

mod disk;
mod flac;
mod format;
mod head;
mod moment;
mod outbox;
mod speech;
mod stop;
mod take;
mod target;
mod wav;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bookmark::Bookmark;
use crate::error::{Error, ErrorKind, Result};
use crate::ring::{Reader, SAMPLE_RATE, State};
pub use format::Format;
use head::{Origin, seconds};
use speech::Speech;
pub use stop::Stop;
use take::Take;

/// How long a recording that has ended waits for a disk that refuses, or a pipe
/// that nobody reads.
const GRACE: Duration = Duration::from_secs(3);
/// From one write into a pipe to the next.
const PIPE: Duration = Duration::from_millis(20);
/// From one look at the engine's connection to the next, at least.
const LOOK: Duration = Duration::from_millis(200);
/// Samples of which the level is told, at most.
const LEVEL: u64 = 4096;

/// What to record, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// `None`: by the path's extension.
    pub format: Option<Format>,
    /// Replace a file that exists.
    pub overwrite: bool,
    /// Only speech, one segment after the other, each marked by a cue.
    pub speech: bool,
    /// Each segment of speech in a file of its own, named by its time. Includes `speech`.
    pub split: bool,
    /// Begin this far in the past, as far as the ring goes back.
    pub last: Duration,
    /// End after so much audio, counted from the beginning (with `last`: the past one).
    pub length: Option<Duration>,
    /// From one sync to the next: what a crash can cost.
    pub sync: Duration,
    /// From one report to the next.
    pub report: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            overwrite: false,
            speech: false,
            split: false,
            last: Duration::ZERO,
            length: None,
            sync: Duration::from_secs(1),
            report: Duration::from_secs(1),
        }
    }
}

impl Options {
    /// Errors: [`ErrorKind::Invalid`], naming the option and what it may be.
    pub fn validate(&self) -> Result<()> {
        let invalid = |message: &str| Err(Error::new(ErrorKind::Invalid, message));
        if !(Duration::from_millis(50)..=Duration::from_secs(3600)).contains(&self.sync) {
            return invalid("the interval of syncs must be 0.05 to 3600 seconds");
        }
        if self.length == Some(Duration::ZERO) {
            return invalid("the length of a recording must be more than 0 seconds");
        }
        Ok(())
    }
}

/// A recording at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Samples recorded, silence for lost ones included.
    pub samples: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Samples that were overwritten before the disk took them.
    pub lost: u64,
    /// Peak of the newest audio, 0 to 1; `None` if none came.
    pub level: Option<f32>,
    /// Why the disk takes nothing just now.
    pub trouble: Option<String>,
    /// The files, the present one last.
    pub files: Vec<PathBuf>,
}

/// Why a recording ends.
enum End {
    /// Its length is reached, it was told to, or the source has ended.
    Done,
    /// The engine is gone.
    Gone,
}

/// A recording to be run.
pub struct Recorder {
    ring: Arc<Reader>,
    source: String,
    path: PathBuf,
    format: Format,
    options: Options,
    /// The position that comes next.
    next: u64,
    end: Option<u64>,
    speech: Option<Speech>,
    take: Option<Take>,
    bookmark: Option<Arc<Bookmark>>,
    /// Of the files before the present one, and speech that no file holds.
    before: Progress,
}

impl Recorder {
    /// Opens `path`, or standard output for `-`, to record what `ring` holds from now
    /// on, or from `options.last` ago. `source` is what the engine captures.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: an option is out of range, the path says no format, it
    /// exists or can't be made; [`ErrorKind::System`]: the disk refuses.
    pub fn open(ring: Arc<Reader>, source: &str, path: &Path, options: Options) -> Result<Self> {
        options.validate()?;
        let stdout = path.as_os_str() == target::STDOUT;
        let format = match options.format {
            Some(format) => format,
            None if stdout => Format::Wav,
            None if options.split && path.is_dir() => Format::Wav,
            None => Format::of(path)?,
        };
        if stdout && options.split {
            let message = "segments in files of their own can't go to standard output: name a file";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let samples = |time: Duration| (time.as_secs_f64() * f64::from(SAMPLE_RATE)) as u64;
        let (committed, oldest) = (ring.committed(), ring.oldest());
        // What is about to be overwritten is not begun with.
        let margin = if oldest > 0 {
            u64::from(SAMPLE_RATE) / 4
        } else {
            0
        };
        let next = committed
            .saturating_sub(samples(options.last))
            .max(oldest + margin);
        let next = next.min(committed);
        let missing = samples(options.last).saturating_sub(committed - next);
        if missing > margin {
            tracing::warn!("the ring goes back by {} only", seconds(committed - next));
        }
        let speech = match options.speech || options.split {
            true => Some(Speech::new(&ring, next)?),
            false => None,
        };
        let mut recorder = Self {
            end: options
                .length
                .map(|length| next.saturating_add(samples(length).max(1))),
            source: source.to_owned(),
            path: path.to_owned(),
            ring,
            format,
            next,
            speech,
            take: None,
            bookmark: None,
            before: Progress::default(),
            options,
        };
        if !recorder.options.split {
            let path = recorder.path.clone();
            recorder.take = Some(recorder.create(&path, next)?);
        }
        Ok(recorder)
    }

    /// Notes there how far it has read.
    #[must_use]
    pub fn noting(mut self, bookmark: Option<Arc<Bookmark>>) -> Self {
        self.bookmark = bookmark;
        self
    }

    fn create(&self, path: &Path, position: u64) -> Result<Take> {
        let id = self.ring.layout().ring_id;
        let time = self.ring.time_ns(position);
        let origin = Origin {
            ring: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            position,
            began: time.map(|ns| (ns, moment::Moment::of_monotonic(ns))),
            source: self.source.clone(),
        };
        Take::create(
            path,
            self.format,
            self.options.overwrite,
            origin,
            &self.ring,
        )
    }

    /// How the file is written, for people.
    pub fn how(&self) -> &'static str {
        self.take.as_ref().map_or("files", Take::how)
    }

    /// Records until the end, until `stop` is asked, or until `gone` says that the
    /// engine is; `report` is told at intervals. What was recorded is in the files
    /// then, also when this fails.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the engine went away; [`ErrorKind::System`]: the disk
    /// did not take all of it.
    pub fn run(
        mut self,
        stop: &Stop,
        gone: impl Fn() -> bool,
        mut report: impl FnMut(&Progress),
    ) -> Result<Progress> {
        let mut pace = Pace::new(self.ring.committed());
        let mut due = Instant::now();
        let mut reported = Instant::now();
        let mut why = End::Done;
        let (mut is_gone, mut asked) = (false, None::<Instant>);
        let mut ended: Option<Instant> = None;
        loop {
            // Before the count: once it says that no more comes, the count is final.
            let state = self.ring.state();
            if asked.is_none_or(|asked| asked.elapsed() >= LOOK) {
                is_gone |= gone();
                asked = Some(Instant::now());
            }
            is_gone |= state == State::Stopped;
            let committed = self.ring.committed();
            if self.end.is_none_or(|end| committed < end) {
                if is_gone {
                    why = End::Gone;
                }
                if is_gone || stop.is_asked() || state == State::Ended {
                    self.end = Some(committed);
                }
            }
            let now = Instant::now();
            let ending = self.end.is_some_and(|end| committed >= end);
            let end = self.end.map_or(committed, |end| end.min(committed));
            let pressed = end.saturating_sub(self.next) >= self.ring.layout().history() / 8;
            if now >= due || pressed || ending {
                self.advance(end, ending, is_gone)?;
                if let Some(bookmark) = &self.bookmark {
                    bookmark.reached(self.next);
                }
                if now >= due {
                    self.take.iter_mut().for_each(Take::sync);
                    due = now + self.interval();
                }
            }
            if let Some(take) = &mut self.take {
                take.pump()?;
            }
            if self.close_take() && ending && self.is_over(end) {
                break;
            }
            if ending {
                let since = *ended.get_or_insert(now);
                self.give_up(since)?;
            }
            if now.duration_since(reported) >= self.options.report {
                report(&self.progress(Some(committed)));
                reported = now;
            }
            let mut timeout = self.options.report.saturating_sub(reported.elapsed());
            timeout = timeout.min(due.saturating_duration_since(Instant::now()));
            timeout = timeout.min(pace.look(self.ring.committed(), self.ring.layout().history()));
            if let Some(end) = self.end.filter(|_| !ending) {
                let left = end.saturating_sub(committed) as f64 / f64::from(SAMPLE_RATE);
                timeout = timeout.min(Duration::from_secs_f64(left.min(3600.0) + 0.002));
            }
            if ending {
                timeout = Duration::from_millis(20);
            }
            let timeout = timeout.max(Duration::from_millis(1));
            match &mut self.take {
                Some(take) => take.wait(stop.bell(), timeout)?,
                None => disk::idle(stop.bell(), timeout)?,
            }
        }
        let progress = self.progress(None);
        report(&progress);
        match why {
            End::Done => Ok(progress),
            End::Gone => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the engine is gone: recorded {} until then",
                    seconds(progress.samples)
                ),
            )),
        }
    }

    /// From one hand-over to the next.
    fn interval(&self) -> Duration {
        match &self.take {
            Some(take) if !take.is_file() => PIPE,
            _ => self.options.sync,
        }
    }

    /// Gives the present file what the ring has up to `end`.
    fn advance(&mut self, end: u64, ending: bool, is_gone: bool) -> Result<()> {
        if self.speech.is_some() {
            return self.advance_speech(end, ending, is_gone);
        }
        let Some(take) = &mut self.take else {
            return Ok(());
        };
        if take.has_room() && end > self.next {
            take.add(self.next, end - self.next)?;
            self.next = end;
        }
        if ending && self.next >= end {
            take.end()?;
        }
        Ok(())
    }

    fn advance_speech(&mut self, end: u64, ending: bool, is_gone: bool) -> Result<()> {
        let Some(mut speech) = self.speech.take() else {
            return Ok(());
        };
        let done = self.take_segments(&mut speech, end, ending, is_gone);
        self.speech = Some(speech);
        self.next = end;
        done
    }

    fn take_segments(
        &mut self,
        speech: &mut Speech,
        end: u64,
        ending: bool,
        is_gone: bool,
    ) -> Result<()> {
        if ending {
            speech.end(&self.ring, end, is_gone);
        }
        let split = self.options.split;
        while self
            .take
            .as_ref()
            .map_or(split, |take| !split && take.has_room())
            && let Some(found) = speech.next(&self.ring)
        {
            match found {
                speech::Found::Segment { start, end } if split => {
                    match self.create(&self.name(start)?, start) {
                        Ok(mut take) => {
                            take.add(start, end - start)?;
                            take.end()?;
                            self.take = Some(take);
                        }
                        // Later, perhaps: the ring still has it for a while.
                        Err(error) => {
                            speech.put_back(start, end);
                            if self.before.trouble.is_none() {
                                tracing::warn!("{error}");
                            }
                            self.before.trouble = Some(error.to_string());
                            return Ok(());
                        }
                    }
                    self.before.trouble = None;
                }
                speech::Found::Segment { start, end } => {
                    let label = self.label(start);
                    if let Some(take) = &mut self.take {
                        take.cue(label);
                        take.add(start, end - start)?;
                    }
                }
                speech::Found::Lost(samples) => match &mut self.take {
                    Some(take) if !split => take.lose(samples)?,
                    _ => {
                        tracing::warn!("{} of speech were overwritten", seconds(samples));
                        self.before.lost += samples;
                    }
                },
            }
        }
        if ending && !split && speech.is_over() {
            self.take.as_mut().map_or(Ok(()), Take::end)?;
        }
        Ok(())
    }

    /// What a cue says of a segment of speech.
    fn label(&self, position: u64) -> String {
        let time = self
            .ring
            .time_ns(position)
            .map(moment::Moment::of_monotonic);
        let time = time.map_or(String::new(), |time| format!(" {}", time.file_name()));
        format!("speech{time} @{position}")
    }

    /// The file of the segment that begins at `position`.
    fn name(&self, position: u64) -> Result<PathBuf> {
        let time = self
            .ring
            .time_ns(position)
            .unwrap_or_else(crate::time::monotonic_ns);
        let time = moment::Moment::of_monotonic(time).file_name();
        let extension = self.format.extension();
        if self.path.is_dir() {
            return Ok(self.path.join(format!("{time}.{extension}")));
        }
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(self
            .path
            .with_file_name(format!("{stem}-{time}.{extension}")))
    }

    /// Lets go of a file that is finished; true if none is under way.
    fn close_take(&mut self) -> bool {
        if self
            .take
            .as_ref()
            .is_some_and(|take| take.is_done() || take.is_closed())
            && let Some(take) = self.take.take()
        {
            self.before.samples += take.samples();
            self.before.bytes += take.bytes();
            self.before.lost += take.lost();
            self.before.files.push(take.path().to_owned());
            if take.is_closed() {
                // Nobody listens to what would follow.
                self.end = Some(self.next);
                self.speech = None;
            }
        }
        self.take.is_none()
    }

    fn is_over(&self, end: u64) -> bool {
        match &self.speech {
            Some(speech) => speech.is_over(),
            None => self.next >= end,
        }
    }

    /// After the end: a disk that refuses, or a pipe without a reader, is not waited
    /// for for ever. (A disk that is only slow is.)
    fn give_up(&self, since: Instant) -> Result<()> {
        if since.elapsed() < GRACE {
            return Ok(());
        }
        match &self.take {
            Some(take) if take.trouble().is_some() || !take.is_file() => Err(take.incomplete()),
            None => match &self.before.trouble {
                Some(trouble) => Err(Error::new(ErrorKind::System, trouble.clone())),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn progress(&self, committed: Option<u64>) -> Progress {
        let mut progress = self.before.clone();
        if let Some(take) = &self.take {
            progress.samples += take.samples();
            progress.bytes += take.bytes();
            progress.lost += take.lost();
            progress.files.push(take.path().to_owned());
            if let Some(trouble) = take.trouble() {
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

/// How soon to look again, so that an unpaced source can't come round in between.
struct Pace {
    committed: u64,
    looked: Instant,
    timeout: Duration,
}

impl Pace {
    fn new(committed: u64) -> Self {
        Self {
            committed,
            looked: Instant::now(),
            timeout: Duration::from_millis(2),
        }
    }

    /// The time in which an eighth of the history may come, by how fast it came
    /// since the last look; at first, and after a pause, not much longer than that.
    fn look(&mut self, committed: u64, history: u64) -> Duration {
        let took = self.looked.elapsed().as_secs_f64();
        let came = committed.saturating_sub(self.committed) as f64;
        let eighth =
            Duration::from_secs_f64((took * history as f64 / 8.0 / came.max(1.0)).min(60.0));
        self.timeout = (self.timeout * 2).min(eighth).max(Duration::from_millis(1));
        (self.committed, self.looked) = (committed, Instant::now());
        self.timeout
    }
}
