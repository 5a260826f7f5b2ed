//! `v2m-engine run`: the engine itself.

use std::fs::File;
use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::config::{Config, Layer, LogLevel};
use crate::engine::server::{Bound, Endpoint, ServiceSocket};
use crate::engine::systemd;
use crate::engine::{Engine, Message};
use nix::sys::signal::Signal;
use nix::sys::socket::{SockType, getsockopt, sockopt};
use v2m_client::connection::socket_path;
use v2m_client::protocol::{self, Reply};
use v2m_error::{Error, ErrorKind, Result};
use v2m_rt::bounded;

use super::signals::Signals;

/// After a signal everything that ends in order has ended within this.
const LAST_RESORT: Duration = Duration::from_millis(1900);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: Layer,

    /// Serve only the client at the other end of standard input, and end with it
    #[arg(long, hide = true)]
    private: bool,

    /// The directory of the client's Python package onnxruntime
    #[arg(long, value_name = "DIRECTORY", hide = true)]
    python_onnxruntime: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    let signals = Signals::watch()?;
    let (sender, messages) = channel();
    let stop = sender.clone();
    let bound = Arc::<OnceLock<Bound>>::default();
    let socket = bound.clone();
    signals.hand_over(move |signal| {
        let _ = stop.send(Message::Stop(signal.as_str()));
        std::thread::sleep(LAST_RESORT);
        give_up(signal, socket.get());
    });

    let (private, passed) = match arguments.private {
        true => (Some(client()?), None),
        false => (None, systemd::socket()?),
    };
    // Kept to tell the client why its engine doesn't come up.
    let line = private.as_ref().map(OwnedFd::try_clone).transpose();
    let line =
        line.map_err(|cause| Error::system("cannot duplicate the client's socket", cause))?;
    let started = start(arguments, private, passed, &bound, (sender, messages));
    let engine = match (started, line) {
        (Ok(started), _) => started,
        (Err(error), Some(line)) => {
            let _ = protocol::send(line.as_fd(), &Reply::refused(&error), None);
            return Err(error);
        }
        (Err(error), None) => return Err(error),
    };
    let why = engine.run()?;
    tracing::info!("stopped: {why}");
    Ok(())
}

/// The main thread itself hangs, as with a configuration on a disk that is gone, or gets no CPU:
/// what is left to do is to end.
fn give_up(signal: Signal, socket: Option<&Bound>) -> ! {
    if let Some(socket) = socket {
        socket.remove();
    }
    let seconds = LAST_RESORT.as_secs_f64();
    eprintln!(
        "v2m-engine: {signal}: ended without waiting longer: it was not through in {seconds} s, as a call does not return or the machine is too busy"
    );
    bounded::exit_now(0)
}

fn start(
    arguments: Arguments,
    private: Option<OwnedFd>,
    passed: Option<OwnedFd>,
    bound: &OnceLock<Bound>,
    messages: (Sender<Message>, Receiver<Message>),
) -> Result<Engine> {
    let mut config = Config::load(arguments.flags)?;
    config.vad.python = arguments.python_onnxruntime;
    // A client's own engine speaks up only when something is wrong.
    let quiet = private.is_some() && config.log == LogLevel::Info;
    super::log::start(if quiet { LogLevel::Warn } else { config.log });
    let endpoint = match (private, passed) {
        (Some(socket), _) => Endpoint::Private(socket),
        (None, Some(socket)) => Endpoint::Service(ServiceSocket::inherited(socket)?),
        (None, None) => {
            let socket = ServiceSocket::bind(&socket_path()?)?;
            if let Some(file) = socket.bound() {
                let _ = bound.set(file);
            }
            Endpoint::Service(socket)
        }
    };
    Engine::start(config, endpoint, messages)
}

/// The client's end, which came as standard input; nothing else gets to read from it.
fn client() -> Result<OwnedFd> {
    let refused = |cause| Error::system("cannot take over the client's socket", cause);
    let socket = stdin().as_fd().try_clone_to_owned().map_err(refused)?;
    if getsockopt(&socket, sockopt::SockType) != Ok(SockType::SeqPacket) {
        let message = "--private: standard input is no client's socket; \
            clients pass it, people don't";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let nothing = File::open("/dev/null").map_err(refused)?;
    rustix::stdio::dup2_stdin(nothing).map_err(|cause| refused(cause.into()))?;
    Ok(socket)
}
