//! Signal processing without an operating system: [`resample`] brings any rate to any other,
//! [`vad`] finds speech in it, [`gate`] lets only that through, [`health`] says what is wrong
//! with it; [`channels`] says which of a source's channels to hear,
//! [`preamp`] makes it louder, or takes rumble away.

pub mod channels;
mod cpu;
pub mod gate;
pub mod health;
pub mod pcm;
pub mod percentile;
pub mod preamp;
pub mod resample;
mod section;
pub mod vad;

pub use percentile::percentile;
pub use v2m_error::{self as error, Error, ErrorKind, Result};
use v2m_files as files;
