//! The microphone for speech software on Linux: one engine captures in real
//! time into shared memory, any number of readers map it.
//!
//! Follow a sample: `capture` (PipeWire, ALSA, file) → `v2m_dsp::resample` → [`v2m_ring`] → readers.

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
