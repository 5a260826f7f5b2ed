//! What a receiver held, and when: the blocks of audio that reached its code, each with
//! the time at which that was. Receivers in other processes write it to standard output:
//!
//! ```text
//! ready RATE\n      once audio arrives, RATE in samples per second; when standard input
//!                   ends, for each block, little-endian:
//!   i64  CLOCK_MONOTONIC nanoseconds at which the code held the block
//!   i64  at which the engine had written it; 0 if that is not known
//!   u32  samples
//!   f32  the samples, mono
//! ```

use std::io::Write;

use v2m_error::{Error, ErrorKind, Result};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Samples per second.
    pub rate: u32,
    /// In the order in which they came.
    pub blocks: Vec<Block>,
    /// All blocks' samples.
    pub samples: Vec<f32>,
}

/// So many samples, and when they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// CLOCK_MONOTONIC nanoseconds at which the receiver's code held them.
    pub held_ns: i64,
    /// At which the engine wrote them; 0 if that is not known.
    pub written_ns: i64,
    /// Index behind the last of them in [`Recording::samples`].
    pub end: usize,
}

impl Recording {
    /// The block that holds sample `index`.
    pub fn block_of(&self, index: usize) -> Option<&Block> {
        let block = self.blocks.partition_point(|block| block.end <= index);
        self.blocks.get(block)
    }

    /// Takes the blocks, without the line before them, from a receiver's output.
    pub fn parse(rate: u32, mut bytes: &[u8]) -> Result<Self> {
        let mut recording = Self {
            rate,
            ..Self::default()
        };
        while let Some((head, rest)) = bytes.split_first_chunk::<20>() {
            let number = |at: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&head[at..at + 8]);
                i64::from_le_bytes(word)
            };
            let count = u32::from_le_bytes([head[16], head[17], head[18], head[19]]) as usize;
            let Some(samples) = count.checked_mul(4).and_then(|length| rest.get(..length)) else {
                return Err(cut_short());
            };
            let words = samples.chunks_exact(4);
            recording
                .samples
                .extend(words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])));
            recording.blocks.push(Block {
                held_ns: number(0),
                written_ns: number(8),
                end: recording.samples.len(),
            });
            bytes = &rest[samples.len()..];
        }
        match bytes.is_empty() {
            true => Ok(recording),
            false => Err(cut_short()),
        }
    }

    /// Writes the blocks as [`parse`](Self::parse) takes them.
    pub fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut start = 0;
        for block in &self.blocks {
            out.write_all(&block.held_ns.to_le_bytes())?;
            out.write_all(&block.written_ns.to_le_bytes())?;
            out.write_all(&((block.end - start) as u32).to_le_bytes())?;
            for sample in &self.samples[start..block.end] {
                out.write_all(&sample.to_le_bytes())?;
            }
            start = block.end;
        }
        Ok(())
    }
}

fn cut_short() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "what the receiver recorded is cut short",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_cut_ends_are_noticed() {
        let block = |held_ns, end| Block {
            held_ns,
            written_ns: held_ns - 5,
            end,
        };
        let recording = Recording {
            rate: 16_000,
            blocks: vec![block(100, 2), block(200, 2), block(-3, 5)],
            samples: vec![0.5, -1.0, 0.0, f32::MIN_POSITIVE, 1.0],
        };
        let mut bytes = Vec::new();
        recording.write(&mut bytes).unwrap();
        assert_eq!(Recording::parse(16_000, &bytes).unwrap(), recording);
        assert_eq!(recording.block_of(1), Some(&block(100, 2)));
        assert_eq!(recording.block_of(2), Some(&block(-3, 5)));
        assert_eq!(recording.block_of(5), None);
        for end in [1, 19, 21, bytes.len() - 1] {
            assert!(Recording::parse(16_000, &bytes[..end]).is_err(), "{end}");
        }
    }
}
