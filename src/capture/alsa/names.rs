//! How many channels a PCM has, and what they are called.

use super::pcm::Pcm;
use v2m_dsp::channels::names_for;

/// How many channels the PCM has that this one converts from, once it is set up.
pub(super) fn behind(pcm: &Pcm) -> Option<u32> {
    if !pcm.converts() {
        return None;
    }
    let text = pcm.description();
    let mut lines = text.lines().rev();
    lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "channels").then(|| value.trim().parse().ok())?
    })
}

/// The names of its `count` channels, once it is set up: as the driver places them, or
/// by their number.
pub(super) fn channel_names(pcm: &Pcm, count: usize) -> Vec<String> {
    let placed = pcm.positions().into_iter().take(count);
    let names: Vec<String> = placed.filter_map(position).collect();
    match names.len() == count && count > 1 {
        true => names,
        false => names_for(count),
    }
}

/// What PipeWire calls a position of alsa-lib's channel maps.
fn position(raw: u32) -> Option<String> {
    // The upper bits say more, for instance of its phase.
    let name = match raw & alsa_sys::SND_CHMAP_POSITION_MASK {
        alsa_sys::SND_CHMAP_MONO => "MONO",
        alsa_sys::SND_CHMAP_FL => "FL",
        alsa_sys::SND_CHMAP_FR => "FR",
        alsa_sys::SND_CHMAP_RL => "RL",
        alsa_sys::SND_CHMAP_RR => "RR",
        alsa_sys::SND_CHMAP_FC => "FC",
        alsa_sys::SND_CHMAP_LFE => "LFE",
        alsa_sys::SND_CHMAP_SL => "SL",
        alsa_sys::SND_CHMAP_SR => "SR",
        alsa_sys::SND_CHMAP_RC => "RC",
        _ => return None,
    };
    Some(name.to_owned())
}
