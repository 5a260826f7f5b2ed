//! Signal processing without an operating system: [`resample`] brings any rate to
//! 16 kHz, [`vad`] finds speech in it.

pub mod resample;
pub mod vad;

pub use v2m_error::{self as error, Error, ErrorKind, Result};
