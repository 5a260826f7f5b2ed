//! The client of an engine. A [`locator`] finds or starts it, a [`connection`] asks it for
//! audio and maps its [`ring`]; a [`stream`] reads that window by window, [`segments`] give
//! the utterances in it ([`follow`] has their rules), [`events`] tell what happened to it, all
//! from one engine to the next and with one vocabulary of [`progress`]; event loops wait by
//! their [`readiness`]; [`record`] writes files. Links no audio library.

mod alignment;
pub mod connection;
pub mod cursor;
pub mod engine;
pub mod events;
pub mod follow;
pub mod judge;
pub mod locator;
pub mod mute;
pub mod pcm;
pub mod processor;
pub mod progress;
pub mod protocol;
pub mod quantum;
pub mod reader_cursor;
#[allow(unsafe_code, reason = "io_uring is given the address of the wake word")]
pub mod readiness;
pub mod reading;
pub mod record;
pub mod segments;
pub mod status;
pub mod stream;
pub mod together;

pub use v2m_dsp as dsp;
pub use v2m_error::{self as error, Error, ErrorKind, Result, text};
pub use v2m_files as files;
pub use v2m_ring as ring;

/// Speech detection, as one module with what follows an engine's.
pub mod vad {
    pub use crate::follow;
    pub use v2m_dsp::vad::*;
}
