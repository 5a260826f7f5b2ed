//! The source `default`: PipeWire while it can be reached, ALSA while it can't.
//!
//! PipeWire's control thread goes on waiting for the daemon while ALSA captures.
//! When it answers, ALSA's PCM is closed at once, before audio comes from the
//! graph: the session manager takes cards only that nobody holds. Both write
//! through one ingest, so the switch is a gap like any other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::alsa::{self, AlsaCapture, AlsaSource};
use super::channels::Channels;
use super::ingest::Ingest;
use super::pipewire::{Options, Pipewire};
use super::{Backend, Event, Events};
use v2m_client::quantum::Quantum;
use v2m_client::status::SourceStatus;
use v2m_dsp::health::Mute;
use v2m_error::Result;
use v2m_rt::bounded::Bounded;

/// A daemon that was there may take so long to come back: a restart takes less.
const GRACE: Duration = Duration::from_secs(2);

/// Which ALSA PCM stands in.
#[derive(Clone, Debug)]
pub(super) struct FallbackSession {
    /// alsa-lib's name; `None` for whichever there is.
    pub(super) pcm: Option<String>,
    pub(super) options: alsa::Options,
    pub(super) channels: Arc<Channels>,
}

/// Both backends, one of which captures.
pub struct Handover {
    pipewire: Pipewire,
    shared: Arc<HandoverShared>,
    notes: Sender<HandoverEvent>,
    thread: Bounded,
}

#[derive(Default)]
struct HandoverShared {
    /// While PipeWire can't be reached: the capture that stands in, and why it does.
    alsa: Mutex<Option<(AlsaCapture, String)>>,
    /// Whether to capture at all; changes under the lock of `alsa`.
    active: AtomicBool,
}

impl HandoverShared {
    fn alsa(&self) -> MutexGuard<'_, Option<(AlsaCapture, String)>> {
        self.alsa.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum HandoverEvent {
    Pipewire(Event),
    Alsa(Event),
    Stop,
}

impl Handover {
    pub(super) fn start(
        options: Options,
        standby: FallbackSession,
        ingest: Arc<Ingest>,
        events: Events,
    ) -> Result<Self> {
        let (notes, inbox) = channel();
        let unheard = options.unheard.clone();
        let told = notes.clone();
        let tell = Box::new(move |event| drop(told.send(HandoverEvent::Pipewire(event))));
        let shared = Arc::<HandoverShared>::default();
        shared.active.store(options.active, Ordering::Relaxed);
        let pipewire = Pipewire::start(options, ingest.clone(), tell)?;
        let switch = Switch {
            standby,
            ingest,
            unheard,
            events,
            shared: shared.clone(),
            notes: notes.clone(),
            reached: false,
            lost: String::new(),
            due: None,
        };
        let thread = Bounded::spawn("v2m-handover", move |_| switch.run(&inbox))?;
        Ok(Self {
            pipewire,
            shared,
            notes,
            thread,
        })
    }
}

impl Backend for Handover {
    /// Asks the graph for a quantum, now or when it is back.
    fn set_quantum(&self, latency: Option<Quantum>) {
        self.pipewire.set_quantum(latency);
    }

    fn set_together(&self, together: bool) {
        self.pipewire.set_together(together);
    }

    fn set_readers(&self, readers: &str) {
        self.pipewire.set_readers(readers);
    }

    /// Captures, or leaves the microphone alone, whichever of the two has it.
    fn set_active(&self, active: bool) {
        let alsa = self.shared.alsa();
        self.shared.active.store(active, Ordering::Relaxed);
        self.pipewire.set_active(active);
        if let Some((alsa, _)) = &*alsa {
            alsa.set_active(active);
        }
    }

    /// The thread that gets the audio, once it is known.
    fn audio_thread(&self) -> Option<i32> {
        match &*self.shared.alsa() {
            Some((alsa, _)) => alsa.audio_thread(),
            None => self.pipewire.audio_thread(),
        }
    }

    /// A switch that is off, if that is why nothing is heard.
    fn mute(&self) -> Option<Mute> {
        match &*self.shared.alsa() {
            Some((alsa, _)) => alsa.mute(),
            None => self.pipewire.mute(),
        }
    }

    /// Says which of the two captures, how, and why.
    fn describe(&self, status: &mut SourceStatus) {
        let alsa = self.shared.alsa();
        match &*alsa {
            Some((alsa, why)) => {
                alsa.describe(status);
                status.fallback = Some(why.clone());
            }
            None => {
                self.pipewire.describe(status);
                status.fallback = None;
            }
        }
    }

    fn ask(&self) {
        self.pipewire.ask();
    }

    fn why_silent(&self) -> String {
        match &*self.shared.alsa() {
            Some((alsa, _)) => alsa.why_silent(),
            None => Backend::why_silent(&self.pipewire),
        }
    }

    fn hanging(&self) -> Option<String> {
        let alsa = self.shared.alsa();
        let alsa = alsa.as_ref().and_then(|(alsa, _)| alsa.hanging());
        alsa.or_else(|| self.pipewire.hanging())
    }

    /// Stops both.
    fn stop(&mut self) {
        let _ = self.notes.send(HandoverEvent::Stop);
        self.thread.join();
        self.pipewire.stop();
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What decides, on a thread of its own: closing a PCM may take a while.
struct Switch {
    standby: FallbackSession,
    ingest: Arc<Ingest>,
    /// What PipeWire gives is passed over: it is ALSA's turn.
    unheard: Arc<AtomicBool>,
    events: Events,
    shared: Arc<HandoverShared>,
    notes: Sender<HandoverEvent>,
    /// PipeWire has been there.
    reached: bool,
    /// Why it is not there now.
    lost: String,
    /// When ALSA takes over.
    due: Option<Instant>,
}

impl Switch {
    fn run(mut self, inbox: &Receiver<HandoverEvent>) {
        loop {
            let note = match self.due {
                None => inbox.recv().map_err(RecvTimeoutError::from),
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match note {
                Ok(HandoverEvent::Pipewire(event)) => self.heard(event),
                Ok(HandoverEvent::Alsa(event)) => self.heard_of_alsa(event),
                Err(RecvTimeoutError::Timeout) => self.take_alsa(),
                Ok(HandoverEvent::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.shared.alsa().take();
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Reached => {
                self.reached = true;
                self.due = None;
                self.take_pipewire();
                (self.events)(Event::Reached);
            }
            Event::Lost(why) => {
                let grace = if self.reached { GRACE } else { Duration::ZERO };
                self.due = Some(Instant::now() + grace);
                self.lost.clone_from(&why);
                (self.events)(Event::Lost(why));
            }
            event => (self.events)(event),
        }
    }

    fn heard_of_alsa(&self, event: Event) {
        // What ALSA's thread said last may be heard after it has ended.
        if self.shared.alsa().is_none() || matches!(event, Event::Reached | Event::Refused(_)) {
            return;
        }
        (self.events)(match event {
            Event::Waiting(why) => Event::Waiting(format!("{}; instead of it: {why}", self.lost)),
            event => event,
        });
    }

    fn take_alsa(&mut self) {
        self.due = None;
        self.unheard.store(true, Ordering::Release);
        let source = AlsaSource::later(self.standby.pcm.as_deref(), self.standby.options)
            .with_channels(self.standby.channels.clone());
        let told = self.notes.clone();
        let tell = Box::new(move |event| drop(told.send(HandoverEvent::Alsa(event))));
        let mut standing_in = self.shared.alsa();
        let active = self.shared.active.load(Ordering::Relaxed);
        match AlsaCapture::start(source, self.ingest.clone(), active, tell) {
            Ok(alsa) => *standing_in = Some((alsa, self.lost.clone())),
            Err(error) => (self.events)(Event::Waiting(error.to_string())),
        }
    }

    fn take_pipewire(&self) {
        let alsa = self.shared.alsa().take();
        // Waits for its thread, which has the ingest until then.
        drop(alsa);
        self.unheard.store(false, Ordering::Release);
    }
}
