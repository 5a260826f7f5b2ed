//! Whatever a ring's header says, parsing it neither panics nor accepts a
//! layout that reaches outside the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v2m_client::ring::Layout;

fuzz_target!(|input: (Vec<(u16, u64)>, Option<u32>, Vec<u8>)| {
    let (changes, size, raw) = input;
    let _ = Layout::parse(&raw, raw.len());

    let rate = RATES[changes.len() % RATES.len()];
    let mut header = genuine(rate);
    for (offset, value) in changes {
        let at = usize::from(offset) % (header.len() - 8);
        header[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
    let file = size.map_or(GENUINE_BYTES, |size| size as usize);
    if let Ok(layout) = Layout::parse(&header, file) {
        assert!(layout.history() * 4 < file as u64);
        assert!(layout.history().is_power_of_two());
        assert!(RATES.contains(&layout.rate.hz()));
    }
});

const GENUINE_BYTES: usize = 65_536 * (1 + 4 + 1 + 1 + 1 + 1 + 1 + 1);

const RATES: [u32; 5] = [8_000, 16_000, 24_000, 32_000, 48_000];

/// The header of a ring of 65536 samples, written from the documented layout.
fn genuine(rate: u32) -> Vec<u8> {
    let mut header = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, b"v2m-ring");
    put(0x08, &2_u32.to_ne_bytes());
    put(0x0c, &65_536_u32.to_ne_bytes());
    put(0x10, &(GENUINE_BYTES as u64).to_ne_bytes());
    put(0x28, &rate.to_ne_bytes());
    put(0x2c, &(rate * 4 / 125).to_ne_bytes());
    put(0x30, &7_u32.to_ne_bytes());
    let mut offset = 65_536_u64;
    for (lane, (bytes, capacity)) in
        [(4_u32, 65_536_u64), (8, 8192), (32, 2048), (4, 16_384), (32, 2048), (32, 2048), (8, 8192)].into_iter().enumerate()
    {
        let entry = 0x80 + lane * 32;
        put(entry, &(lane as u32).to_ne_bytes());
        put(entry + 4, &bytes.to_ne_bytes());
        put(entry + 8, &offset.to_ne_bytes());
        put(entry + 16, &capacity.to_ne_bytes());
        offset += u64::from(bytes) * capacity;
    }
    header
}
