//! The microphone for speech software on Linux: one engine captures in real
//! time into shared memory, any number of readers map it.
//!
//! Follow a sample: `capture` (PipeWire, ALSA, file) → `resample` → [`ring`] → readers.

#[cfg(all(feature = "engine", not(loom)))]
pub mod bench;
#[cfg(not(loom))]
pub mod bookmark;
#[cfg(all(feature = "engine", not(loom)))]
pub mod capture;
#[cfg(not(loom))]
pub mod client;
#[cfg(all(feature = "engine", not(loom)))]
pub mod config;
#[cfg(all(feature = "engine", not(loom)))]
pub mod demand;
#[cfg(all(feature = "engine", not(loom)))]
pub mod doctor;
#[cfg(all(feature = "engine", not(loom)))]
pub mod engine;
pub mod error;
#[cfg(not(loom))]
pub mod files;
pub mod latency;
#[cfg(all(feature = "engine", not(loom)))]
pub mod monitor;
#[cfg(not(loom))]
pub mod protocol;
#[cfg(not(loom))]
pub mod record;
pub mod resample;
pub mod ring;
#[cfg(all(feature = "engine", not(loom)))]
pub mod rt;
#[cfg(all(feature = "engine", not(loom)))]
pub mod server;
pub mod shm;
pub mod status;
mod sync;
#[cfg(all(feature = "engine", not(loom)))]
pub mod systemd;
pub mod text;
#[cfg(not(loom))]
pub mod time;
#[cfg(not(loom))]
pub mod vad;

pub use error::{Error, ErrorKind, Result};
