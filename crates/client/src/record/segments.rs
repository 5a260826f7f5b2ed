//! What becomes of segments of speech: a cue in one file, or a file for each.

use std::path::PathBuf;

use super::Recorder;
use super::head::seconds;
use super::moment::Moment;
use super::recording_file::RecordingFile;
use super::speech::{Found, Speech};
use crate::error::{ErrorKind, Result};

impl Recorder {
    /// Gives the files the speech that the ring has up to `end`.
    pub(super) fn advance_speech(&mut self, end: u64, ending: bool, is_gone: bool) -> Result<()> {
        self.bridge(end)?;
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
            .file
            .as_ref()
            .map_or(split, |file| !split && file.has_room())
            && let Some(found) = speech.next(&self.ring)
        {
            match found {
                Found::Segment { start, end } if split => {
                    match self.create_new(start) {
                        Ok(mut file) => {
                            file.add(start, end - start)?;
                            file.end()?;
                            self.file = Some(file);
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
                Found::Segment { start, end } => {
                    let label = self.label(start);
                    if let Some(file) = &mut self.file {
                        file.cue(label);
                        file.add(start, end - start)?;
                    }
                }
                Found::Lost(samples) => match &mut self.file {
                    Some(file) if !split => file.lose(samples)?,
                    _ => {
                        tracing::warn!(
                            "{} of speech were overwritten",
                            seconds(self.ring.rate(), samples)
                        );
                        self.before.lost += samples;
                    }
                },
            }
        }
        if ending && !split && speech.is_over() {
            self.file.as_mut().map_or(Ok(()), RecordingFile::end)?;
        }
        Ok(())
    }

    /// What a cue says of a segment of speech.
    fn label(&self, position: u64) -> String {
        let time = self.ring.time_ns(position);
        let time = time.map(|ns| Moment::of(&self.ring, ns));
        let time = time.map_or(String::new(), |time| format!(" {}", time.file_name()));
        format!("speech{time} @{position}")
    }

    /// A file of its own for the segment that begins at `position`. Another recorder may
    /// have given a file the same name.
    fn create_new(&self, position: u64) -> Result<RecordingFile> {
        let mut number = 1;
        loop {
            let path = self.name(position, number);
            match self.create(&path, position) {
                Err(error) if error.kind() == ErrorKind::Invalid && path.exists() => number += 1,
                result => return result,
            }
        }
    }

    /// The name, at the `number`th attempt, of the segment that begins at `position`.
    fn name(&self, position: u64, number: u32) -> PathBuf {
        let time = self
            .ring
            .time_ns(position)
            .unwrap_or_else(v2m_ring::time::monotonic_ns);
        let time = Moment::of(&self.ring, time).file_name();
        let again = match number {
            1 => String::new(),
            _ => format!("-{number}"),
        };
        let name = format!("{time}{again}.{}", self.format.extension());
        if self.path.is_dir() {
            return self.path.join(name);
        }
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{stem}-{name}"))
    }
}
