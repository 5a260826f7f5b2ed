//! Arguments that Python gives.

use std::fmt::Display;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// What Python's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    /// The ring's own, where they lie.
    Float32,
    /// Copies.
    Int16,
}

impl Dtype {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Int16 => "int16",
        }
    }

    /// Its letter in Python's modules `array` and `struct`.
    pub(crate) fn typecode(self) -> &'static str {
        match self {
            Self::Float32 => "f",
            Self::Int16 => "h",
        }
    }
}

impl FromPyObject<'_, '_> for Dtype {
    type Error = PyErr;

    fn extract(dtype: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let known = [Self::Float32, Self::Int16];
        let named = |one: &Self| dtype.extract::<&str>().is_ok_and(|name| name == one.name());
        known.into_iter().find(named).ok_or_else(|| {
            let why = "must be \"float32\" or \"int16\"";
            invalid("dtype", shown(&dtype), why)
        })
    }
}

/// The error for an argument of this value.
pub(crate) fn invalid(name: &str, value: impl Display, why: impl Display) -> PyErr {
    PyValueError::new_err(format!("{name}={value}: {why}"))
}

/// As Python writes it.
pub(crate) fn shown(value: &Bound<'_, PyAny>) -> String {
    let shown = value
        .repr()
        .map(|text: Bound<'_, PyString>| text.to_string());
    shown.unwrap_or_else(|_| "?".into())
}

/// A time in milliseconds.
pub(crate) fn ms(name: &str, value: i64) -> PyResult<u32> {
    let why = |_| format!("must be milliseconds, 0 to {}", u32::MAX);
    u32::try_from(value).map_err(|error| invalid(name, value, why(error)))
}

/// What Python would write for it: 0.3, not 0.30000001192092896.
pub(crate) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

/// Seconds, as an argument of this name.
pub(crate) fn seconds(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| invalid(name, seconds, "must be seconds, zero or more"))
}

/// Seconds to wait at most; None: for ever.
pub(crate) fn timeout(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    timeout.map(|limit| seconds("timeout", limit)).transpose()
}
