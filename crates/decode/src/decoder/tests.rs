//! FLAC files written here, whose numbers say what is asked for.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

const BLOCK: usize = 256;
const BLOCKS: usize = 10;

/// A cyclic redundancy check of so many bits.
fn crc(bytes: &[u8], polynomial: u32, bits: u32) -> u32 {
    let mask = u32::MAX >> (32 - bits);
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << (bits - 8), |crc, _| {
            let carry = crc >> (bits - 1) == 1;
            (crc << 1 & mask) ^ if carry { polynomial } else { 0 }
        })
    })
}

/// A number of up to 36 bits, coded as UTF-8 would.
fn coded(number: u64) -> Vec<u8> {
    if number < 0x80 {
        return vec![number as u8];
    }
    let (mut rest, mut tail) = (number, Vec::new());
    loop {
        tail.insert(0, 0x80 | (rest & 0x3F) as u8);
        rest >>= 6;
        let room = 6 - tail.len();
        if rest < 1 << room {
            let ones = !(0xFFu8 >> (tail.len() + 1));
            return [vec![ones | rest as u8], tail].concat();
        }
    }
}

/// A block of noise that begins at that frame: one channel, 16 bits, as it is.
fn block(first: u64) -> Vec<u8> {
    let mut out = vec![0xFF, 0xF9, 0x75, 0x08];
    out.extend(coded(first));
    out.extend((BLOCK as u16 - 1).to_be_bytes());
    out.push(crc(&out, 0x07, 8) as u8);
    out.push(0x02);
    let noise = (0..BLOCK as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as i16 / 8);
    out.extend(noise.flat_map(i16::to_be_bytes));
    let check = crc(&out, 0x8005, 16) as u16;
    out.extend(check.to_be_bytes());
    out
}

/// [`BLOCKS`] of them, after half of which `missing` frames are.
fn flac(missing: u64) -> Vec<u8> {
    let frames = (BLOCK * BLOCKS) as u64 + missing;
    let mut out = b"fLaC\x80\0\0\x22".to_vec();
    out.extend([16u16, 4096].map(u16::to_be_bytes).as_flattened());
    out.extend([0; 6]);
    out.extend((16_000u64 << 44 | 15 << 36 | frames).to_be_bytes());
    out.extend([0; 16]);
    for n in 0..BLOCKS {
        let after = if n < BLOCKS / 2 { 0 } else { missing };
        out.extend(block((n * BLOCK) as u64 + after));
    }
    out
}

/// Frames that it has, and that are missing.
fn read(file: Vec<u8>) -> Result<(u64, u64)> {
    let mut decoder = Decoder::read(Box::new(Cursor::new(file)), Path::new("drawn.flac"))?;
    let (mut had, mut lost) = (0, 0);
    while let Some(piece) = decoder.next_piece()? {
        match piece {
            Piece::Frames { interleaved, .. } => had += interleaved.len() as u64,
            Piece::Lost(frames) => lost += frames,
        }
    }
    Ok((had, lost))
}

proptest! {
    #[test]
    fn what_is_missing_is_as_long_as_the_file_says(missing in 0u64..300_000) {
        let all = (BLOCK * BLOCKS) as u64;
        prop_assert_eq!(read(flac(missing)).expect("a file"), (all, missing));
    }

    #[test]
    fn a_file_that_says_that_days_are_missing_lies(missing in 400_000u64..(1 << 36) - 3000) {
        let error = read(flac(missing)).expect_err("it lies");
        prop_assert!(error.to_string().contains("can't be missing"), "{}", error);
    }
}
