//! Arguments that Python gives: each is checked by a function of its name, so that whatever
//! lies outside of what it may be is a ValueError that says so.

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use v2m_client::Error;
use v2m_client::cursor::Hop;
use v2m_client::dsp::channels::Selection;
use v2m_client::dsp::resample::RATES;
use v2m_client::locator::Mode;
use v2m_client::pcm::Dtype;
use v2m_client::quantum::Quantum;
use v2m_client::ring::Rate;
use v2m_client::ring::layout::MAX_HISTORY;
use v2m_client::vad::corpus::MAX_JOBS;

/// The error for an argument of this value, which is shown as Python's `repr()` has it.
pub(crate) fn invalid(name: &str, value: impl Debug, why: impl Display) -> PyErr {
    PyValueError::new_err(format!("{name}={value:?}: {why}"))
}

/// A whole number of Python's; None: one that no `T` is.
fn whole<'py, T>(value: &Bound<'py, PyAny>) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    match value.extract::<T>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => Ok(None),
        number => number.map(Some),
    }
}

/// One that lies in `range`, which counts `unit`.
fn within<'py, T>(
    name: &str,
    value: &Bound<'py, PyAny>,
    range: RangeInclusive<T>,
    unit: &str,
) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr> + PartialOrd + Display,
{
    let number = whole(value)?.filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        invalid(name, value, format!("must be {least} to {most} {unit}"))
    })
}

/// What is written as a text.
fn parsed<T: FromStr<Err = Error>>(name: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    let parsed = value.str()?.to_str()?.parse();
    parsed.map_err(|why: Error| invalid(name, value, why))
}

/// What `of` finds in a value that isn't None.
fn maybe<'py, T>(
    value: &Bound<'py, PyAny>,
    of: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    (!value.is_none()).then(|| of(value)).transpose()
}

pub(crate) fn dtype(value: &Bound<'_, PyAny>) -> PyResult<Dtype> {
    parsed("dtype", value)
}

pub(crate) fn engine(value: &Bound<'_, PyAny>) -> PyResult<Mode> {
    parsed("engine", value)
}

pub(crate) fn channel(value: &Bound<'_, PyAny>) -> PyResult<Option<Selection>> {
    maybe(value, |value| parsed("channel", value))
}

pub(crate) fn latency(value: &Bound<'_, PyAny>) -> PyResult<Option<Quantum>> {
    maybe(value, |value| parsed("latency", value))
}

/// From one window of `size` samples to the next; None: as far as that.
pub(crate) fn hop(value: Option<&Bound<'_, PyAny>>, size: u64) -> PyResult<Hop> {
    let Some(value) = value else {
        return Ok(Hop::Samples(size));
    };
    let hop: Hop = parsed("hop", value)?;
    hop.within(size).map_err(|why| invalid("hop", value, why))
}

/// Functions that check numbers; after `or None`, those that let None pass.
macro_rules! numbers {
    (or None; $($(#[$of:meta])* $name:ident: $number:ty = $range:expr, $unit:literal;)*) => {
        $($(#[$of])*
        pub(crate) fn $name(value: &Bound<'_, PyAny>) -> PyResult<Option<$number>> {
            maybe(value, |value| within(stringify!($name), value, $range, $unit))
        })*
    };
    ($($(#[$of:meta])* $name:ident: $number:ty = $range:expr, $unit:literal;)*) => {
        $($(#[$of])*
        pub(crate) fn $name(value: &Bound<'_, PyAny>) -> PyResult<$number> {
            within(stringify!($name), value, $range, $unit)
        })*
    };
}

numbers! {
    /// Of audio to be judged or read.
    sample_rate: u32 = RATES, "Hz";
    buffer_size: u64 = 1..=MAX_HISTORY / 2, "samples";
    /// Samples to be read at once.
    n: u64 = 1..=MAX_HISTORY / 2, "samples";
    min_speech_ms: u32 = 0..=u32::MAX, "milliseconds";
    min_silence_ms: u32 = 0..=u32::MAX, "milliseconds";
    pad_ms: u32 = 0..=u32::MAX, "milliseconds";
    split_silence_ms: u32 = 0..=u32::MAX, "milliseconds";
}

numbers! {
    or None;
    partial_ms: u32 = 0..=u32::MAX, "milliseconds";
    /// Of audio whose probabilities are given.
    length: u64 = 0..=u64::MAX, "samples";
    jobs: usize = 1..=MAX_JOBS, "threads";
    time_resolution: usize = 0..=i32::MAX as usize, "decimals";
}

/// Of a stream.
pub(crate) fn stream_rate(value: &Bound<'_, PyAny>) -> PyResult<u32> {
    let known = whole(value)?.filter(|hz| Rate::new(*hz).is_ok());
    known.ok_or_else(|| {
        let why = "must be 8000, 16000, 24000, 32000 or 48000";
        invalid("sample_rate", value, why)
    })
}

/// What Python would write for it: 0.3, not 0.30000001192092896.
pub(crate) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

/// Seconds, as an argument of this name.
pub(crate) fn seconds(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        let why = "must be seconds, zero or more";
        invalid(name, seconds, why)
    })
}

/// Seconds to wait at most; None: for ever.
pub(crate) fn timeout(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    timeout.map(|limit| seconds("timeout", limit)).transpose()
}
