//! The microphone for speech software on Linux: one engine captures in real
//! time into shared memory, any number of readers map it.
//!
//! Follow a sample: [`capture`] (PipeWire, file) → [`resample`] → [`ring`] → readers.

#[cfg(feature = "engine")]
pub mod capture;
pub mod error;
pub mod resample;

pub use error::{Error, ErrorKind, Result};
