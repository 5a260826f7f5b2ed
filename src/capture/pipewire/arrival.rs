//! Waiting for the daemon: the kernel tells when its socket appears.
//!
//! Attempts follow each other closely only while the daemon may just be coming:
//! after it went, which may be a restart, and after something happened to its
//! socket, as nobody listens there yet when it appears.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// Between two attempts while the daemon may be coming: this at first, doubled up to the other.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// For so long after something happened the daemon may be coming.
const COMING: Duration = Duration::from_secs(3);
/// Between two attempts otherwise: for file systems that tell nothing.
const RECHECK: Duration = Duration::from_secs(15);

/// How long to wait until the next attempt.
#[derive(Debug)]
pub(crate) struct Patience {
    pause: Duration,
    since: Instant,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self {
            pause: FIRST_PAUSE,
            since: Instant::now(),
        }
    }

    /// The pause from now to the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        if self.since.elapsed() > COMING {
            return RECHECK;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

/// Changes around the places where the daemon's socket may be, from its making on: make it
/// before an attempt, and nothing that happens after that is missed.
#[derive(Debug)]
pub(crate) struct Arrival {
    inotify: Option<Inotify>,
    /// The directories that are watched, and what is to appear in each.
    names: Vec<(WatchDescriptor, OsString)>,
}

impl Arrival {
    /// Watches each socket's directory or, until that exists, the nearest one above.
    pub(crate) fn watch(sockets: &[PathBuf]) -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let mut names = Vec::new();
        for socket in sockets {
            let mut path = socket.as_path();
            while let (Some(directory), Some(last)) = (path.parent(), path.file_name()) {
                match inotify.as_ref().map(|i| i.add_watch(directory, flags)) {
                    Some(Err(_)) => path = directory,
                    Some(Ok(watch)) => {
                        names.push((watch, last.to_owned()));
                        break;
                    }
                    None => break,
                }
            }
        }
        Self { inotify, names }
    }

    /// Readable when something happened; none where the kernel gives no watch.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Whether what happened may be the daemon's coming.
    pub(crate) fn happened(&self) -> bool {
        let events = self.inotify.as_ref().map(Inotify::read_events);
        events.and_then(Result::ok).is_some_and(|events| {
            let gone = AddWatchFlags::IN_IGNORED
                | AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_Q_OVERFLOW;
            let mut events = events.iter();
            events.any(|event| {
                let mut names = self.names.iter();
                let awaited = names
                    .any(|(watch, name)| *watch == event.wd && event.name.as_ref() == Some(name));
                awaited || event.mask.intersects(gone)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_noticed_and_so_is_each_directory_above_it() {
        let base = std::env::temp_dir().join(format!("v2m-arrival-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let directory = base.join("run/1000");
        let socket = directory.join("pipewire-0");
        let arrival = Arrival::watch(std::slice::from_ref(&socket));
        fs::write(base.join("other"), "").unwrap();
        assert!(!arrival.happened(), "something else");
        fs::create_dir(base.join("run")).unwrap();
        assert!(arrival.happened());
        let arrival = Arrival::watch(std::slice::from_ref(&socket));
        fs::create_dir(&directory).unwrap();
        assert!(arrival.happened());
        let arrival = Arrival::watch(std::slice::from_ref(&socket));
        assert!(!arrival.happened());
        let listens = UnixListener::bind(&socket).unwrap();
        assert!(arrival.happened());
        // A socket in use keeps its directory.
        drop(listens);
        let arrival = Arrival::watch(std::slice::from_ref(&socket));
        fs::remove_dir_all(&base).unwrap();
        assert!(arrival.happened(), "the directory went");
    }

    #[test]
    fn the_daemon_may_come_in_any_of_its_places() {
        let base = std::env::temp_dir().join(format!("v2m-arrivals-{}", std::process::id()));
        let sockets = ["session/pipewire-0", "system/pipewire-0"].map(|path| base.join(path));
        fs::create_dir_all(base.join("session")).unwrap();
        let arrival = Arrival::watch(&sockets);
        fs::write(base.join("session/system"), "").unwrap();
        assert!(!arrival.happened(), "the other's name");
        fs::create_dir(base.join("system")).unwrap();
        assert!(arrival.happened());
        for socket in &sockets {
            let arrival = Arrival::watch(&sockets);
            assert!(!arrival.happened());
            let listens = UnixListener::bind(socket).unwrap();
            assert!(arrival.happened());
            drop(listens);
        }
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn attempts_become_rare() {
        let mut patience = Patience::new();
        let pauses: Vec<_> = (0..6).map(|_| patience.next()).collect();
        assert_eq!((pauses[0], pauses[5]), (FIRST_PAUSE, LONGEST_PAUSE));
        patience.since = Instant::now().checked_sub(COMING * 2).unwrap();
        assert_eq!(patience.next(), RECHECK);
    }
}
