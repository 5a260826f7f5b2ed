//! `libv2m`: the client of an engine for C, and for every language that calls C. `types`
//! has what C sees, `exports` the functions, `handles` what they do with `v2m_client`. The
//! comments of the first two are the header's, `include/v2m.h` (see `tests/header.rs`).

#[allow(unsafe_code, reason = "C's functions")]
#[allow(
    clippy::missing_safety_doc,
    reason = "`pointers` says what C promises, and the header what each function asks for"
)]
mod exports;
mod failure;
mod handles;
#[allow(unsafe_code, reason = "C's pointers")]
mod pointers;
mod reading;
mod types;

pub use exports::*;
pub use handles::{Events, Segments, Stream};
pub use types::*;
