//! Speech detection in the engine: `worker` reads the ring and writes the speech track.
//!
//! What it computes is in `v2m_dsp::vad`, the model without a runtime among it; `ort::Ort`
//! is the same model, or another one, through ONNX Runtime.

pub mod backend;
pub mod detector;
mod meter;
#[cfg(feature = "ort")]
pub mod ort;
pub mod place;
#[cfg(feature = "ort")]
#[allow(unsafe_code, reason = "loads ONNX Runtime")]
pub mod runtime;
pub mod worker;

pub use v2m_client::follow;
pub use v2m_dsp::vad::*;
