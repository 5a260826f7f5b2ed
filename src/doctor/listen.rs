//! Listens to the source for a second, the way the engine would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::capture::alsa::{AlsaSource, Stop};
use crate::capture::channels::Channels;
use crate::capture::pipewire::{Options, Pipewire, Source};
use crate::capture::{Block, Event, Intake};
use crate::config::{Config, Fallback, SourceSpec};

/// How long it takes for audio to come, at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long is listened.
const LISTEN: Duration = Duration::from_secs(1);

/// What was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What was listened to.
    pub source: String,
    /// Samples per second of the source.
    pub rate: u32,
    /// Samples of one graph cycle or period.
    pub quantum: u32,
    /// The largest sample, full scale is 1.
    pub peak: f32,
}

/// Keeps the largest sample.
#[derive(Default)]
struct Level {
    peak: AtomicU32,
    samples: AtomicU64,
}

impl Level {
    fn peak(&self) -> f32 {
        f32::from_bits(self.peak.load(Relaxed))
    }
}

impl Intake for Level {
    fn block(&self, block: &Block<'_>) {
        let loudest = block
            .samples
            .iter()
            .fold(0.0, |peak: f32, s| peak.max(s.abs()));
        // Bits of floats that aren't negative are in the order of the floats.
        self.peak.fetch_max(loudest.to_bits(), Relaxed);
        self.samples.fetch_add(block.samples.len() as u64, Relaxed);
    }
}

/// Listens to what the configuration says; `None` for a file. The error says why
/// nothing is heard.
pub(super) fn listen(config: &Config, reachable: bool) -> Option<Result<Heard, String>> {
    let later = |pcm| {
        let channels = Channels::new(config.channel.clone(), Box::new(drop));
        AlsaSource::later(pcm, config.alsa).with_channels(channels)
    };
    Some(match (&config.source, &config.fallback) {
        (SourceSpec::File(_), _) => return None,
        (SourceSpec::Alsa(pcm), _) => alsa(later(Some(pcm))),
        (SourceSpec::Pipewire(source), _) if reachable => graph(config, source),
        (SourceSpec::Pipewire(Source::Default), Fallback::Auto) => alsa(later(None)),
        (SourceSpec::Pipewire(Source::Default), Fallback::Pcm(pcm)) => alsa(later(Some(pcm))),
        (source, _) => Err(format!("{source} takes PipeWire")),
    })
}

fn graph(config: &Config, source: &Source) -> Result<Heard, String> {
    let options = Options {
        node_name: "v2m-engine-doctor".into(),
        source: source.clone(),
        latency: Some(config.latency),
        active: true,
        remote: None,
        channels: Channels::new(config.channel.clone(), Box::new(drop)),
    };
    let level = Arc::new(Level::default());
    let (events, received) = channel();
    let tell = Box::new(move |event| drop(events.send(event)));
    let mut pipewire =
        Pipewire::start(options, level.clone(), tell).map_err(|error| error.to_string())?;
    let source = attend(&received, &level)?;
    let state = pipewire.state();
    pipewire.stop();
    Ok(Heard {
        source,
        rate: state.rate,
        quantum: state.quantum,
        peak: level.peak(),
    })
}

fn alsa(mut source: AlsaSource) -> Result<Heard, String> {
    let stop = Stop::new().map_err(|error| error.to_string())?;
    let (level, setup) = (Level::default(), source.setup());
    let (events, received) = channel();
    thread::scope(|scope| {
        scope.spawn(|| source.capture(&level, &|event| drop(events.send(event)), &stop));
        let heard = attend(&received, &level);
        let setup = setup.lock().ok().and_then(|setup| setup.clone());
        stop.stop();
        let (rate, quantum) = setup.map_or((0, 0), |setup| (setup.rate, setup.period as u32));
        Ok(Heard {
            source: heard?,
            rate,
            quantum,
            peak: level.peak(),
        })
    })
}

/// Waits for audio and listens; the source's name.
fn attend(events: &Receiver<Event>, level: &Level) -> Result<String, String> {
    let end = Instant::now() + PATIENCE;
    let mut why = format!("no answer within {} s", PATIENCE.as_secs());
    let source = loop {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Event::Linked(source)) => break source,
            Ok(Event::Waiting(reason) | Event::Lost(reason)) => why = reason,
            Ok(_) => {}
            Err(_) => return Err(why),
        }
    };
    while level.samples.load(Relaxed) == 0 {
        if Instant::now() > end {
            return Err(format!("{source} is linked and gives no audio"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(LISTEN);
    Ok(source)
}
