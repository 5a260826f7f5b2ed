//! Capture from sound servers of the tests' own: a private PipeWire, and alsa-lib with
//! plugins for cards.

#[cfg(feature = "alsa")]
mod alsa_plugins;
mod known;
mod pipewire_capture;
mod rig;
