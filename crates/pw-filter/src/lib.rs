//! Nodes in PipeWire's graph, safely: [`filter`] is a node whose closure PipeWire calls
//! once per cycle, [`microphone`] one that others record from, [`loop_hook`] a call before the
//! thread that calls waits for the next cycle.
//! All of this project's own calls into libpipewire that aren't safe are here.

#[allow(unsafe_code, reason = "PipeWire's filter is in C")]
pub mod filter;
#[allow(unsafe_code, reason = "PipeWire's loop calls back")]
pub mod loop_hook;
#[allow(unsafe_code, reason = "PipeWire's stream is in C")]
pub mod microphone;
pub mod stream;
mod version;

pub use v2m_error::{Error, ErrorKind, Result};
pub use version::Version;

/// Which way samples go at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}
