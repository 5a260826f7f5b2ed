//! A sound file as a backend.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::{FileSource, Pace, play};
use crate::capture::channels::Channels;
use crate::capture::ingest::Ingest;
use crate::capture::{Backend, Block, CaptureThread, Event, Events, Kind, Sink, Start};
use crate::config::SourceSpec;
use crate::detect::worker::Backpressure;
use v2m_client::quantum::Quantum;
use v2m_client::status::SourceStatus;
use v2m_error::Result;
use v2m_error::text;

/// Sources `file:PATH`.
pub static KIND: Kind = Kind {
    takes: |source| matches!(source, SourceSpec::File(_)),
    start,
    sources: || Ok(Vec::new()),
};

fn start(start: Start<'_>) -> Result<Box<dyn Backend>> {
    let path = match &start.config.source {
        SourceSpec::File(path) => path.clone(),
        _ => PathBuf::new(),
    };
    let pace = match start.config.pace {
        true => Pace::RealTime,
        false => Pace::Unpaced,
    };
    let player = FilePlayer::start(
        path,
        start.channels,
        pace,
        start.ingest,
        start.backpressure,
        start.events,
    )?;
    player.thread.set_active(!start.on_demand);
    Ok(Box::new(player))
}

/// A file's way in: its blocks come when its own line of time says, at whichever pace.
struct OnItsOwnTime<'a>(&'a Ingest);

impl Sink for OnItsOwnTime<'_> {
    fn block(&self, block: &Block<'_>) {
        self.0.take(block, block.end_ns());
    }

    fn wake(&self) {
        self.0.wake();
    }
}

/// The thread that plays a file.
struct FilePlayer {
    /// Once the file is open.
    rate: Arc<AtomicU32>,
    /// It is a pipe that plays in real time: time goes on when nothing comes out of it.
    live: Arc<AtomicBool>,
    pace: Pace,
    thread: CaptureThread,
}

impl FilePlayer {
    fn start(
        path: PathBuf,
        channels: Arc<Channels>,
        pace: Pace,
        ingest: Arc<Ingest>,
        backpressure: Backpressure,
        events: Events,
    ) -> Result<Self> {
        let rate = Arc::<AtomicU32>::default();
        let known = rate.clone();
        let live = Arc::<AtomicBool>::default();
        let flows = live.clone();
        let thread = CaptureThread::start("v2m-file", false, move |orders, calls| {
            let opening = format!("opening {}", path.display());
            let over = orders.over();
            let file = match calls.during(opening, || {
                FileSource::open_until(&path, channels, over.clone())
            }) {
                Ok(file) => file,
                Err(error) => return events(Event::Refused(error)),
            };
            known.store(file.rate(), Ordering::Relaxed);
            ingest.expect(file.rate());
            events(Event::Reached);
            orders.rest();
            let name = text::printable(&file.path().to_string_lossy(), text::MESSAGE);
            events(Event::Linked(name));
            let sink = OnItsOwnTime(&ingest);
            flows.store(file.is_pipe() && pace == Pace::RealTime, Ordering::Release);
            let end = play(file, pace, &sink, over, || backpressure.hold(over));
            flows.store(false, Ordering::Release);
            match end {
                Ok(()) => {
                    ingest.finish();
                    events(Event::Ended);
                }
                Err(error) => events(Event::Waiting(error.to_string())),
            }
        })?;
        Ok(Self {
            rate,
            live,
            pace,
            thread,
        })
    }
}

impl Backend for FilePlayer {
    fn set_quantum(&self, latency: Option<Quantum>) {
        if latency.is_some() {
            self.thread.set_active(true);
        }
    }

    /// A file has no light that tells of it.
    fn set_active(&self, _active: bool) {}

    fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    fn keeps_time(&self) -> bool {
        self.pace != Pace::Unpaced
    }

    fn describe(&self, status: &mut SourceStatus) {
        status.backend = "file".into();
        status.rate = self.rate.load(Ordering::Relaxed);
    }

    fn why_silent(&self) -> String {
        "its disk does not answer".into()
    }

    fn hanging(&self) -> Option<String> {
        self.thread.hanging()
    }

    fn stop(&mut self) {
        self.thread.stop();
    }
}
