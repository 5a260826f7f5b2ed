//! A microphone without what the loudspeaker plays: [`Canceller`] takes both, by one clock, and
//! gives the microphone back, a constant while later. Where nothing plays it changes no bit.
//!
//! ```
//! use v2m_echo::{Canceller, Cleaned, Options};
//!
//! let mut canceller = Canceller::new(16_000, Options::default())?;
//! let mut cleaned = Cleaned::default();
//! let (near, far) = ([0.25; 512], [0.0; 512]); // microphone, loudspeaker
//! canceller.process(&near, &far, &mut cleaned);
//! assert_eq!(cleaned.samples, near[..cleaned.samples.len()]);
//! # Ok::<(), v2m_echo::Error>(())
//! ```

mod canceller;
mod choice;
mod drift;
mod filter;
mod line;
mod loudspeaker;
mod report;
mod stages;
mod transform;
mod voice;

pub use canceller::{Canceller, Gain, Noise, Options};
pub use report::Window;
pub use v2m_error::{Error, ErrorKind, Result};

/// What came out of the canceller. The caller empties it.
#[derive(Clone, Debug, Default)]
pub struct Cleaned {
    /// The microphone's samples in their order, none left out.
    pub samples: Vec<f32>,
    /// What was done up to the end of each 10 ms of them, counted from the first sample.
    pub windows: Vec<Window>,
}
