//! What engine and clients say to each other: one JSON message a packet over a
//! Unix SOCK_SEQPACKET socket, the ring's descriptor beside the answer to `open`.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::latency::Latency;
use crate::status::Status;

/// The version that both sides must speak.
pub const VERSION: u32 = 1;
/// The longest request, in bytes; a longer one drops the peer.
pub const MAX_REQUEST: usize = 4096;
/// The longest reply, in bytes.
pub const MAX_REPLY: usize = 65_536;

/// What a client asks. Unknown fields are ignored, unknown requests refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "request")]
pub enum Request {
    /// The ring, please. As long as the connection stays open the client counts
    /// as listening. Its bookmark, if it keeps one, comes with this.
    Open {
        /// [`VERSION`] of the client.
        version: u32,
        /// The quantum that the client would like, within what the engine's
        /// configuration allows; the engine's own if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latency: Option<Latency>,
        /// The client only looks on: it listens, but nothing is asked of the graph
        /// for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        observe: bool,
    },
    /// How are you?
    Status {},
}

/// What the engine answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "reply")]
pub enum Reply {
    /// The ring's descriptor comes with this.
    Opened {
        /// What the engine captures, as its configuration says it.
        source: String,
    },
    /// The answer to `status`.
    Status {
        /// All of it.
        status: Box<Status>,
    },
    /// No, and why.
    Refused {
        /// One line.
        message: String,
    },
}

/// A packet: its message and a descriptor, if one came along.
#[derive(Debug)]
pub struct Packet<T> {
    /// The message.
    pub message: T,
    /// The descriptor.
    pub descriptor: Option<OwnedFd>,
}

/// Parses one message; the fuzzer's door.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|cause| {
        Error::new(
            ErrorKind::Protocol,
            format!("not a message of this protocol: {cause}"),
        )
    })
}

/// Sends one message. Never blocks on a socket that doesn't.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let bytes = serde_json::to_vec(message)
        .map_err(|cause| Error::system("cannot write a message", cause))?;
    let descriptors: Vec<RawFd> = descriptor.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if descriptors.is_empty() {
        &rights[..0]
    } else {
        &rights[..]
    };
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(&bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(|_| ())
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
    let mut control = nix::cmsg_space!([RawFd; 4]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = loop {
        match recvmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(received) => break received,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(cause @ (Errno::ECONNRESET | Errno::EPIPE)) => return Err(closed(cause)),
            Err(cause) => return Err(Error::system("cannot receive from the other side", cause)),
        }
    };
    let mut descriptors = Vec::new();
    let truncated = received
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    if let Ok(messages) = received.cmsgs() {
        for message in messages {
            if let ControlMessageOwned::ScmRights(numbers) = message {
                // SAFETY: the kernel just made these descriptors for us, and
                // nobody else knows their numbers.
                descriptors.extend(
                    numbers
                        .into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
    }
    let length = received.bytes;
    if truncated {
        let message = format!("a message of more than {limit} bytes or 4 descriptors");
        return Err(Error::new(ErrorKind::Protocol, message));
    }
    if length == 0 {
        return Err(closed("end of the connection"));
    }
    let message = parse(&bytes[..length])?;
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
            "user {} is on the other side, not {own}: refused",
            peer.uid()
        ),
    ))
}
