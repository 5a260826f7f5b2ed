//! The microphone for speech software on Linux: one engine captures in real
//! time into shared memory, any number of readers map it.
//!
//! Follow a sample: `capture` (PipeWire, file) → `resample` → [`ring`] → readers.

#[cfg(all(feature = "engine", not(loom)))]
pub mod capture;
pub mod error;
pub mod resample;
pub mod ring;
#[cfg(all(feature = "engine", not(loom)))]
pub mod rt;
pub mod shm;
mod sync;
#[cfg(not(loom))]
pub mod time;

pub use error::{Error, ErrorKind, Result};
