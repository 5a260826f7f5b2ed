//! ALSA as a source: any PCM that captures, hardware or plugin, mapped where
//! it can be, on a thread of our own.

mod capture;
mod clock;
mod convert;
mod mute;
mod names;
mod negotiate;
#[allow(unsafe_code, reason = "alsa-lib is in C")]
mod pcm;
mod refusal;
mod stream;
mod wait;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alsa::Direction;
use alsa::device_name::HintIter;
use nix::sys::eventfd::{EfdFlags, EventFd};

pub use alsa::pcm::Access;
pub use capture::{AlsaCapture, KIND};
pub use mute::MuteWatch;
pub use negotiate::{Options, Setup};

use super::channels::Channels;
use super::{Event, Sink, SourceInfo, SourceKind};
use negotiate::NegotiatedPcm;
use pcm::quiet;
use stream::{End, Stream};
use v2m_error::{Error, Result, text};
use v2m_rt::bounded::Calls;
use wait::{Watch, Woken};

/// Between attempts where no event can be expected: a PCM that isn't one card's.
const RETRY: Duration = Duration::from_secs(2);
/// The same for whichever card there is: the kernel tells when one comes.
const RECHECK: Duration = Duration::from_secs(30);
/// Between any two attempts: many events come at once, and some are our own.
const PAUSE: Duration = Duration::from_millis(250);

/// Ends a capture from another thread.
#[derive(Debug)]
pub struct Stop {
    set: AtomicBool,
    ended: AtomicBool,
    event: EventFd,
}

impl Stop {
    /// Not set.
    ///
    /// # Errors
    /// [`v2m_error::ErrorKind::System`] if there are no descriptors left.
    pub fn new() -> Result<Self> {
        let event =
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|error| Error::system("can't make an eventfd", error))?;
        Ok(Self {
            set: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            event,
        })
    }

    /// Has the capture end now.
    pub fn stop(&self) {
        self.set.store(true, Ordering::Release);
        // Fails only if it is set so often that nobody could have missed it.
        let _ = self.event.write(1);
    }

    /// Has the capture end now, and no other begin.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.stop();
    }

    /// Whether no other capture may begin.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Another capture may begin, unless [`end`](Self::end) said otherwise.
    pub fn rearm(&self) {
        let _ = self.event.read();
        self.set.store(false, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire) || self.is_ended()
    }

    fn pollfd(&self) -> libc::pollfd {
        libc::pollfd {
            fd: self.event.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// A PCM to capture from.
pub struct AlsaSource {
    /// alsa-lib's name; `None` for whichever there is.
    name: Option<String>,
    options: Options,
    opened: Option<NegotiatedPcm>,
    card: bool,
    /// Rates that were agreed and at which it then did not start.
    refused: Vec<u32>,
    setup: Arc<Mutex<Option<Setup>>>,
    channels: Arc<Channels>,
    calls: Calls,
}

impl AlsaSource {
    /// Opens a PCM by alsa-lib's name for it (`default`, `hw:CARD=Device,DEV=0`, …)
    /// and agrees with it on format, rate, channels and period.
    ///
    /// # Errors
    /// [`v2m_error::ErrorKind::Device`] if there is no such PCM, it is busy, it only
    /// plays, or nothing that it offers can be used; [`v2m_error::ErrorKind::Invalid`]
    /// for what can be no name. The message names the PCM.
    pub fn open(pcm: &str, options: Options) -> Result<Self> {
        let mut source = Self::later(Some(pcm), options);
        source.prepare()?;
        Ok(source)
    }

    /// With what is to be heard of its channels; else it is their voice.
    pub fn with_channels(self, channels: Arc<Channels>) -> Self {
        Self { channels, ..self }
    }

    /// A PCM that [`AlsaSource::capture`] opens, as soon as it can be. Without a
    /// name: PulseAudio's, if that runs; else ALSA's default one or, where that leads to
    /// PipeWire, the first of the cards' that captures.
    pub fn later(pcm: Option<&str>, options: Options) -> Self {
        Self {
            name: pcm.map(str::to_owned),
            options,
            card: pcm.is_some_and(is_card),
            refused: Vec::new(),
            setup: Arc::default(),
            channels: Channels::auto(),
            opened: None,
            calls: Calls::default(),
        }
    }

    /// Where its thread notes the calls that may not return: plugins of alsa-lib wait for
    /// servers.
    pub fn note_calls(&mut self, calls: &Calls) {
        self.calls = calls.clone();
    }

    /// Opens it now, for [`capture`](Self::capture) to find it open.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`v2m_error::ErrorKind::Invalid`] if the PCM has no such
    /// channel as is to be heard.
    pub fn prepare(&mut self) -> Result<()> {
        quiet();
        let opened = self.reopen()?;
        self.publish(Some(opened.setup.clone()));
        self.opened = Some(opened);
        Ok(())
    }

    fn reopen(&mut self) -> Result<NegotiatedPcm> {
        let name = self.name.as_deref().unwrap_or("default");
        let opening = format!("opening ALSA PCM {name}");
        let opened = self.calls.during(opening, || match &self.name {
            Some(name) => negotiate::open(name, self.options, &self.refused),
            None => negotiate::open_any(self.options, &self.refused),
        });
        let opened = opened?;
        self.card = opened.hardware;
        let named =
            |error: v2m_error::Error| error.context(format!("ALSA PCM {}", opened.setup.pcm));
        self.channels.arrange(&opened.names).map_err(named)?;
        Ok(opened)
    }

    /// What is agreed with the hardware; `None` while it is away. Lives on while
    /// [`AlsaSource::capture`] has the source.
    pub fn setup(&self) -> Arc<Mutex<Option<Setup>>> {
        Arc::clone(&self.setup)
    }

    /// Delivers to `ingest` on the calling thread until `stop`.
    ///
    /// `events` gets [`Event::Linked`] when audio comes and [`Event::Waiting`]
    /// when it ends for longer than a restart: the device was pulled out, is
    /// busy, or says nothing. It is taken again as soon as it is back.
    ///
    /// Positions count the hardware's frames, including those that were lost.
    /// The clock stays the same through overruns, restarts and suspends, and
    /// changes when the PCM had to be opened anew: it may then run at another rate,
    /// be it that it offers others now, or that it didn't start at the one agreed.
    pub fn capture(&mut self, ingest: &dyn Sink, events: &dyn Fn(Event), stop: &Stop) {
        quiet();
        let mut told = false;
        let tell = |told: &mut bool, reason: String| {
            if !std::mem::replace(told, true) {
                events(Event::Waiting(reason));
            }
        };
        loop {
            // Before the attempt: what changes after it is not missed.
            let watch = Watch::new();
            let opened = self.opened.take().map_or_else(|| self.reopen(), Ok);
            match opened {
                Ok(opened) => {
                    let (name, rate) = (opened.setup.pcm.clone(), opened.setup.rate);
                    let other_rates = opened.other_rates;
                    ingest.expect(rate);
                    self.publish(Some(opened.setup.clone()));
                    let (end, flowed) = self.run(opened, ingest, events, stop);
                    self.publish(None);
                    if flowed {
                        told = false;
                        self.refused.clear();
                    }
                    match end {
                        End::Stopped => return,
                        End::Gone => tell(
                            &mut told,
                            format!("ALSA PCM {name} is gone; it is taken again when it is back"),
                        ),
                        End::Changed if flowed => {}
                        End::Changed => tell(
                            &mut told,
                            format!("ALSA PCM {name} stops before it has given audio"),
                        ),
                        End::Refused(_) if other_rates => {
                            self.refused.push(rate);
                            continue;
                        }
                        End::Refused(errno) => {
                            self.refused.clear();
                            tell(
                                &mut told,
                                format!(
                                    "ALSA PCM {name} starts at no rate that it offers ({errno}); \
                                     it is tried again"
                                ),
                            );
                        }
                        End::Silent => tell(
                            &mut told,
                            format!("ALSA PCM {name} runs but gives no audio"),
                        ),
                    }
                    if !flowed && wait::pause(stop, RETRY) == Woken::Stop {
                        return;
                    }
                }
                Err(error) => {
                    tell(&mut told, error.to_string());
                    let timeout = match &self.name {
                        Some(_) if self.card => None,
                        Some(_) => Some(RETRY),
                        None => Some(RECHECK),
                    };
                    if watch.wait(stop, timeout) == Woken::Stop
                        || wait::pause(stop, PAUSE) == Woken::Stop
                    {
                        return;
                    }
                }
            }
        }
    }

    /// One life of the PCM; how it ended and whether audio came.
    fn run(
        &self,
        opened: NegotiatedPcm,
        ingest: &dyn Sink,
        events: &dyn Fn(Event),
        stop: &Stop,
    ) -> (End, bool) {
        let mut flowed = false;
        let name = opened.setup.pcm.clone();
        let mixer = match self.channels.mixer(opened.layout.channels) {
            Ok(mixer) => mixer,
            Err(error) => {
                tracing::error!("{error}");
                return (End::Changed, false);
            }
        };
        let mut stream = match Stream::new(opened, mixer, ingest, stop) {
            Ok(stream) => stream,
            Err(errno) => return (End::Refused(errno), false),
        };
        let end = stream.run(&self.calls, || {
            flowed = true;
            events(Event::Linked(format!("alsa:{name}")));
        });
        let closing = format!("closing ALSA PCM {name}");
        self.calls.during(closing, || drop(stream));
        (end, flowed)
    }

    fn publish(&self, setup: Option<Setup>) {
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = setup;
    }
}

/// Whether a name is one of a card's own, of which the kernel tells.
fn is_card(name: &str) -> bool {
    ["hw:", "plughw:"].iter().any(|own| name.starts_with(own))
}

/// The PCMs that capture, as alsa-lib's configuration lists them.
pub fn sources() -> Vec<SourceInfo> {
    quiet();
    let mut sources: Vec<SourceInfo> = hints()
        .map(|(name, description)| SourceInfo {
            default: name == "default",
            name: format!("alsa:{name}"),
            description,
            kind: SourceKind::Alsa,
            muted: false,
            channels: None,
            rate: None,
        })
        .collect();
    sources.sort_by_key(|source| !source.default);
    sources
}

/// Their names.
fn names() -> Vec<String> {
    hints().map(|(name, _)| name).collect()
}

/// Names and descriptions.
fn hints() -> impl Iterator<Item = (String, String)> {
    let hints = HintIter::new_str(None, "pcm").ok();
    hints
        .into_iter()
        .flatten()
        .filter(|hint| hint.direction != Some(Direction::Playback))
        .filter_map(|hint| {
            let name = hint.name.filter(|name| name != "null")?;
            let description = hint.desc.unwrap_or_default().replace('\n', ", ");
            Some((text::name(&name), text::name(&description)))
        })
}
