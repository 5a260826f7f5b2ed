//! systemd's side of a service: the socket that it passes on, and what it is
//! told. Without systemd all of this does nothing.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};
use sd_notify::NotifyState;

use v2m_error::text;
use v2m_error::{Error, ErrorKind, Result};

/// The listening socket that systemd passed to this process, if it did.
///
/// To be called once, before other descriptors are made.
pub fn socket() -> Result<Option<OwnedFd>> {
    let refused = |why: &str| {
        let message = format!("cannot use the socket that systemd passed: {why}");
        Err(Error::new(ErrorKind::Invalid, message))
    };
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return refused("there are several; v2m-engine.socket has one ListenSequentialPacket=");
    }
    let (family, kind) = (libc::AF_UNIX, libc::SOCK_SEQPACKET);
    match passed.take_custom::<OwnedFd>(0, family, kind, "socket of ListenSequentialPacket=") {
        Ok(Some(socket)) if getsockopt(&socket, sockopt::AcceptConn) != Ok(true) => {
            refused("it does not listen")
        }
        Ok(socket) => Ok(socket),
        Err(cause) => refused(&cause.to_string()),
    }
}

/// Whether standard error goes to the journal, as `JOURNAL_STREAM` says it (see
/// systemd.exec(5)).
pub fn stderr_is_journal() -> bool {
    let Ok(stderr) = nix::sys::stat::fstat(std::io::stderr()) else {
        return false;
    };
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

/// Tells the service manager how the engine is, and feeds its watchdog.
#[derive(Debug)]
pub(crate) struct Manager {
    /// There is one, and it wants to hear of us.
    listens: bool,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    every: Duration,
    fed: Instant,
}

impl Manager {
    /// The manager of this process. A private engine has none: what is in its
    /// environment is meant for its client.
    pub(crate) fn new(service: bool) -> Self {
        let listens = service && std::env::var_os("NOTIFY_SOCKET").is_some();
        let limit = sd_notify::watchdog_enabled().filter(|_| listens);
        Self {
            listens,
            watchdog: limit.map(|limit| Watchdog {
                every: limit / 3,
                fed: Instant::now(),
            }),
        }
    }

    /// Clients are answered from now on.
    pub(crate) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`.
    pub(crate) fn status(&self, line: &str) {
        // A line break would begin another message to the manager.
        let line = text::printable(line, text::MESSAGE);
        self.tell(&[NotifyState::Status(&line)]);
    }

    /// No more clients from now on.
    pub(crate) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// The main thread is at work. When it is time and the others are `well`, too, the watchdog
    /// is fed: it starves where a restart helps, that is, with threads of our own that are stuck.
    pub(crate) fn alive(&mut self, well: impl FnOnce() -> bool) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        if watchdog.fed.elapsed() < watchdog.every || !well() {
            return;
        }
        watchdog.fed = Instant::now();
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if !self.listens {
            return;
        }
        if let Err(error) = sd_notify::notify(state) {
            tracing::debug!("the service manager can't be told: {error}");
        }
    }
}
