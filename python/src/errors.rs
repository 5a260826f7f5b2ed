//! The exceptions, and which of the core's errors becomes which.

use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::{create_exception, intern};
use v2m_client::{Error, ErrorKind};

create_exception!(v2m_engine, V2MError, PyException, doc!("V2MError"));
create_exception!(
    v2m_engine,
    EngineUnavailableError,
    V2MError,
    doc!("EngineUnavailableError")
);
create_exception!(v2m_engine, OverrunError, V2MError, doc!("OverrunError"));
create_exception!(v2m_engine, DeviceError, V2MError, doc!("DeviceError"));
create_exception!(
    v2m_engine._native,
    NeedsRecovery,
    V2MError,
    doc!("NeedsRecovery")
);

/// A failure of the client's or of Python's.
pub(crate) enum Failure {
    Client(Error),
    Python(PyErr),
}

/// What a method of a class gives; `?` takes errors of both.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Client(error) => raise(error),
            Failure::Python(error) => error,
        }
    }
}

/// The exception for an error of the core.
pub(crate) fn raise(error: Error) -> PyErr {
    let message = error.to_string();
    match error.kind() {
        ErrorKind::Invalid => PyValueError::new_err(message),
        ErrorKind::Unavailable | ErrorKind::Timeout => EngineUnavailableError::new_err(message),
        ErrorKind::Overrun => OverrunError::new_err(message),
        ErrorKind::Device => DeviceError::new_err(message),
        _ => V2MError::new_err(message),
    }
}

/// An [`OverrunError`] that says how many samples were lost.
pub(crate) fn overrun(py: Python<'_>, lost: u64, message: String) -> PyErr {
    let error = OverrunError::new_err(message);
    match error.value(py).setattr(intern!(py, "lost"), lost) {
        Ok(()) => error,
        Err(failed) => failed,
    }
}

/// The exception for an error in reading so many samples, which says so if they were overwritten.
pub(crate) fn overwritten(py: Python<'_>, error: Error, samples: u64) -> PyErr {
    match error.kind() {
        ErrorKind::Overrun => overrun(py, samples, error.to_string()),
        _ => raise(error),
    }
}
