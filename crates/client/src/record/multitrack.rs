//! Several sources in one file, a channel each, aligned to the sample.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::head::{Origin, Shape, seconds};
use super::options::{Options, Progress};
use super::pace::{Cadence, Pace};
use super::recording_file::RecordingFile;
use super::stop::Stop;
use super::tracks::Tracks;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::locator::Locator;
use crate::readiness::Readiness;

/// FLAC has no more channels.
const MOST: usize = 8;
/// When it is to end, a source that is late by more than so many seconds is not waited for: no
/// quantum lasts longer.
const LATE: f64 = 0.2;

/// Windows that are taken before the disk is looked after again.
const BATCH: usize = 64;

/// As [`Recorder`](super::Recorder), of several sources.
pub struct Multitrack {
    tracks: Tracks,
    file: RecordingFile,
    options: Options,
    /// Frames to record.
    length: u64,
    level: Option<f32>,
}

impl Multitrack {
    /// Connects to the engine that each of `locators` finds, and opens `path`, or standard
    /// output for `-`. What is missing is waited for, and silence until then. Blocks.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: an option is out of range or not for several sources, the path
    /// says no format, it exists or can't be made; those of [`Locator::connect`];
    /// [`ErrorKind::System`]: the disk refuses.
    pub fn connect(locators: Vec<Locator>, path: &Path, options: Options) -> Result<Self> {
        if options.speech || options.split {
            let message =
                "speech can be picked from one source only: name one, or record all of it";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if !(1..=MOST).contains(&locators.len()) {
            let message = format!(
                "{} sources: a file has 1 to {MOST} channels",
                locators.len()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let format = options.format_for(path)?;
        let tracks = Tracks::open(locators, options.last)?;
        let (rate, channels) = (tracks.rate(), tracks.channels());
        let (lead, position) = tracks.lead();
        let names: Vec<&str> = tracks.engines().map(|engine| engine.source()).collect();
        let origin = Origin {
            ring: super::ring_id(lead.ring()),
            position,
            began: None,
            source: names.join(", "),
            shape: Shape { rate, channels },
        };
        let file = RecordingFile::create(path, format, options.overwrite, origin, lead.ring())?;
        let length = options.length.map_or(u64::MAX, |length| {
            let frames = length.as_secs_f64() * f64::from(rate.hz());
            (frames as u64).max(1)
        });
        Ok(Self {
            tracks,
            file,
            options,
            length,
            level: None,
        })
    }

    /// The engines that are recorded now, in the order of the channels.
    pub fn engines(&self) -> impl Iterator<Item = &Arc<Engine>> {
        self.tracks.engines()
    }

    /// How the file is written, for people.
    pub fn how(&self) -> &'static str {
        self.file.how()
    }

    /// Records until the end, or until `stop` is asked; `report` is told at intervals. What was
    /// recorded is in the file then, also when this fails.
    ///
    /// # Errors
    /// As [`Recorder::run`](super::Recorder::run), where it is true of all sources.
    pub fn run(mut self, stop: &Stop, mut report: impl FnMut(&Progress)) -> Result<Progress> {
        let mut pace = Pace::new(self.tracks.lead().0.ring().committed());
        let mut cadence = Cadence::new(self.options.sync, Instant::now());
        // What goes into a pipe goes as it comes.
        let audio = match self.file.is_file() {
            true => None,
            false => Some(Readiness::new()?),
        };
        let mut reported = Instant::now();
        let mut ending = None::<Instant>;
        let mut is_ended = false;
        while !self.file.is_done() && !self.file.is_closed() {
            if let Some(audio) = &audio {
                audio.drain();
                audio.arm_for(self.tracks.lead().0)?;
            }
            self.tracks.look()?;
            let history = self.tracks.lead().0.ring().layout().history();
            let left = self.length.saturating_sub(self.file.samples());
            let batch = BATCH as u64 / 2 * self.tracks.rate().window();
            let is_pressed = self.tracks.behind() >= left.min(history / 8).min(batch);
            let now = Instant::now();
            if stop.is_asked() || self.tracks.is_over() {
                ending.get_or_insert(now);
            }
            let due = audio.is_some() || now >= cadence.due();
            if (due || is_pressed || ending.is_some()) && !is_ended {
                is_ended = self.advance(ending.is_some())?;
                if is_ended {
                    ending.get_or_insert(now);
                    self.file.end()?;
                }
            }
            if due {
                self.file.sync();
                cadence.begin(now);
            }
            if self.file.pump()? {
                cadence.done(Instant::now());
            }
            if let Some(since) = ending {
                let asked = stop.is_asked() || self.tracks.failed().is_some();
                self.file.give_up(since, asked)?;
            }
            if now.duration_since(reported) >= self.options.report {
                report(&self.progress(self.level));
                reported = now;
            }
            let mut timeout = self.options.report.saturating_sub(reported.elapsed());
            timeout = timeout.min(cadence.due().saturating_duration_since(Instant::now()));
            let committed = self.tracks.lead().0.ring().committed();
            timeout = timeout.min(pace.look(committed, history));
            let left = self.tracks.rate().seconds(left).min(3600.0);
            timeout = timeout.min(Duration::from_secs_f64(left + 0.002));
            if ending.is_some() || audio.is_some() {
                timeout = timeout.min(Duration::from_millis(20));
            }
            // Behind by more than one look takes.
            if !is_ended && self.tracks.behind() >= batch {
                timeout = Duration::ZERO;
            }
            let timeout = timeout.max(Duration::from_millis(1));
            let fd = audio.as_ref().map(AsFd::as_fd);
            self.file.wait(stop.notifier(), fd, timeout)?;
        }
        let progress = self.progress(None);
        report(&progress);
        match self.tracks.failed().filter(|_| self.tracks.is_over()) {
            None => Ok(progress),
            Some(error) => {
                let recorded = seconds(self.tracks.rate(), progress.samples);
                let message = format!("{error}: recorded {recorded} until then");
                Err(Error::new(error.kind(), message))
            }
        }
    }

    /// Gives the file what is there; true if that was its last, as it was long enough or is
    /// `ending`.
    fn advance(&mut self, ending: bool) -> Result<bool> {
        let late = (LATE * f64::from(self.tracks.rate().hz())) as u64;
        let mut is_last = false;
        for _ in 0..BATCH {
            if is_last || !self.file.has_room() {
                break;
            }
            let left = self.length.saturating_sub(self.file.samples());
            let is_late = ending && self.tracks.behind() > late;
            let Some(frames) = self.tracks.take(left, is_late) else {
                is_last = ending;
                break;
            };
            let shape = self.file.shape();
            if self.file.samples() == 0 {
                let (lead, next) = self.tracks.lead();
                let count = shape.frames(frames.samples.len());
                self.file.begin_at(lead.ring(), next.saturating_sub(count));
            }
            let peaks = frames.samples.iter().map(|sample| sample.abs());
            self.level = peaks.reduce(f32::max);
            self.file.add_frames(frames)?;
            is_last = self.file.samples() >= self.length;
        }
        self.file.flush_frames()?;
        Ok(is_last)
    }

    fn progress(&self, level: Option<f32>) -> Progress {
        Progress {
            samples: self.file.samples(),
            bytes: self.file.bytes(),
            lost: self.file.lost(),
            level,
            trouble: self.file.trouble().map(str::to_owned),
            files: vec![self.file.path().to_owned()],
        }
    }
}
