//! `v2m-engine run`: the engine itself.

use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use v2m_engine::client::socket_path;
use v2m_engine::config::{Config, Layer, LogLevel};
use v2m_engine::engine::{Engine, Message};
use v2m_engine::protocol::{self, Reply};
use v2m_engine::server::{Bound, Door, ServiceSocket};
use v2m_engine::systemd;
use v2m_engine::{Error, ErrorKind, Result};

use super::signals::{self, Signals};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: Layer,

    /// Serve only the client at the other end of this socket, and end with it
    #[arg(long, value_name = "FD", hide = true)]
    private_fd: Option<RawFd>,

    /// The directory of the client's Python package onnxruntime
    #[arg(long, value_name = "DIRECTORY", hide = true)]
    python_onnxruntime: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    let signals = Signals::watch()?;
    let passed = systemd::socket()?;
    let private = arguments.private_fd.map(adopt).transpose()?;
    // Kept to tell the client why its engine doesn't come up.
    let line = private.as_ref().map(OwnedFd::try_clone).transpose();
    let line =
        line.map_err(|cause| Error::system("cannot duplicate the client's socket", cause))?;
    let started = start(arguments, private, passed, &signals);
    let (engine, messages) = match (started, line) {
        (Ok(started), _) => started,
        (Err(error), Some(line)) => {
            let _ = protocol::send(
                line.as_fd(),
                &Reply::Refused {
                    message: error.to_string(),
                },
                None,
            );
            return Err(error);
        }
        (Err(error), None) => return Err(error),
    };
    signals.hand_over(move |signal| drop(messages.send(Message::Stop(signal.as_str()))));
    let why = engine.run();
    tracing::info!("stopped: {why}");
    Ok(())
}

fn start(
    arguments: Arguments,
    private: Option<OwnedFd>,
    passed: Option<OwnedFd>,
    signals: &Signals,
) -> Result<(Engine, std::sync::mpsc::Sender<Message>)> {
    let mut config = Config::load(arguments.flags)?;
    config.vad.python = arguments.python_onnxruntime;
    // A client's own engine speaks up only when something is wrong.
    let quiet = private.is_some() && config.log == LogLevel::Info;
    super::log::start(if quiet { LogLevel::Warn } else { config.log });
    let door = match (private, passed) {
        (Some(socket), _) => Door::Private(socket),
        (None, Some(socket)) => Door::Service(ServiceSocket::inherited(socket)?),
        (None, None) => {
            let socket = ServiceSocket::bind(&socket_path()?)?;
            let bound = socket.bound();
            signals.hand_over(move |signal| {
                bound.iter().for_each(Bound::remove);
                signals::end(signal);
            });
            Door::Service(socket)
        }
    };
    Engine::start(config, door)
}

/// Takes over the descriptor that the client passed on.
fn adopt(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: only looks whether the number is an open descriptor.
    if number < 3 || unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        let message =
            format!("--private-fd {number}: no such descriptor; clients pass it, people don't");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    // SAFETY: open (just seen), inherited for us, and used nowhere else: no
    // descriptor above the standard ones has been made yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
