//! Which CPU the worker runs on.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::str::FromStr;

use serde::Deserialize;

use v2m_error::{Error, ErrorKind, Result};

/// No Linux is built for more CPUs.
const MOST: usize = 8192;

/// Where the worker is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Cpu {
    /// On one CPU, another than the audio thread's where there is more than one.
    #[default]
    Auto,
    /// On this one.
    Number(usize),
    /// Wherever the kernel puts it.
    Off,
}

impl Cpu {
    /// One that a set of CPUs can hold, there or not.
    fn number(cpu: usize) -> Result<Self> {
        if cpu < MOST {
            return Ok(Self::Number(cpu));
        }
        let message = format!(
            "{cpu} is no CPU: Linux numbers them from 0 to {} at most; write auto, off or a CPU's number",
            MOST - 1
        );
        Err(Error::new(ErrorKind::Invalid, message))
    }
}

impl FromStr for Cpu {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            number => number.parse().map_or_else(
                |_| {
                    let message =
                        format!("\"{text}\" is no CPU: write auto, off or a CPU's number");
                    Err(Error::new(ErrorKind::Invalid, message))
                },
                Self::number,
            ),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Number(cpu) => cpu.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

/// As a file has it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected auto, off or a CPU's number")]
enum Written {
    Number(usize),
    Text(String),
}

impl TryFrom<Written> for Cpu {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Number(cpu) => Self::number(cpu),
            Written::Text(text) => text.parse(),
        }
    }
}

/// The CPU for [`Cpu::Auto`]: of those `allowed`, one that shares no core with
/// `audio` if there is one, else at least another CPU. `now` stays if it will do.
/// `None` where there is no choice.
pub(super) fn choose(
    allowed: &[usize],
    audio: Option<usize>,
    now: Option<usize>,
    siblings: impl Fn(usize) -> BTreeSet<usize>,
) -> Option<usize> {
    if allowed.len() < 2 {
        return None;
    }
    let core = audio.map(siblings).unwrap_or_default();
    let off_core: Vec<usize> = allowed
        .iter()
        .copied()
        .filter(|cpu| !core.contains(cpu))
        .collect();
    let off_cpu = allowed.iter().copied().filter(|&cpu| Some(cpu) != audio);
    let fit = match off_core.is_empty() {
        true => off_cpu.collect(),
        false => off_core,
    };
    // The last: interrupts mostly go to the first ones.
    now.filter(|now| fit.contains(now)).or(fit.last().copied())
}

/// The CPUs of the same core, itself included; itself alone where the kernel doesn't say.
pub(super) fn siblings(cpu: usize) -> BTreeSet<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let mut core = fs::read_to_string(path).map_or_else(|_| BTreeSet::new(), |text| list(&text));
    core.insert(cpu);
    core
}

/// A kernel's list of CPUs, such as `0-1,8`.
fn list(text: &str) -> BTreeSet<usize> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(list("0-1,8\n"), BTreeSet::from([0, 1, 8]));
        assert_eq!(list("3"), BTreeSet::from([3]));
        assert_eq!(list(""), BTreeSet::new());
        assert!(siblings(0).contains(&0));
    }

    #[test]
    fn another_core_is_chosen_where_there_is_one() {
        let pairs = |cpu: usize| BTreeSet::from([cpu, cpu ^ 1]);
        let alone = |cpu| BTreeSet::from([cpu]);
        assert_eq!(choose(&[0, 1, 2, 3], Some(3), None, pairs), Some(1));
        assert_eq!(choose(&[0, 1, 2, 3], Some(3), None, alone), Some(2));
        // Two threads of one core: at least not the same one.
        assert_eq!(choose(&[0, 1], Some(1), None, pairs), Some(0));
        assert_eq!(choose(&[0, 1], Some(0), None, pairs), Some(1));
        // Not known yet, or no choice.
        assert_eq!(choose(&[0, 1], None, None, alone), Some(1));
        assert_eq!(choose(&[5], Some(5), None, alone), None);
        assert_eq!(choose(&[], None, None, alone), None);
    }

    #[test]
    fn what_will_do_stays() {
        let pairs = |cpu: usize| BTreeSet::from([cpu, cpu ^ 1]);
        assert_eq!(choose(&[0, 1, 2, 3], Some(3), Some(0), pairs), Some(0));
        assert_eq!(choose(&[0, 1, 2, 3], Some(1), Some(0), pairs), Some(3));
    }

    #[test]
    fn cpus_are_named_or_numbered() {
        for text in ["auto", "off", "3"] {
            assert_eq!(text.parse::<Cpu>().unwrap().to_string(), text);
        }
        assert!(
            "fast"
                .parse::<Cpu>()
                .unwrap_err()
                .to_string()
                .contains("auto")
        );
    }
}
