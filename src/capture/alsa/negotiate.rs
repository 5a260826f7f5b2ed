//! What a PCM offers, and which of it is taken.

use std::ffi::CString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use alsa::pcm::{Access, Format};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::convert::{FORMATS, Layout, width};
use super::names::{behind, channel_names};
use super::pcm::{Params, Pcm};
use super::refusal;
pub use crate::config::AlsaOptions as Options;
use v2m_dsp::resample;
use v2m_error::{Error, ErrorKind, Result};

/// The period aimed at: 128 frames at 48 kHz.
const PERIOD_NS: u64 = 2_666_667;
/// The buffer aimed at, in periods. It costs no latency, as every period is
/// taken when it is there, and lets us be 170 ms late without a loss.
const PERIODS: usize = 64;

/// Rates in order of liking: those that convert to 16 kHz by whole numbers,
/// beginning with what hardware likes best.
const RATES: [u32; 12] = [
    48_000, 16_000, 32_000, 96_000, 64_000, 192_000, 44_100, 88_200, 176_400, 24_000, 22_050, 8_000,
];

const ACCESSES: [Access; 4] = [
    Access::MMapInterleaved,
    Access::MMapNonInterleaved,
    Access::RWInterleaved,
    Access::RWNonInterleaved,
];

/// What was agreed with the hardware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The PCM's name.
    pub pcm: String,
    /// The card's number, of a PCM that is one card's.
    pub card: Option<i32>,
    /// How samples come: `MMAP_INTERLEAVED` and so on.
    pub access: String,
    /// alsa-lib's name of the format.
    pub format: String,
    /// Samples per second.
    pub rate: u32,
    /// Channels.
    pub channels: u32,
    /// Frames of one period: how often audio comes.
    pub period: usize,
    /// Frames of the hardware's buffer: how late we may be without a loss.
    pub buffer: usize,
}

/// A PCM with everything agreed, not yet started.
pub(super) struct NegotiatedPcm {
    pub(super) pcm: Pcm,
    pub(super) setup: Setup,
    pub(super) access: Access,
    pub(super) format: Format,
    pub(super) layout: Layout,
    /// Its channels' names.
    pub(super) names: Vec<String>,
    /// A card's, with a buffer that goes round.
    pub(super) hardware: bool,
    /// It offers rates that are neither this one nor to be avoided.
    pub(super) other_rates: bool,
}

fn device(message: String) -> Error {
    Error::new(ErrorKind::Device, message)
}

/// Opens ALSA's default PCM or, where that leads to PipeWire, which isn't there, the first of
/// the cards' that captures. Where PulseAudio runs, the sound is its own: it is captured
/// through it, and no card is opened.
pub(super) fn open_any(options: Options, avoid: &[u32]) -> Result<NegotiatedPcm> {
    if pulse_listens() {
        return open("pulse", options, avoid).map_err(|error| {
            device(format!(
                "PulseAudio has the sound, and ALSA's plugin for it can't be used ({error}): \
                 install libasound2-plugins (Debian) or alsa-plugins-pulseaudio (Fedora), or take \
                 a card from it with --source alsa:hw:CARD"
            ))
        });
    }
    let mut reasons = Vec::new();
    match open("default", options, avoid) {
        Ok(opened) => match server_behind(&opened.pcm.description()) {
            None | Some("PulseAudio" | "JACK") => return Ok(opened),
            Some(server) => reasons.push(format!("ALSA's default leads to {server}")),
        },
        Err(error) => reasons.push(error.to_string()),
    }
    let cards = super::names().into_iter();
    for name in cards.filter(|name| name.starts_with("hw:")) {
        match open(&name, options, avoid) {
            Ok(opened) => return Ok(opened),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(device(format!(
        "no ALSA PCM can be used: {}",
        reasons.join("; ")
    )))
}

/// Whether PulseAudio, or what stands for it, takes connections.
fn pulse_listens() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let named = set("PULSE_SERVER").and_then(|server| {
        let server = server.into_string().ok()?;
        let path = server.strip_prefix("unix:").unwrap_or(&server);
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    let directory = set("PULSE_RUNTIME_PATH").map(PathBuf::from);
    let directory = directory.or_else(|| Some(Path::new(&set("XDG_RUNTIME_DIR")?).join("pulse")));
    let session = directory.map(|directory| directory.join("native"));
    let system = PathBuf::from("/run/pulse/native");
    let mut places = [named, session, Some(system)].into_iter().flatten();
    places.any(|place| UnixStream::connect(place).is_ok())
}

/// The sound server that a PCM hands its calls to, by the name that its plugin
/// gives itself.
fn server_behind(description: &str) -> Option<&'static str> {
    ["PipeWire", "PulseAudio", "JACK"]
        .into_iter()
        .find(|server| description.contains(&format!("ALSA <-> {server} PCM I/O Plugin")))
}

/// Opens and sets up the PCM, at a rate that is not among those to `avoid` if it
/// offers another. Errors name it, and what it offers or who stands in the way.
pub(super) fn open(name: &str, options: Options, avoid: &[u32]) -> Result<NegotiatedPcm> {
    let opened = open_with(name, options, avoid, None)?;
    match behind(&opened.pcm) {
        // It would leave out channels, or double them.
        Some(channels) if channels != opened.setup.channels => {
            drop(opened);
            open_with(name, options, avoid, Some(channels))
        }
        _ => Ok(opened),
    }
}

/// The same, with so many channels, or as many as are wanted.
fn open_with(
    name: &str,
    options: Options,
    avoid: &[u32],
    channels: Option<u32>,
) -> Result<NegotiatedPcm> {
    let c_name = CString::new(name).map_err(|_| {
        Error::new(
            ErrorKind::Invalid,
            format!("{name:?} can't be the name of a PCM"),
        )
    })?;
    let mut pcm = Pcm::open(&c_name, false).map_err(|errno| refused(name, &c_name, errno))?;
    let params = pcm
        .params()
        .map_err(|errno| device(format!("ALSA PCM {name} gives no parameters: {errno}")))?;
    params.no_resampling();
    let offer = offer(&params);
    let fail = |what: &str| {
        device(format!(
            "ALSA PCM {name} can't be used: {what}; it offers {offer}"
        ))
    };

    let access = match options.access {
        Some(access) => Some(access).filter(|&access| params.set_access(access).is_ok()),
        None => ACCESSES
            .into_iter()
            .find(|&access| params.set_access(access).is_ok()),
    };
    let access = access.ok_or_else(|| fail("no access to its samples"))?;
    let format = FORMATS
        .into_iter()
        .find(|&format| params.set_format(format).is_ok())
        .ok_or_else(|| fail("none of its formats is S16, S24, S32 or FLOAT"))?;
    let offered: Vec<u32> = RATES
        .into_iter()
        .filter(|&rate| params.has_rate(rate))
        .collect();
    let mut left = offered.iter().filter(|rate| !avoid.contains(rate));
    let wanted = left.next().or(offered.first()).unwrap_or(&RATES[0]);
    let rate = params
        .set_rate(*wanted)
        .map_err(|errno| fail(&format!("no rate ({errno})")))?;
    resample::check_rate(rate).map_err(|error| fail(&error.to_string()))?;
    let channels = params
        .set_channels(channels.unwrap_or_else(|| wanted_channels(&pcm)))
        .map_err(|errno| fail(&format!("no channels ({errno})")))?;
    let period = options.period.map_or(
        (u64::from(rate) * PERIOD_NS / 1_000_000_000) as usize,
        |period| period as usize,
    );
    let period = params
        .set_period(period)
        .map_err(|errno| fail(&format!("no period ({errno})")))?;
    let periods = options
        .periods
        .map_or(PERIODS, |periods| periods as usize)
        .max(2);
    let buffer = params
        .set_buffer(period * periods)
        .map_err(|errno| fail(&format!("no buffer ({errno})")))?;
    params.apply().map_err(|errno| match errno {
        Errno::EBUSY => refusal::busy(name),
        errno => fail(&errno.to_string()),
    })?;
    pcm.software(period)
        .map_err(|errno| fail(&errno.to_string()))?;
    let layout = Layout::new(access, channels as usize, width(format));
    pcm.reserve(layout.channels);
    let setup = Setup {
        pcm: name.to_owned(),
        card: pcm.card(),
        access: access_name(access).to_owned(),
        format: format.to_string(),
        rate,
        channels,
        period,
        buffer,
    };
    let hardware = setup.card.is_some();
    let names = channel_names(&pcm, channels as usize);
    Ok(NegotiatedPcm {
        pcm,
        setup,
        access,
        format,
        layout,
        names,
        hardware,
        other_rates: left.next().is_some(),
    })
}

/// How many channels to ask for; the nearest that there are is taken.
///
/// The fewest that it has, of hardware. A PCM that converts, and a sound server, would mix
/// them down to one by dividing them.
fn wanted_channels(pcm: &Pcm) -> u32 {
    match pcm.converts() || server_behind(&pcm.description()).is_some() {
        true => 2,
        false => 1,
    }
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::MMapInterleaved => "MMAP_INTERLEAVED",
        Access::MMapNonInterleaved => "MMAP_NONINTERLEAVED",
        Access::MMapComplex => "MMAP_COMPLEX",
        Access::RWInterleaved => "RW_INTERLEAVED",
        Access::RWNonInterleaved => "RW_NONINTERLEAVED",
    }
}

fn refused(name: &str, c_name: &CString, errno: Errno) -> Error {
    let plays = || matches!(Pcm::open(c_name, true), Ok(_) | Err(Errno::EBUSY));
    match errno {
        Errno::EBUSY | Errno::EAGAIN => refusal::busy(name),
        Errno::EACCES | Errno::EPERM => device(format!(
            "ALSA PCM {name}: {errno}: join the group audio, or log in at the machine"
        )),
        _ if plays() => refusal::only_plays(name),
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::EINVAL => {
            refusal::unknown(name, errno)
        }
        errno => device(format!("can't open ALSA PCM {name}: {errno}")),
    }
}

/// "1 to 2 channels at 44100 to 48000 Hz, S16_LE or S32_LE".
fn offer(params: &Params<'_>) -> String {
    let range = |(low, high): (u32, u32)| {
        if low == high {
            low.to_string()
        } else {
            format!("{low} to {high}")
        }
    };
    // alsa-lib aborts when asked for its own Unknown.
    let known = Format::all()
        .iter()
        .filter(|&&format| format != Format::Unknown);
    let formats: Vec<String> = known
        .filter(|&&format| params.has_format(format))
        .map(ToString::to_string)
        .collect();
    format!(
        "{} at {} Hz, {}",
        refusal::channels_of(&range(params.channels())),
        range(params.rates()),
        formats.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_server_is_seen_behind_other_plugins() {
        let plug =
            "Plug PCM: ALSA <-> PipeWire PCM I/O Plugin\nIts setup is:\n  stream : CAPTURE\n";
        assert_eq!(server_behind(plug), Some("PipeWire"));
        assert_eq!(
            server_behind("Hardware PCM card 0 'PipeWire lookalike' device 0 subdevice 0\n"),
            None
        );
    }
}
