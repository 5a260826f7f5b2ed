//! The client of an engine: [`connection`] asks it for audio and maps its [`ring`],
//! [`follow`] finds utterances in that, [`record`] writes it to files.
//! Links no audio library.

#[allow(unsafe_code, reason = "an atomic in memory that the engine reads")]
pub mod bookmark;
#[allow(unsafe_code, reason = "runs between fork and exec")]
pub mod connection;
pub mod follow;
pub mod latency;
pub mod protocol;
pub mod record;
pub mod status;

pub use v2m_dsp as dsp;
pub use v2m_error::{self as error, Error, ErrorKind, Result, text};
pub use v2m_files as files;
pub use v2m_ring as ring;

/// Speech detection, as one module with what follows an engine's.
pub mod vad {
    pub use crate::follow;
    pub use v2m_dsp::vad::*;
}
