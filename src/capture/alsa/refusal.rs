//! Why a PCM can't be had, and what can be had instead: which others capture
//! here, who holds the one that is in use, and what it runs at.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

use v2m_error::{Error, ErrorKind, text};

/// Names that fit into a line.
const NAMED: usize = 4;
/// Holders that do.
const HOLDERS: usize = 2;

/// Where the kernel tells of its PCMs.
const CARDS: &str = "/proc/asound";

fn device(message: String) -> Error {
    Error::new(ErrorKind::Device, message)
}

/// There is none of this name.
pub(super) fn unknown(name: &str, errno: Errno) -> Error {
    device(format!(
        "there is no ALSA PCM {name} ({errno}): {}",
        others(name)
    ))
}

/// It plays, and that is all.
pub(super) fn only_plays(name: &str) -> Error {
    device(format!(
        "ALSA PCM {name} only plays, it offers no capture: {}",
        others(name)
    ))
}

/// Somebody else has it.
pub(super) fn busy(name: &str) -> Error {
    let place = Place::of(name);
    let holders = Holder::all(&place);
    let Some(first) = holders.first() else {
        return device(format!(
            "ALSA PCM {name} is in use by another program: `fuser -v /dev/snd/*` shows which; close it or name another source"
        ));
    };
    let shared = format!("dsnoop:CARD={},DEV={}", first.card, first.device);
    let who: Vec<String> = holders.iter().take(HOLDERS).map(Holder::text).collect();
    let more = match holders.len().saturating_sub(HOLDERS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    device(format!(
        "ALSA PCM {name} is in use by {}{more}: close that, have every program use {shared}, \
         which shares it, or name another source",
        who.join(", by ")
    ))
}

/// What to take instead of `refused`.
fn others(refused: &str) -> String {
    // A card is listed under many names; its own will do.
    let (cards, rest): (Vec<_>, Vec<_>) = super::names()
        .into_iter()
        .filter(|name| name.starts_with("hw:") || !name.contains(':'))
        .filter(|name| name != refused)
        .partition(|name| name.starts_with("hw:"));
    let names: Vec<String> = cards.into_iter().chain(rest).collect();
    match &names[..] {
        [] => "none captures here, plug in a microphone".into(),
        [only] => format!("take the one that captures here, {only}"),
        [all @ .., last] if names.len() <= NAMED => {
            let all = all.join(", ");
            format!("take one that captures here, {all} or {last}")
        }
        names => format!(
            "take one that captures here, {} or one of {} more that `v2m-engine sources` lists",
            names[..NAMED].join(", "),
            names.len() - NAMED
        ),
    }
}

/// Which of the cards' PCMs a name means; what it leaves open may be any.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    card: Option<String>,
    device: Option<u32>,
    subdevice: Option<u32>,
}

impl Place {
    /// By alsa-lib's arguments: `hw:CARD=Device,DEV=0`, `plughw:1,0,3`, `plug:'hw:0'`.
    fn of(name: &str) -> Self {
        let Some((_, arguments)) = name.rsplit_once(':') else {
            return Self::default();
        };
        let mut parts = [const { None }; 3];
        let arguments = arguments.trim_matches(['\'', '"']).split(',');
        for (place, argument) in arguments.take(parts.len()).enumerate() {
            let (place, value) = match argument.split_once('=') {
                Some(("CARD", value)) => (0, value),
                Some(("DEV", value)) => (1, value),
                Some(("SUBDEV", value)) => (2, value),
                Some(_) => continue,
                None => (place, argument),
            };
            parts[place] = Some(value.trim());
        }
        let number = |part: Option<&str>| part.and_then(|part| part.parse().ok());
        let card = parts[0].map(str::to_owned);
        Self {
            device: number(parts[1]).or(card.as_ref().map(|_| 0)),
            subdevice: number(parts[2]),
            card,
        }
    }

    fn is(&self, card: &Card, device: u32, subdevice: u32) -> bool {
        let named = |own: &str| own == card.id || own == card.number;
        self.card.as_deref().is_none_or(named)
            && self.device.is_none_or(|own| own == device)
            && self.subdevice.is_none_or(|own| own == subdevice)
    }
}

/// A card by both of its names.
struct Card {
    number: String,
    id: String,
}

/// Who has one of the cards' PCMs open for capture.
struct Holder {
    card: String,
    device: u32,
    /// The program and its process; none where the kernel doesn't tell.
    program: Option<String>,
    /// What it runs at; none where it is not agreed yet.
    setup: Option<String>,
}

impl Holder {
    fn all(place: &Place) -> Vec<Self> {
        let mut holders = Vec::new();
        for (number, path) in numbered(Path::new(CARDS), "card", "") {
            let id = fs::read_to_string(path.join("id")).unwrap_or_default();
            let card = Card {
                number: number.to_string(),
                id: id.trim().to_owned(),
            };
            for (device, path) in numbered(&path, "pcm", "c") {
                for (subdevice, path) in numbered(&path, "sub", "") {
                    if place.is(&card, device, subdevice) {
                        holders.extend(Self::at(&path, &card, device));
                    }
                }
            }
        }
        holders
    }

    /// None if nobody has it.
    fn at(path: &Path, card: &Card, device: u32) -> Option<Self> {
        let status = fs::read_to_string(path.join("status")).ok()?;
        // "closed" has no fields.
        field(&status, "state")?;
        let setup = fs::read_to_string(path.join("hw_params")).unwrap_or_default();
        let rate = field(&setup, "rate").and_then(|rate| rate.split(' ').next());
        let setup = rate.zip(field(&setup, "channels")).map(|(rate, channels)| {
            let format = field(&setup, "format").unwrap_or_default();
            format!("{} at {rate} Hz, {format}", channels_of(channels))
        });
        Some(Self {
            card: card.id.clone(),
            device,
            program: field(&status, "owner_pid").and_then(program),
            setup,
        })
    }

    fn text(&self) -> String {
        let program = self.program.as_deref().unwrap_or("another program");
        match &self.setup {
            Some(setup) => format!("{program}, which runs it with {setup}"),
            None => program.to_owned(),
        }
    }
}

/// A thread's program and its process.
fn program(thread: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let process = field(&status, "Tgid")?;
    let name = fs::read(format!("/proc/{process}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(format!(
        "{} (process {process})",
        text::name(name.trim_end())
    ))
}

/// The value of `name` in lines of `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find_map(|(own, value)| (own.trim() == name).then_some(value.trim()))
}

/// Entries of a directory that are a number between two words, in its order.
fn numbered(directory: &Path, before: &str, after: &str) -> Vec<(u32, std::path::PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(before)?.strip_suffix(after)?;
            Some((number.parse().ok()?, entry.path()))
        })
        .collect();
    all.sort();
    all
}

/// A number of channels, or a range of them, for people.
pub(super) fn channels_of(count: &str) -> String {
    match count {
        "1" => "1 channel".to_owned(),
        count => format!("{count} channels"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_cards() {
        let place = |card: &str, device, subdevice| Place {
            card: Some(card.to_owned()),
            device: Some(device),
            subdevice,
        };
        for (name, wanted) in [
            ("hw:Loopback,1,4", place("Loopback", 1, Some(4))),
            ("hw:CARD=Loopback,DEV=1", place("Loopback", 1, None)),
            ("dsnoop:DEV=2,CARD=0", place("0", 2, None)),
            ("plug:'hw:1'", place("1", 0, None)),
            ("plug:SLAVE='hw:1,3'", place("1", 3, None)),
            ("default", Place::default()),
        ] {
            assert_eq!(Place::of(name), wanted, "{name}");
        }
        let card = Card {
            number: "1".into(),
            id: "Loopback".into(),
        };
        for name in ["hw:1,0,4", "hw:Loopback", "default", "plug:'hw:1'"] {
            assert!(Place::of(name).is(&card, 0, 4), "{name}");
        }
        for name in ["hw:0", "hw:1,1", "hw:1,0,3", "file:/tmp/out"] {
            assert!(!Place::of(name).is(&card, 0, 4), "{name}");
        }
    }

    #[test]
    fn fields_are_read() {
        let status = "state: RUNNING\nowner_pid   : 98\ntrigger_time: 1.2\n-----\n";
        assert_eq!(field(status, "owner_pid"), Some("98"));
        assert_eq!(field(status, "state"), Some("RUNNING"));
        assert_eq!(field("closed\n", "state"), None);
    }
}
