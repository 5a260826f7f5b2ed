//! The microphone for speech software on Linux: one engine captures in real
//! time into shared memory, any number of readers map it.
//!
//! Follow a sample: `capture` (PipeWire, ALSA, file) → `resample` → [`ring`] → readers.

pub mod bench;
pub mod capture;
pub mod config;
pub mod demand;
pub mod doctor;
pub mod engine;
pub mod monitor;
pub mod rt;
pub mod server;
pub mod systemd;
pub mod vad;

pub use v2m_client::{bookmark, connection as client, latency, protocol, record, status};
pub use v2m_dsp::resample;
pub use v2m_error::{self as error, Error, ErrorKind, Result};
pub use v2m_ring::{self as ring, shm, sync, time};
