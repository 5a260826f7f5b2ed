//! ALSA as a backend.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use super::{AlsaSource, MuteWatch, Setup, Stop, sources};
use crate::capture::ingest::Ingest;
use crate::capture::{Backend, Event, Events, Kind, Start};
use crate::config::SourceSpec;
use v2m_client::status::SourceStatus;
use v2m_dsp::health::Mute;
use v2m_error::Result;
use v2m_rt as rt;
use v2m_rt::Role;
use v2m_rt::bounded::Bounded;

/// Sources `alsa:PCM`.
pub static KIND: Kind = Kind {
    takes: |source| matches!(source, SourceSpec::Alsa(_)),
    start,
    sources: || Ok(sources()),
};

fn start(start: Start<'_>) -> Result<Box<dyn Backend>> {
    let pcm = match &start.config.source {
        SourceSpec::Alsa(pcm) => Some(pcm.as_str()),
        _ => None,
    };
    let source = AlsaSource::later(pcm, start.config.alsa).with_channels(start.channels);
    let capture = AlsaCapture::start(source, start.ingest, start.active, start.events)?;
    Ok(Box::new(capture))
}

/// The thread that captures from an ALSA PCM, and the one that looks after its card.
pub struct AlsaCapture {
    setup: Arc<Mutex<Option<Setup>>>,
    tid: Arc<AtomicI32>,
    active: Arc<AtomicBool>,
    stop: Arc<Stop>,
    thread: Bounded,
    mute: MuteWatch,
}

impl AlsaCapture {
    pub(in crate::capture) fn start(
        mut source: AlsaSource,
        ingest: Arc<Ingest>,
        active: bool,
        events: Events,
    ) -> Result<Self> {
        let setup = source.setup();
        let mute = MuteWatch::start(setup.clone())?;
        let stop = Arc::new(Stop::new()?);
        let tid = Arc::new(AtomicI32::new(0));
        let at_once = active;
        let active = Arc::new(AtomicBool::new(active));
        let (stopped, own, wanted) = (stop.clone(), tid.clone(), active.clone());
        let thread = Bounded::spawn("v2m-alsa", move |calls| {
            own.store(rt::thread_id(), Ordering::Relaxed);
            rt::promote_soon(Role::Capture, rt::thread_id(), |promotion| {
                for refusal in promotion.why_not {
                    tracing::warn!("the audio thread asked for real time: {refusal}");
                }
            });
            rt::lock_stack();
            source.note_calls(calls);
            if at_once {
                events(match source.prepare() {
                    Ok(()) => Event::Reached,
                    Err(error) => Event::Refused(error),
                });
            }
            while !stopped.is_ended() {
                if wanted.load(Ordering::Acquire) {
                    source.capture(&*ingest, &*events, &stopped);
                    stopped.rearm();
                } else {
                    std::thread::park();
                }
            }
        })?;
        Ok(Self {
            setup,
            tid,
            active,
            stop,
            thread,
            mute,
        })
    }
}

impl Backend for AlsaCapture {
    fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Release);
        match self.thread.thread() {
            Some(thread) if active => thread.unpark(),
            _ => self.stop.stop(),
        }
    }

    fn audio_thread(&self) -> Option<i32> {
        Some(self.tid.load(Ordering::Relaxed)).filter(|tid| *tid != 0)
    }

    fn describe(&self, status: &mut SourceStatus) {
        let setup = lock(&self.setup);
        status.backend = "alsa".into();
        status.quantum = setup.as_ref().map_or(0, |setup| setup.period as u32);
        status.rate = setup.as_ref().map_or(0, |setup| setup.rate);
        status.server_version = None;
        let thread = self.audio_thread().and_then(rt::inspect);
        status.scheduling = thread.map(|thread| thread.to_string());
    }

    fn mute(&self) -> Option<Mute> {
        self.mute.mute()
    }

    fn hanging(&self) -> Option<String> {
        self.thread.hanging().or_else(|| self.mute.hanging())
    }

    fn why_silent(&self) -> String {
        self.thread
            .hanging()
            .unwrap_or_else(|| "ALSA gives none, nor an error".into())
    }

    fn stop(&mut self) {
        self.stop.end();
        self.thread.thread().map(Thread::unpark);
        self.thread.join();
        self.mute.stop();
    }
}

fn lock(setup: &Mutex<Option<Setup>>) -> MutexGuard<'_, Option<Setup>> {
    setup.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for AlsaCapture {
    fn drop(&mut self) {
        self.stop();
    }
}
