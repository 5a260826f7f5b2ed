//! Numbers that Python gives.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A time in milliseconds.
pub(crate) fn ms(name: &str, value: i64) -> PyResult<u32> {
    u32::try_from(value).map_err(|_| {
        PyValueError::new_err(format!(
            "{name}={value}: must be milliseconds, 0 to {}",
            u32::MAX
        ))
    })
}

/// What Python would write for it: 0.3, not 0.30000001192092896.
pub(crate) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

/// Seconds to wait at most; None: for ever.
pub(crate) fn timeout(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    timeout
        .map(|seconds| {
            Duration::try_from_secs_f64(seconds).map_err(|_| {
                PyValueError::new_err(format!(
                    "timeout={seconds}: must be seconds, zero or more, or None"
                ))
            })
        })
        .transpose()
}
