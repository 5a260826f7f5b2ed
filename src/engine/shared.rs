//! What is known about the engine, for whoever asks its server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Message;
use super::server::{Described, EngineHandle, Held, Listener};
use super::source;
use crate::detect::worker::Worker;
use crate::microphone;
use v2m_client::protocol::Wanted;
use v2m_client::status::{
    GrantStatus, LossStatus, RingStatus, SourceStatus, Status, StreamStatus, ThreadStatus,
};
use v2m_rt as rt;
use v2m_rt::bounded;

/// Streams that a status describes: so many fit into a reply, beside the readers.
const MAX_DESCRIBED: usize = 64;

/// Changes as sources come and go.
pub(super) struct SharedEngine {
    pub(super) started: Instant,
    pub(super) service: bool,
    /// Microphones are not to be heard.
    pub(super) muted: AtomicBool,
    pub(super) worker: Worker,
    /// The first is the one that the engine is configured for.
    sources: Mutex<Vec<Arc<source::SourceShared>>>,
    pub(super) messages: Sender<Message>,
    pub(super) microphone: Option<microphone::Report>,
}

impl SharedEngine {
    pub(super) fn new(
        service: bool,
        muted: bool,
        worker: Worker,
        messages: Sender<Message>,
    ) -> Self {
        Self {
            muted: AtomicBool::new(muted),
            started: Instant::now(),
            service,
            worker,
            sources: Mutex::default(),
            messages,
            microphone: None,
        }
    }

    pub(super) fn sources(&self) -> MutexGuard<'_, Vec<Arc<source::SourceShared>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineHandle for SharedEngine {
    fn open(&self, client: u64, wanted: Wanted) {
        let _ = self.messages.send(Message::Open { client, wanted });
    }

    fn status(&self, held: Option<u64>, clients: usize, described: Vec<Described>) -> Status {
        let sources = self.sources().clone();
        let all: Vec<_> = sources.iter().flat_map(|s| s.streams()).collect();
        let mut readers = Vec::with_capacity(described.len());
        let mut holding = Vec::with_capacity(described.len());
        for (id, mut reader) in described {
            // Counted after the readers were looked at: who claims to be further lies.
            if let Some(stream) = all.iter().find(|stream| stream.id == id) {
                reader.measure_lag(stream.reader.committed());
            }
            holding.push(id);
            readers.push(reader);
        }
        let (threads, grants) = (rt::threads(), rt::grants());
        let mut degraded = machine(&threads, &grants);
        let mut streams = Vec::new();
        for source in &sources {
            let (vad, unheard) = self.worker.status(&source.track);
            let now = source.now();
            let lines = unheard.into_iter().chain(replaced(&now.source()));
            for line in lines.chain(now.hanging.clone()) {
                if !degraded.contains(&line) {
                    degraded.push(line);
                }
            }
            for stream in source.streams() {
                let lost = stream.reader.losses();
                let place = now.source();
                streams.push(StreamStatus {
                    source: source.asked.clone(),
                    channel: source.channel.clone(),
                    rate: stream.rate().hz(),
                    state: now.state(),
                    linked: place.linked,
                    waiting: place.waiting,
                    health: now.health.iter().map(|found| found.kind.clone()).collect(),
                    history: stream.reader.layout().history(),
                    position: stream.reader.committed(),
                    gaps: lost.gaps,
                    lost_samples: lost.samples,
                    xruns: lost.xruns,
                    windows: stream.reader.speech_committed(),
                    vad_lag_ms: vad.lag_ms,
                    clients: holding.iter().filter(|id| **id == stream.id).count(),
                });
            }
        }
        degraded.extend(bounded::left_behind());
        streams.truncate(MAX_DESCRIBED);
        // A source that has just gone is held for a while; the first one always is.
        let own = |source: &&Arc<source::SourceShared>| {
            let mut streams = source.streams().into_iter();
            streams.any(|stream| Some(stream.id) == held)
        };
        let main = sources.iter().find(own).unwrap_or(&sources[0]);
        let streams_of_main = main.streams();
        let mut those = streams_of_main.iter();
        let first = those.find(|stream| Some(stream.id) == held);
        let first = first.unwrap_or(&streams_of_main[0]);
        let (ring, reader) = (first.ring.layout(), &first.reader);
        let (vad, _) = self.worker.status(&main.track);
        let lost = reader.losses();
        let position = reader.committed();
        let now = main.now();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            service: self.service,
            state: now.state(),
            muted: self.muted.load(Ordering::Relaxed),
            source: now.source(),
            health: now.health.clone(),
            ring: RingStatus {
                id: ring.ring_id.iter().map(|b| format!("{b:02x}")).collect(),
                history: ring.history(),
                position,
                time_ns: position
                    .checked_sub(1)
                    .and_then(|newest| reader.time_ns(newest)),
            },
            vad,
            losses: LossStatus {
                gaps: lost.gaps,
                lost_samples: lost.samples,
                xruns: lost.xruns,
                repeated: lost.repeated,
            },
            virtual_microphone: self.microphone.as_ref().map(microphone::Report::status),
            streams,
            clients,
            readers,
            threads,
            grants,
            degraded,
        }
    }

    fn listeners(&self, all: Vec<Listener>) {
        let _ = self.messages.send(Message::Listeners(all));
    }

    fn orphaned(&self) {
        let _ = self.messages.send(Message::Stop("its client is gone"));
    }
}

/// What comes instead of what was asked for.
fn replaced(source: &SourceStatus) -> Vec<String> {
    let fallback = source.fallback.as_ref();
    let fallback = fallback.map(|why| format!("ALSA instead of PipeWire: {why}"));
    let echo = source.echo.as_ref().and_then(|echo| echo.why.as_ref());
    let echo = echo.map(|why| format!("clean is the microphone as it is: {why}"));
    fallback.into_iter().chain(echo).collect()
}

/// What the machine doesn't give, one line each.
fn machine(threads: &[ThreadStatus], grants: &[GrantStatus]) -> Vec<String> {
    let slow = threads.iter().filter(|thread| !thread.real_time);
    let refused = grants.iter().filter(|grant| !grant.granted);
    let slow = slow.map(|thread| {
        let why = thread.why_not.join("; ");
        format!(
            "{} runs without real time, a busy machine delays it: {why}",
            thread.name
        )
    });
    slow.chain(refused.map(|grant| {
        let why = grant.why_not.as_deref().unwrap_or_default();
        format!("not granted: {}: {why}", grant.asked)
    }))
    .collect()
}
