//! What needs the engine as a library and nothing else: no sound server, no card, no
//! machine of its own.

mod backends;
mod file_source;
mod ingest;
mod rooms;
#[cfg(feature = "ort")]
mod vad_ort;
mod vad_worker;
#[cfg(not(feature = "alsa"))]
mod without_alsa;
#[cfg(not(feature = "ort"))]
mod without_ort;
