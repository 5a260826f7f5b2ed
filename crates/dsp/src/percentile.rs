//! The one definition of a percentile: by nearest rank.

/// How many of `count` ordered values are at or below the percentile of `share`
/// (0 to 1); at least one.
pub fn rank(share: f64, count: u64) -> u64 {
    ((count as f64 * share).ceil() as u64).clamp(1, count.max(1))
}

/// The least of the ordered values that `share` of them are at or below; `None` of nothing.
pub fn percentile<T: Copy>(ordered: &[T], share: f64) -> Option<T> {
    let rank = rank(share, ordered.len() as u64) as usize;
    ordered.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_value_that_so_many_are_at_or_below() {
        assert_eq!(percentile::<i32>(&[], 0.5), None);
        assert_eq!(percentile(&[7], 0.0), Some(7));
        let hundred: Vec<i32> = (1..=100).collect();
        for (share, value) in [(0.0, 1), (0.5, 50), (0.501, 51), (0.99, 99), (1.0, 100)] {
            assert_eq!(percentile(&hundred, share), Some(value), "{share}");
        }
    }
}
