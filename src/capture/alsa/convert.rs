//! From what hardware delivers to floats, channel by channel.

use alsa::pcm::{Access, Format};

/// Frames taken at once.
pub(super) const CHUNK: usize = 1024;

/// Where a channel's samples stand in the bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) channels: usize,
    /// Bytes of one sample.
    pub(super) width: usize,
    /// Bytes from a frame to the next, in one channel.
    pub(super) frame: usize,
    /// Bytes from a channel to the next, in one frame.
    pub(super) channel: usize,
}

impl Layout {
    pub(super) fn new(access: Access, channels: usize, width: usize) -> Self {
        match access {
            Access::MMapInterleaved | Access::RWInterleaved | Access::MMapComplex => Self {
                channels,
                width,
                frame: channels * width,
                channel: width,
            },
            Access::MMapNonInterleaved | Access::RWNonInterleaved => Self {
                channels,
                width,
                frame: width,
                channel: CHUNK * width,
            },
        }
    }

    pub(super) fn bytes(&self) -> usize {
        CHUNK * self.channels * self.width
    }
}

/// The formats that are understood, preferred first: the most precise integers,
/// in the machine's own byte order before the other.
#[rustfmt::skip]
pub(super) const FORMATS: [Format; 10] = [
    Format::s32(), Format::float(), Format::s24(), Format::s24_3(), Format::s16(),
    #[cfg(target_endian = "little")] Format::S32BE,
    #[cfg(target_endian = "little")] Format::FloatBE,
    #[cfg(target_endian = "little")] Format::S24BE,
    #[cfg(target_endian = "little")] Format::S243BE,
    #[cfg(target_endian = "little")] Format::S16BE,
    #[cfg(target_endian = "big")] Format::S32LE,
    #[cfg(target_endian = "big")] Format::FloatLE,
    #[cfg(target_endian = "big")] Format::S24LE,
    #[cfg(target_endian = "big")] Format::S243LE,
    #[cfg(target_endian = "big")] Format::S16LE,
];

/// Bytes of one sample.
pub(super) fn width(format: Format) -> usize {
    match format {
        Format::S16LE | Format::S16BE => 2,
        Format::S243LE | Format::S243BE => 3,
        _ => 4,
    }
}

/// Full scale is ±1: the largest magnitude of an integer of so many bits.
const fn full(bits: u32) -> f32 {
    (1u64 << (bits - 1)) as f32
}

/// The channels of `frames` frames, each to a stretch of `stride` in `planar`; `format` is
/// one of [`FORMATS`].
pub(super) fn to_planar(
    format: Format,
    layout: Layout,
    bytes: &[u8],
    frames: usize,
    (planar, stride): (&mut [f32], usize),
) {
    let i16s = |value: i16| f32::from(value) / full(16);
    // The upper byte of 24 bits in 32 means nothing.
    let low24 = |value: i32| ((value << 8) >> 8) as f32 / full(24);
    let i32s = |value: i32| value as f32 / full(32);
    let mut out = planar
        .chunks_exact_mut(stride)
        .map(|channel| &mut channel[..frames])
        .take(layout.channels)
        .enumerate();
    match format {
        Format::S16LE => each(&mut out, layout, bytes, |b| i16s(i16::from_le_bytes(b))),
        Format::S16BE => each(&mut out, layout, bytes, |b| i16s(i16::from_be_bytes(b))),
        Format::S24LE => each(&mut out, layout, bytes, |b| low24(i32::from_le_bytes(b))),
        Format::S24BE => each(&mut out, layout, bytes, |b| low24(i32::from_be_bytes(b))),
        Format::S243LE => each(&mut out, layout, bytes, |[a, b, c]| {
            low24(i32::from_le_bytes([a, b, c, 0]))
        }),
        Format::S243BE => each(&mut out, layout, bytes, |[a, b, c]| {
            low24(i32::from_be_bytes([0, a, b, c]))
        }),
        Format::S32LE => each(&mut out, layout, bytes, |b| i32s(i32::from_le_bytes(b))),
        Format::S32BE => each(&mut out, layout, bytes, |b| i32s(i32::from_be_bytes(b))),
        Format::FloatLE => each(&mut out, layout, bytes, f32::from_le_bytes),
        Format::FloatBE => each(&mut out, layout, bytes, f32::from_be_bytes),
        _ => out.for_each(|(_, channel)| channel.fill(0.0)),
    }
}

fn each<const N: usize>(
    out: &mut dyn Iterator<Item = (usize, &mut [f32])>,
    layout: Layout,
    bytes: &[u8],
    sample: impl Fn([u8; N]) -> f32,
) {
    for (channel, out) in out {
        for (frame, out) in out.iter_mut().enumerate() {
            let at = frame * layout.frame + channel * layout.channel;
            *out = bytes[at..]
                .first_chunk()
                .map_or(0.0, |&bytes| sample(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(format: Format, value: f64) -> Vec<u8> {
        let whole = |bits: u32| (value * f64::from(full(bits))) as i32;
        let (little, size) = match format {
            Format::S16LE | Format::S16BE => (whole(16).to_le_bytes().to_vec(), 2),
            // Rubbish in the byte that means nothing.
            Format::S24LE | Format::S24BE => {
                let [a, b, c, _] = whole(24).to_le_bytes();
                (vec![a, b, c, 0x5a], 4)
            }
            Format::S243LE | Format::S243BE => (whole(24).to_le_bytes().to_vec(), 3),
            Format::S32LE | Format::S32BE => (whole(32).to_le_bytes().to_vec(), 4),
            _ => ((value as f32).to_le_bytes().to_vec(), 4),
        };
        let mut bytes = little[..size].to_vec();
        if [
            Format::S16BE,
            Format::S24BE,
            Format::S243BE,
            Format::S32BE,
            Format::FloatBE,
        ]
        .contains(&format)
        {
            bytes.reverse();
        }
        bytes
    }

    #[test]
    fn every_format_in_both_layouts_gives_its_channels() {
        let frames = [[0.5, 0.25, -0.75], [-1.0, -1.0, -1.0], [0.0, -0.5, 0.125]];
        for format in FORMATS {
            for access in [Access::MMapInterleaved, Access::RWNonInterleaved] {
                for channels in 1..=3 {
                    let layout = Layout::new(access, channels, width(format));
                    let mut bytes = vec![0xee; layout.bytes()];
                    for (i, frame) in frames.iter().enumerate() {
                        for (c, &value) in frame[..channels].iter().enumerate() {
                            let at = i * layout.frame + c * layout.channel;
                            let sample = encode(format, value);
                            bytes[at..at + sample.len()].copy_from_slice(&sample);
                        }
                    }
                    let mut planar = [9.0; 3 * 4];
                    to_planar(format, layout, &bytes, 3, (&mut planar, 4));
                    for (i, frame) in frames.iter().enumerate() {
                        for (c, wanted) in frame[..channels].iter().enumerate() {
                            let got = f64::from(planar[c * 4 + i]);
                            assert!(
                                (got - wanted).abs() < 1e-7,
                                "{format} {access:?} {channels}: {got} {wanted}"
                            );
                        }
                    }
                }
            }
        }
    }
}
