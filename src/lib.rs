//! The microphone for speech software on Linux: one engine captures in real
//! time into shared memory, any number of readers map it.
//!
//! Follow a sample: `capture` (PipeWire, ALSA, file) → `resample` → [`ring`] → readers.

// Commands name the library from outside.
extern crate self as v2m_engine;

pub mod capture;
pub mod cli;
pub mod config;
pub mod detect;
pub mod doctor;
pub mod engine;
pub mod microphone;
pub mod monitor;

/// Compiles what the document shows.
#[cfg(doctest)]
#[doc = include_str!("../docs/backends.md")]
pub mod backends {}

pub use detect as vad;
pub use engine::{demand, server, systemd};
pub use v2m_bench as bench;
pub use v2m_client::{connection as client, protocol, quantum, reader_cursor, record, status};
pub use v2m_dsp::{self as dsp, channels, health, resample};
pub use v2m_error::{self as error, Error, ErrorKind, Result, text};
pub use v2m_files as files;
pub use v2m_ring::{self as ring, shm, sync, time};
pub use v2m_rt as rt;
