//! What engine and clients say to each other: one JSON message a packet over a
//! Unix SOCK_SEQPACKET socket, the ring's descriptor beside the answer to `open`.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::quantum::Quantum;
use crate::status::Status;
use crate::text;

/// The version that both sides must speak.
pub const VERSION: u32 = 2;
/// The longest request, in bytes; a longer one drops the peer.
pub const MAX_REQUEST: usize = 4096;
/// The longest reply, in bytes.
pub const MAX_REPLY: usize = 65_536;
/// The most descriptors beside a message; more drop the peer.
const MAX_DESCRIPTORS: usize = 4;
/// The most that Linux lets a message carry (SCM_MAX_FD).
const KERNELS_MOST: usize = 253;

/// What a client asks. Unknown fields are ignored, unknown requests refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "request")]
pub enum Request {
    /// A stream, please. As long as the connection stays open the client counts
    /// as listening. Its reader cursor, if it keeps one, comes with this.
    Open {
        /// [`VERSION`] of the client.
        version: u32,
        /// Which stream.
        #[serde(flatten)]
        wanted: Wanted,
        /// The quantum that the client would like, within what the engine's
        /// configuration allows; the engine's own if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latency: Option<Quantum>,
        /// The client only looks on: it listens, but nothing is asked of the graph
        /// for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        observe: bool,
        /// One clock is to drive the source and those of the other streams that are asked for
        /// so, where there is a choice.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        together: bool,
    },
    /// Another connection, for another stream.
    Connect {},
    Status {},
}

/// A stream, as a client asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wanted {
    /// As `--source` takes it; absent: what the engine is configured for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// As `--channel` takes it; absent: as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Samples per second; absent: 16000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "reply")]
pub enum Reply {
    /// The ring's descriptor comes with this.
    Opened {
        /// What is captured, as it was asked for or configured.
        source: String,
        /// Which channels of it are heard, the same way.
        channel: String,
        /// Samples per second, as the ring's header says.
        rate: u32,
    },
    /// The other end of a new connection comes with this.
    Connected {},
    Status {
        status: Box<Status>,
    },
    /// No, and why.
    Refused {
        /// One line.
        message: String,
        #[serde(default)]
        kind: Refusal,
    },
}

/// What a client that is refused can do about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// Choose another source, or wait until it can be had.
    Device,
    /// Ask another engine, or this one later. Also whatever a newer engine says.
    #[default]
    #[serde(other)]
    Unavailable,
}

impl Reply {
    /// No: `error`.
    pub fn refused(error: &Error) -> Self {
        let kind = match error.kind() {
            // Of a request only names can be wrong: the source's, the channel's, a file's.
            ErrorKind::Invalid | ErrorKind::Device => Refusal::Device,
            _ => Refusal::Unavailable,
        };
        let message = error.to_string();
        Self::Refused { message, kind }
    }
}

impl Refusal {
    /// As an error of the client.
    pub(crate) fn error(self, message: &str) -> Error {
        let kind = match self {
            Self::Device => ErrorKind::Device,
            Self::Unavailable => ErrorKind::Unavailable,
        };
        Error::new(kind, message)
    }
}

/// A packet: its message and a descriptor, if one came along.
#[derive(Debug)]
pub struct Packet<T> {
    pub message: T,
    pub descriptor: Option<OwnedFd>,
}

/// Parses one message; the fuzzer's door. Whatever text it holds can be shown.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let message = serde_json::from_slice(bytes).and_then(|mut value| {
        make_printable(&mut value);
        serde_json::from_value(value)
    });
    message.map_err(|cause| {
        Error::new(
            ErrorKind::Protocol,
            format!("not a message of this protocol: {cause}"),
        )
    })
}

fn make_printable(value: &mut Value) {
    match value {
        Value::String(text) => *text = text::printable(text, text::MESSAGE),
        Value::Array(values) => values.iter_mut().for_each(make_printable),
        Value::Object(fields) => fields.values_mut().for_each(make_printable),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Sends one message. Never blocks on a socket that doesn't.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let bytes = serde_json::to_vec(message)
        .map_err(|cause| Error::system("cannot write a message", cause))?;
    let descriptors = descriptor.as_slice();
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .map(drop)
    .map_err(|cause| Error::system("cannot send to the other side", cause))
}

/// Receives one message of at most `limit` bytes. `None`: nothing is there yet,
/// on a socket that doesn't block. Anything that isn't one whole message is
/// [`ErrorKind::Protocol`]; the end of the connection is [`ErrorKind::Unavailable`].
pub fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    limit: usize,
) -> Result<Option<Packet<T>>> {
    let mut bytes = vec![0; limit];
    // Room for all that one message can bring. What is not adopted here is closed with
    // the buffer, also when the kernel had to leave some out: our own table was full.
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KERNELS_MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let received = loop {
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(cause @ (Errno::CONNRESET | Errno::PIPE)) => return Err(closed(cause)),
            Err(cause) => return Err(Error::system("cannot receive from the other side", cause)),
        }
    };
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let mut descriptors: Vec<OwnedFd> = rights.flatten().collect();
    let truncated = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
    if received.flags.intersects(truncated) || descriptors.len() > MAX_DESCRIPTORS {
        let message =
            format!("a message of more than {limit} bytes or {MAX_DESCRIPTORS} descriptors");
        return Err(Error::new(ErrorKind::Protocol, message));
    }
    if received.bytes == 0 {
        return Err(closed("end of the connection"));
    }
    let message = parse(&bytes[..received.bytes])?;
    Ok(Some(Packet {
        message,
        descriptor: descriptors.pop(),
    }))
}

fn closed(cause: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the other side is gone: {cause}"),
    )
}

/// Whether the process behind a socket runs as this user; its process id.
pub fn peer_of_same_user(socket: BorrowedFd<'_>) -> Result<i32> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    let peer = getsockopt(&socket.as_fd(), PeerCredentials)
        .map_err(|cause| Error::system("cannot see who is on the other side", cause))?;
    let own = nix::unistd::geteuid().as_raw();
    if peer.uid() == own {
        return Ok(peer.pid());
    }
    Err(Error::new(
        ErrorKind::Protocol,
        format!(
            "process {} of user {} is on the other side, not user {own}: refused",
            peer.pid(),
            peer.uid()
        ),
    ))
}
