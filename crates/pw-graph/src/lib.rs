//! The PipeWire daemon: a [`connection`] to it, its [`graph`] as a picture that is kept up
//! to date, and a [`survey`](mod@survey) of it for people.

#![forbid(unsafe_code)]

pub mod connection;
pub mod graph;
pub mod survey;

pub use connection::{Connection, has_ports, sources};
pub use graph::{Graph, Source};
pub use survey::{Found, Survey, survey};
pub use v2m_error::{Error, ErrorKind, Result};
pub use v2m_pw_filter::Direction;
