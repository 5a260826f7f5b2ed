//! The PipeWire daemon: a [`connection`] to it, its [`graph`] as a picture that is kept up
//! to date, a [`survey`](mod@survey) of it for people, and what the desktop makes of a
//! source's [`volume`].

#![forbid(unsafe_code)]

pub mod connection;
mod find;
pub mod graph;
mod listing;
mod source;
pub mod survey;
pub mod volume;

pub use connection::{Connection, has_ports};
pub use find::{Target, TargetPort};
pub use graph::Graph;
pub use listing::sources;
pub use source::Source;
pub use survey::{Found, Survey, survey};
pub use volume::{Inaudible, Volume};

pub use v2m_error::{Error, ErrorKind, Result};
pub use v2m_pw_filter::Direction;
