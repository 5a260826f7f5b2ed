//! Listens to the source for some seconds, the way the engine would.

#[cfg(feature = "alsa")]
mod alsa;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::capture::Event;
use crate::capture::channels::Channels;
use crate::capture::ingest::Ingest;
use crate::capture::pipewire::{Options, Pipewire, Source};
use crate::config::{Config, Fallback, SourceSpec};
use crate::engine::health_reader::HealthReader;
use v2m_client::status::ChannelStatus;
use v2m_dsp::health::{Channel, Facts, Finding, Mute, WINDOW};
use v2m_ring::layout::MIN_HISTORY;
use v2m_ring::notifier::WakeUpThread;
use v2m_ring::{NS_PER_SAMPLE, Reader, Ring, SAMPLE_RATE};

/// How long it takes for audio to come, at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is listened to: long enough for silence, DC and noise to be what they are. In windows:
/// three seconds and a half.
const ENOUGH: usize = 110;
/// How long that may take at most. On a busy machine, or by a bad cable, parts are missing.
const LONGEST: Duration = Duration::from_millis(10_500);
/// The ring is looked at so often.
const LOOK: Duration = Duration::from_millis(100);
/// Even noise for so long is all that is heard: three seconds.
const PATIENCE_WINDOWS: usize = 94;
/// Samples that the ring keeps.
const HEARD: u64 = 4 * SAMPLE_RATE as u64;

#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub source: String,
    /// Samples per second of the source.
    pub rate: u32,
    /// Samples of one graph cycle or period.
    pub quantum: u32,
    /// The largest sample, full scale is 1.
    pub peak: f32,
    /// How long it was heard, without what was missing.
    pub length: Duration,
    /// That is long enough to say that nothing is wrong.
    pub enough: bool,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// The way of the audio as in an engine, without its threads.
struct Ears {
    ingest: Arc<Ingest>,
    reader: Reader,
    health: HealthReader,
    _wake_up_thread: WakeUpThread,
}

impl Ears {
    fn new() -> Result<Self, String> {
        Self::open().map_err(|error| error.to_string())
    }

    fn open() -> v2m_error::Result<Self> {
        let (ring, capture, ..) = Ring::create(MIN_HISTORY.max(HEARD))?;
        let ring = Arc::new(ring);
        let wake_up_thread = WakeUpThread::start(ring.clone(), || {})?;
        let health = Reader::new(ring.duplicate()?)?;
        Ok(Self {
            ingest: Arc::new(Ingest::new(capture, wake_up_thread.notifier())?),
            reader: Reader::new(ring.duplicate()?)?,
            health: HealthReader::new(health, PATIENCE_WINDOWS, false),
            _wake_up_thread: wake_up_thread,
        })
    }

    /// Waits for audio and listens; the source's name.
    fn attend(&mut self, events: &Receiver<Event>) -> Result<String, String> {
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
        while self.ingest.blocks() == 0 {
            if Instant::now() > end {
                return Err(format!("{source} is linked and gives no audio"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        let end = Instant::now() + LONGEST;
        while self.health.remembered() < ENOUGH && Instant::now() < end {
            thread::sleep(LOOK);
            self.health.look(&Facts::default());
        }
        Ok(source)
    }

    /// The largest sample in the ring.
    fn peak(&self) -> f32 {
        let oldest = self.reader.oldest();
        let mut samples = vec![0.0; (self.reader.committed() - oldest) as usize];
        // Nobody writes any more.
        let _ = self.reader.read_samples(oldest, &mut samples);
        samples.iter().fold(0.0, |peak: f32, s| peak.max(s.abs()))
    }

    fn heard(
        mut self,
        source: String,
        rate: u32,
        quantum: u32,
        channels: &[ChannelStatus],
        mute: Option<&Mute>,
    ) -> Heard {
        let channels: Vec<Channel> = channels.iter().map(Channel::from).collect();
        let facts = Facts {
            mute,
            channels: &channels,
        };
        let findings = self.health.look(&facts);
        let heard = self.health.remembered();
        Heard {
            source,
            rate,
            quantum,
            peak: self.peak(),
            length: Duration::from_nanos((heard * WINDOW) as u64 * NS_PER_SAMPLE as u64),
            enough: heard >= ENOUGH,
            findings,
        }
    }
}

/// Listens to what the configuration says; `None` for what is no device. The error says why
/// nothing is heard.
pub(super) fn listen(config: &Config, reachable: bool) -> Option<Result<Heard, String>> {
    let channels = Channels::new(config.channel.clone(), Box::new(drop));
    let alsa = |pcm| alsa(config, pcm, &channels);
    Some(match (&config.source, &config.fallback) {
        (SourceSpec::Alsa(pcm), _) => alsa(Some(pcm)),
        (SourceSpec::Pipewire(source) | SourceSpec::Clean(source), _) if reachable => {
            graph(config, source, &channels)
        }
        (SourceSpec::Pipewire(Source::Default), Fallback::Auto) => alsa(None),
        (SourceSpec::Pipewire(Source::Default), Fallback::Pcm(pcm)) => alsa(Some(pcm)),
        (source @ (SourceSpec::Pipewire(_) | SourceSpec::Clean(_)), _) => {
            Err(format!("{source} takes PipeWire"))
        }
        _ => return None,
    })
}

fn graph(config: &Config, source: &Source, channels: &Arc<Channels>) -> Result<Heard, String> {
    let options = Options {
        node_name: "v2m-engine-doctor".into(),
        source: source.clone(),
        latency: Some(config.latency),
        active: true,
        together: false,
        readers: String::new(),
        remote: None,
        channels: channels.clone(),
        ..Options::default()
    };
    let mut ears = Ears::new()?;
    let (events, received) = channel();
    let tell = Box::new(move |event| drop(events.send(event)));
    let mut pipewire =
        Pipewire::start(options, ears.ingest.clone(), tell).map_err(|error| error.to_string())?;
    let source = ears.attend(&received)?;
    let (state, channels) = (pipewire.state(), channels.status());
    pipewire.stop();
    // What the desktop has muted is looked at before.
    Ok(ears.heard(source, state.rate, state.quantum, &channels, None))
}

/// Listens to an ALSA PCM; without a name to whichever there is.
#[cfg(feature = "alsa")]
fn alsa(config: &Config, pcm: Option<&str>, channels: &Arc<Channels>) -> Result<Heard, String> {
    alsa::listen(config.alsa, pcm, channels)
}

#[cfg(not(feature = "alsa"))]
fn alsa(_: &Config, _: Option<&str>, _: &Arc<Channels>) -> Result<Heard, String> {
    Err(crate::capture::no_alsa::refusal().to_string())
}
