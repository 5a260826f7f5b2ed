//! The ring: mono audio at one of five rates and what is known about it, in shared memory.
//! One engine writes, any number of processes map it read-only.
//!
//! Read in this order: `lane` (the protocol), [`layout`] (where everything
//! lies), `memory` (layout + map), [`writer`] and [`reader`] (the two sides),
//! `wake` (how a reader waits), [`notifier`] (who wakes it).
#![cfg_attr(
    loom,
    allow(dead_code, unused_imports, reason = "only the protocol is modelled")
)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("v2m_engine needs a 64-bit target: positions are 64-bit atomics in mapped memory");

pub mod echo;
pub mod event;
mod lane;
pub mod layout;
#[cfg(not(loom))]
#[allow(
    unsafe_code,
    reason = "addresses of shared memory become references to atomics"
)]
mod memory;
#[cfg(all(loom, test))]
mod model;
#[cfg(not(loom))]
pub mod notifier;
pub mod rate;
#[cfg(not(loom))]
pub mod reader;
#[allow(unsafe_code, reason = "maps memory at an address of its own choice")]
pub mod shm;
pub mod sync;
#[cfg(not(loom))]
pub mod time;
pub mod wake;
#[cfg(not(loom))]
pub mod writer;

pub use echo::Echo;
pub use event::{Event, GapReason, Kind};
pub use layout::{Layout, NS_PER_SAMPLE, SAMPLE_RATE, WINDOW};
#[cfg(not(loom))]
pub use notifier::{Notifier, Subscription};
pub use rate::Rate;
#[cfg(not(loom))]
pub use reader::{EventLane, Reader};
#[cfg(not(loom))]
pub use wake::Waited;
#[cfg(not(loom))]
pub use writer::{CaptureWriter, ControlWriter, Lost, Ring, SpeechWriter};

pub use v2m_error::{self as error, Error, ErrorKind, Result};

/// What the engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum State {
    /// Looking for its source.
    Starting = 0,
    /// Audio arrives.
    Running = 1,
    /// The source or the audio server is gone; silence is filled in meanwhile.
    Waiting = 2,
    /// The source has come to its end (a file); nothing follows.
    Ended = 3,
    /// The engine has stopped; nothing follows.
    Stopped = 4,
    /// Nobody listens and nothing is captured; positions stand still until
    /// somebody does.
    Idle = 5,
}

impl State {
    /// By its number in the ring; one of a version to come is [`Waiting`](Self::Waiting).
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Running,
            3 => Self::Ended,
            4 => Self::Stopped,
            5 => Self::Idle,
            // 2, and numbers of versions to come: nothing to rely on.
            _ => Self::Waiting,
        }
    }
}
