//! Which of a source's channels are heard, and how loud.
//!
//! [`Chooser`] listens to all channels and decides, off the real-time thread; [`Mix`]
//! says for each block what that comes to. Nothing here knows the engine:
//! `docs/channels.md` says what is heard of which device.

mod choice;
mod chooser;
mod ears;
mod meter;
mod mix;
mod selection;

pub use choice::{ChannelChoice, Measure};
pub use chooser::{ChannelLevel, Chooser};
pub use mix::{Aim, Heard, Mix, Planar, Ramp};
pub use selection::{Selection, names_for};

/// The most channels that are listened to; those beyond are left out.
pub const MAX_CHANNELS: usize = 64;

/// What each channel counts for in what is heard; 0 is not at all, 1 at its own level.
pub type Weights = [f32; MAX_CHANNELS];

/// Only this channel, at its own level.
pub(crate) fn only(channel: usize) -> Weights {
    let mut weights = [0.0; MAX_CHANNELS];
    weights[channel] = 1.0;
    weights
}

/// Samples from one to the other of the two whose difference is a channel's power here:
/// one sample at 16 kHz. Hum and DC count for little in it, voice for much.
fn spacing(rate: u32) -> usize {
    (rate as usize / 16_000).max(1)
}
