//! Whatever a client puts into its reader cursor, what the engine makes of it can be
//! printed, and a lag never comes out of a position that can't be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v2m_client::reader_cursor::{BYTES, parse};
use v2m_client::status::ReaderStatus;

fuzz_target!(|input: (bool, [u8; BYTES], u64)| {
    let (genuine, mut bytes, committed) = input;
    if genuine {
        bytes[..8].copy_from_slice(b"v2m-mark");
        bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    }
    let note = parse(&bytes);
    if let Some(name) = &note.name {
        assert!((1..=64).contains(&name.chars().count()));
        assert!(!name.chars().any(char::is_control));
    }
    let mut reader = ReaderStatus { position: note.position, ..Default::default() };
    reader.measure_lag(committed);
    assert!(reader.lag.is_none_or(|lag| lag <= committed));
});
