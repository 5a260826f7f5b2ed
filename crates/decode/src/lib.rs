//! Audio files, decoded piece by piece: WAV (RF64, too), FLAC, MP3, Ogg Vorbis, AAC and ALAC
//! in M4A, AIFF and CAF. [`Decoder`] gives all channels as they are, [`Mono`] one for speech
//! detection, and [`search`] finds speech in any number of recordings.
//!
//! Nothing that a file says is believed: one that lies costs an error, or ends where it does.

mod corpus;
mod decoder;
mod mono;
mod rf64;

pub use corpus::{Item, search};
pub use decoder::{Decoder, Piece};
pub use mono::{Mono, read};
pub use v2m_error::{Error, ErrorKind, Result};

/// What can be read, for messages.
pub const FORMATS: &str = "WAV, FLAC, MP3, Ogg Vorbis, AAC or ALAC (M4A), AIFF or CAF";
