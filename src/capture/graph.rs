//! PipeWire's sources as a row of the table of backends; `default` with ALSA to fall back on,
//! where that is built in.

#[cfg(feature = "alsa")]
use super::handover::{FallbackSession, Handover};
use super::pipewire::{self, Options, Pipewire, Source};
use super::{Backend, Kind, Start};
use crate::config::{Fallback, SourceSpec};
use v2m_error::Result;

/// PipeWire's sources; `default` with ALSA to fall back on.
pub static KIND: Kind = Kind {
    takes: |source| matches!(source, SourceSpec::Pipewire(_)),
    start,
    sources: || pipewire::sources(None),
};

fn start(start: Start<'_>) -> Result<Box<dyn Backend>> {
    let config = start.config;
    let source = match &config.source {
        SourceSpec::Pipewire(source) => source.clone(),
        _ => Source::default(),
    };
    // ALSA knows no node and no monitor by PipeWire's names.
    let fallback = match &config.fallback {
        _ if source != Source::Default => &Fallback::Off,
        fallback => fallback,
    };
    let options = Options {
        node_name: config.node_name.clone(),
        source,
        latency: None,
        active: start.active,
        together: false,
        readers: String::new(),
        remote: None,
        channels: start.channels.clone(),
        ..Options::default()
    };
    let pcm = match fallback {
        Fallback::Off => return alone(options, start),
        Fallback::Auto => None,
        Fallback::Pcm(pcm) => Some(pcm.as_str()),
    };
    with_fallback(options, pcm, start)
}

fn alone(options: Options, start: Start<'_>) -> Result<Box<dyn Backend>> {
    let pipewire = Pipewire::start(options, start.ingest, start.events)?;
    Ok(Box::new(pipewire))
}

#[cfg(feature = "alsa")]
fn with_fallback(
    options: Options,
    pcm: Option<&str>,
    start: Start<'_>,
) -> Result<Box<dyn Backend>> {
    let standby = FallbackSession {
        pcm: pcm.map(str::to_owned),
        options: start.config.alsa,
        channels: start.channels,
    };
    let handover = Handover::start(options, standby, start.ingest, start.events)?;
    Ok(Box::new(handover))
}

/// `auto` is whatever there is: nothing. A PCM that is named would be missed.
#[cfg(not(feature = "alsa"))]
fn with_fallback(
    options: Options,
    pcm: Option<&str>,
    start: Start<'_>,
) -> Result<Box<dyn Backend>> {
    match pcm {
        None => alone(options, start),
        Some(pcm) => Err(super::no_alsa::refusal().context(format!("alsa.fallback = {pcm}"))),
    }
}
