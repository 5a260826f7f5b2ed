//! Samples as integers, rounded and clipped as NumPy does it:
//! `np.clip(np.rint(x * 32768), -32768, 32767)`.

/// Adding it to an f32 of less than 2^22 leaves the nearest integer, ties to even, in the
/// lowest bits: 1.5 · 2^23. Compiles to vector instructions, as `round_ties_even` doesn't.
const ROUNDS: f32 = 12_582_912.0;

/// A sample of full scale 1.0 as 16 bits. One that is no number is silence.
#[inline]
pub fn int16(sample: f32) -> i16 {
    let scaled = (sample * 32_768.0).clamp(-32_768.0, 32_767.0);
    let scaled = if scaled.is_nan() { 0.0 } else { scaled };
    (scaled + ROUNDS).to_bits() as i16
}

/// The same as an integer of so many bits, at most 31.
pub fn integer(sample: f32, bits: u32) -> i32 {
    let scale = f64::from(1_u32 << (bits - 1));
    // The cast makes what is no number zero.
    (f64::from(sample) * scale)
        .round_ties_even()
        .clamp(-scale, scale - 1.0) as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_exact_and_clipped() {
        for sample in [i16::MIN, -12_345, -1, 0, 1, 12_345, i16::MAX] {
            assert_eq!(int16(f32::from(sample) / 32_768.0), sample);
        }
        for (sample, is) in [
            (1.0, 32_767),
            (-7.0, -32_768),
            (f32::NAN, 0),
            (-f32::NAN, 0),
            (f32::INFINITY, 32_767),
            (f32::MIN, -32_768),
            (0.5 / 32_768.0, 0),
            (1.5 / 32_768.0, 2),
            (-2.5 / 32_768.0, -2),
        ] {
            assert_eq!(int16(sample), is, "{sample}");
        }
        assert_eq!(integer(f32::INFINITY, 24), 8_388_607);
        assert_eq!(integer(1.0 / 8_388_608.0, 24), 1);
    }

    proptest! {
        #[test]
        fn both_are_one(sample in any::<f32>(), near in -1.1_f32..1.1) {
            for sample in [sample, near] {
                prop_assert_eq!(i32::from(int16(sample)), integer(sample, 16));
            }
        }
    }
}
