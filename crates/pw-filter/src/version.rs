//! PipeWire's versions, of its library and of its daemon.

use std::fmt;

/// Major, minor, micro.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The oldest that captures were tried with: that of Ubuntu 22.04.
    pub const OLDEST: Self = Self(0, 3, 48);
}

impl From<&str> for Version {
    /// As far as it begins with numbers; what isn't there is 0.
    fn from(text: &str) -> Self {
        let digits = |part: &str| {
            let end = part.find(|c: char| !c.is_ascii_digit());
            part[..end.unwrap_or(part.len())].parse().unwrap_or(0)
        };
        let mut numbers = text.split('.').map(digits);
        let mut next = || numbers.next().unwrap_or(0);
        Self(next(), next(), next())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_by_their_numbers() {
        let read = |text| Version::from(text);
        assert_eq!(read("0.3.19"), Version(0, 3, 19));
        assert_eq!(read("1.4.2"), Version(1, 4, 2));
        assert_eq!(read("1.6.0-rc1"), Version(1, 6, 0));
        assert_eq!(read("1.0rc2"), Version(1, 0, 0));
        assert_eq!(read("odd"), Version(0, 0, 0));
        assert!(read("0.3.6") < Version::OLDEST && Version::OLDEST < read("0.3.100"));
        assert!(Version::OLDEST < read("1.0"));
        assert_eq!(read("0.3.48").to_string(), "0.3.48");
    }
}
