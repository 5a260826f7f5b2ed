//! Waiting for a device: the kernel tells through `/dev/snd`.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::Stop;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// It shall stop.
    Stop,
    /// A device came, its permissions changed, or somebody let go of one.
    Changed,
    /// Time is up.
    TimedOut,
}

/// Lets time pass; `TimedOut` if nobody stopped it.
pub(super) fn pause(stop: &Stop, time: Duration) -> Woken {
    Watch { inotify: None }.wait(stop, Some(time))
}

/// Changes of `/dev/snd` from its making on.
pub(super) struct Watch {
    inotify: Option<Inotify>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        if let Some(inotify) = &inotify {
            // With the last device the directory goes too.
            let _ = inotify.add_watch("/dev", AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ONLYDIR);
            let changes =
                AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_CLOSE;
            let _ = inotify.add_watch("/dev/snd", changes | AddWatchFlags::IN_ONLYDIR);
        }
        Self { inotify }
    }

    /// Waits for a change, at most `timeout`.
    pub(super) fn wait(&self, stop: &Stop, timeout: Option<Duration>) -> Woken {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map_or(PollTimeout::NONE, |deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
            });
            let mut polled = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
            if let Some(inotify) = &self.inotify {
                polled.push(PollFd::new(inotify.as_fd(), PollFlags::POLLIN));
            }
            let ready = poll(&mut polled, left);
            if stop.is_set() {
                return Woken::Stop;
            }
            if ready == Ok(0) && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Woken::TimedOut;
            }
            if self.changed() {
                return Woken::Changed;
            }
        }
    }

    fn changed(&self) -> bool {
        let events = self
            .inotify
            .as_ref()
            .and_then(|inotify| inotify.read_events().ok())
            .unwrap_or_default();
        events.iter().any(|event| {
            let name = event
                .name
                .as_deref()
                .map(Path::new)
                .and_then(Path::to_str)
                .unwrap_or_default();
            // Control devices are opened and closed by every attempt of ours.
            let closed = event.mask.intersects(AddWatchFlags::IN_CLOSE);
            name == "snd" || name.starts_with("pcm") || (!closed && name.starts_with("control"))
        })
    }
}
