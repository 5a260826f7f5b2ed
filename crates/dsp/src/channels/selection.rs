//! What `--channel` and `channel=` say.

use std::fmt;
use std::str::FromStr;

use super::{MAX_CHANNELS, Weights, only};
use crate::error::{Error, ErrorKind, Result};

/// Which of a source's channels to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// The source's voice, at its own level.
    #[default]
    Auto,
    /// The mean of all channels.
    Mix,
    /// The channel of this number; the first is 1.
    Number(usize),
    /// The channel of this name, in capitals: `FL`, `AUX2`, `MONO`.
    Name(String),
}

impl Selection {
    /// What each of the channels of these names counts for; `None` is to be decided by
    /// listening.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no such channel; the message says which there are.
    pub fn weights(&self, names: &[String]) -> Result<Option<Weights>> {
        let count = names.len().min(MAX_CHANNELS);
        let chosen = match self {
            Self::Auto if count > 1 => return Ok(None),
            Self::Auto => Some(0),
            Self::Mix => {
                let mut weights = [0.0; MAX_CHANNELS];
                weights[..count].fill(1.0 / count.max(1) as f32);
                return Ok(Some(weights));
            }
            Self::Number(number) => number.checked_sub(1),
            Self::Name(name) => names.iter().position(|n| n.eq_ignore_ascii_case(name)),
        };
        match chosen.filter(|&channel| channel < count.max(1)) {
            Some(channel) => Ok(Some(only(channel))),
            None => Err(Error::new(ErrorKind::Invalid, self.missing(names))),
        }
    }

    fn missing(&self, names: &[String]) -> String {
        match names {
            [only] => format!("no channel {self}: the only one is {only}; write 1, {only} or auto"),
            _ => format!(
                "no channel {self}: there are {}; write one of them, 1 to {}, auto or mix",
                names.join(", "),
                names.len().min(MAX_CHANNELS)
            ),
        }
    }
}

impl FromStr for Selection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let message = format!(
                "\"{text}\" {why}: write auto, mix, a channel's number from 1, or its name as \
                 v2m-engine status shows it (FL, AUX0, MONO)"
            );
            Err(Error::new(ErrorKind::Invalid, message))
        };
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        if text.eq_ignore_ascii_case("mix") {
            return Ok(Self::Mix);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            return match text.parse() {
                Ok(number) if (1..=MAX_CHANNELS).contains(&number) => Ok(Self::Number(number)),
                _ => wrong(&format!("is no number from 1 to {MAX_CHANNELS}")),
            };
        }
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.bytes().all(named) && text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Ok(Self::Name(text.to_ascii_uppercase()));
        }
        wrong("names no channel")
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Mix => f.write_str("mix"),
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Names for channels that have none: PipeWire's for as many.
pub fn names_for(channels: usize) -> Vec<String> {
    match channels {
        0 | 1 => vec!["MONO".into()],
        2 => vec!["FL".into(), "FR".into()],
        _ => (0..channels).map(|n| format!("AUX{n}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        for (text, meant) in [
            ("auto", Selection::Auto),
            ("MIX", Selection::Mix),
            ("3", Selection::Number(3)),
            ("aux2", Selection::Name("AUX2".into())),
        ] {
            assert_eq!(text.parse::<Selection>().unwrap(), meant);
            assert_eq!(meant.to_string().parse::<Selection>().unwrap(), meant);
        }
        for wrong in [
            "",
            "0",
            "65",
            "-1",
            "1.5",
            "left ear",
            "99999999999999999999",
        ] {
            let error = wrong.parse::<Selection>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("auto, mix"), "{error}");
        }
    }

    #[test]
    fn a_selection_comes_to_weights_or_says_what_there_is() {
        let names = names_for(2);
        let weights = |text: &str| text.parse::<Selection>().unwrap().weights(&names);
        assert_eq!(weights("auto").unwrap(), None);
        assert_eq!(weights("mix").unwrap().unwrap()[..3], [0.5, 0.5, 0.0]);
        assert_eq!(weights("fr").unwrap(), Some(only(1)));
        assert_eq!(weights("1").unwrap(), Some(only(0)));
        for missing in ["3", "AUX0"] {
            let error = weights(missing).unwrap_err().to_string();
            assert!(
                error.contains("FL, FR") && error.contains(missing),
                "{error}"
            );
        }
        let mono = Selection::Number(2).weights(&names_for(1)).unwrap_err();
        assert!(mono.to_string().contains("MONO"), "{mono}");
        assert_eq!(
            Selection::Auto.weights(&names_for(1)).unwrap(),
            Some(only(0))
        );
    }
}
