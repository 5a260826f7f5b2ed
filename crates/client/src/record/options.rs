//! What a recording is asked for, and what it says of itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use v2m_dsp::vad::segment::Params;

use super::format::Format;
use super::target::STDOUT;
use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Debug)]
pub struct Options {
    /// `None`: by the path's extension.
    pub format: Option<Format>,
    /// Replace a file that exists.
    pub overwrite: bool,
    /// Only speech, one segment after the other, each marked by a cue.
    pub speech: bool,
    /// Each segment of speech in a file of its own, which is named by its time and always
    /// new. Includes `speech`.
    pub split: bool,
    /// What counts as speech, where only that is recorded.
    pub detection: Params,
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
            detection: Params::default(),
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
        self.detection.validate()?;
        let invalid = |message: &str| Err(Error::new(ErrorKind::Invalid, message));
        if !(Duration::from_millis(50)..=Duration::from_secs(3600)).contains(&self.sync) {
            return invalid("the interval of syncs must be 0.05 to 3600 seconds");
        }
        if self.length == Some(Duration::ZERO) {
            return invalid("the length of a recording must be more than 0 seconds");
        }
        Ok(())
    }

    /// How what goes to `path` is written, if all of this can be done: asked before there is
    /// an engine.
    ///
    /// Errors: [`ErrorKind::Invalid`].
    pub(super) fn format_for(&self, path: &Path) -> Result<Format> {
        self.validate()?;
        let stdout = path.as_os_str() == STDOUT;
        if stdout && self.split {
            let message = "segments in files of their own can't go to standard output: name a file";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        match self.format {
            Some(format) => Ok(format),
            None if stdout => Ok(Format::Wav16),
            None if self.split && path.is_dir() => Ok(Format::Wav16),
            None => Format::of(path),
        }
    }
}

/// A recording at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Samples recorded, silence for lost ones included.
    pub samples: u64,
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
