//! ALSA's place in the table of backends where it is not built in: its sources are refused by
//! name, and it lists none.

use super::Kind;
use crate::config::SourceSpec;
use v2m_error::{Error, ErrorKind};

/// Sources `alsa:PCM`.
pub static KIND: Kind = Kind {
    takes: |source| matches!(source, SourceSpec::Alsa(_)),
    start: |start| Err(refusal().context(start.config.source.to_string())),
    sources: || Ok(Vec::new()),
};

/// Why nothing is captured by ALSA, and what to do.
pub fn refusal() -> Error {
    let message = "this build captures nothing by ALSA: take one of the sources that \
                   `v2m-engine sources` lists, or a build with the feature alsa";
    Error::new(ErrorKind::Invalid, message)
}
