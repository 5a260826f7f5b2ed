//! What a recording is written as.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A file's format; all are mono, at the rate of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// WAV, 16-bit integers, which every program reads. RF64 past 4 GiB.
    Wav16,
    /// WAV, 32-bit float: the ring's own samples, bit for bit. RF64 past 4 GiB.
    Wav32,
    /// FLAC, 16 bit.
    Flac,
    Flac24,
    /// 16-bit integers, little-endian, and nothing else: no head, no cues, no syncs.
    S16le,
    /// The same as 32-bit float, the ring's own samples.
    F32le,
}

impl Format {
    const ALL: [(&str, Self); 7] = [
        ("wav16", Self::Wav16),
        ("wav", Self::Wav16),
        ("wav32", Self::Wav32),
        ("flac", Self::Flac),
        ("flac24", Self::Flac24),
        ("s16le", Self::S16le),
        ("f32le", Self::F32le),
    ];

    /// The format that a path's extension stands for: `.wav` or `.flac`, both 16 bit.
    ///
    /// Fails with [`ErrorKind::Invalid`] for any other.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("wav" | "wave") => Ok(Self::Wav16),
            Some("flac") => Ok(Self::Flac),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{} ends neither in .wav nor in .flac: name it so, or choose a format ({})",
                    path.display(),
                    Self::names()
                ),
            )),
        }
    }

    /// The extension that goes with it.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav16 | Self::Wav32 => "wav",
            Self::Flac | Self::Flac24 => "flac",
            Self::S16le | Self::F32le => "pcm",
        }
    }

    fn names() -> String {
        Self::ALL.map(|(name, _)| name).join(", ")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::ALL.iter().find(|(_, format)| format == self);
        f.write_str(known.map_or("", |(name, _)| name))
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|&(_, format)| format).ok_or_else(|| {
            let message = format!("\"{text}\" is no format: choose {}", Self::names());
            Error::new(ErrorKind::Invalid, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_extensions() {
        assert_eq!(Format::of(Path::new("a/b.WAV")).unwrap(), Format::Wav16);
        assert_eq!(Format::of(Path::new("b.flac")).unwrap(), Format::Flac);
        for bad in ["b", "b.mp3", "flac"] {
            let error = Format::of(Path::new(bad)).unwrap_err();
            assert!(error.to_string().contains("wav16"), "{error}");
        }
        for (name, format) in Format::ALL {
            assert_eq!(name.parse::<Format>().unwrap(), format);
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        }
    }
}
