//! One error type for all crates; its kind says what the caller should do. And [`text`]
//! from elsewhere, as it may be shown.

use std::fmt;

pub mod text;

/// What the caller of a failed operation can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong: correct the argument, flag or file named in the message.
    Invalid,
    /// No engine can be reached or started: start the service, or check the message for what is missing.
    Unavailable,
    /// The source is not there or refuses: choose another or wait until it returns.
    Device,
    /// The audio asked for was overwritten: go on with newer audio.
    Overrun,
    /// The other side of the socket or of the memory broke the protocol: drop it.
    Protocol,
    /// Not within the time given: try again or allow more.
    Timeout,
    /// The operating system refused; the message has its reason.
    System,
    /// It is closed, not open yet, or another process's: open one of your own.
    NotOpen,
}

/// An error with a kind for programs and one line for people: what failed, why, and what to do.
/// The line can be shown, whatever names and words of others went into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`, explained by `message`.
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> Self {
        Self {
            kind,
            message: text::printable(message.as_ref(), text::MESSAGE),
        }
    }

    /// A system call that failed: `what` was being done.
    pub fn system(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::System, format!("{what}: {cause}"))
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error, its message led by what was being attempted.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        Self::new(self.kind, format!("{what}: {}", self.message))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
