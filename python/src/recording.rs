//! `Recording`: the client's recorder, on a thread that no GIL can hold up.

use std::path::PathBuf;

use pyo3::prelude::*;
use v2m_client::record::Once;

use crate::errors::{Outcome, V2MError};
use crate::params;
use crate::source::{aio, signals};

#[doc = doc!("Recording")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct Recording(pub(crate) Once);

#[pymethods]
impl Recording {
    fn __enter__<'py>(slf: Bound<'py, Self>) -> Outcome<Bound<'py, Self>> {
        slf.get()._open(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*exception))]
    fn __exit__(&self, py: Python<'_>, exception: &Bound<'_, PyAny>) -> Outcome<()> {
        let ended = self.close(py);
        match exception.get_item(0) {
            // What went wrong inside is worth more than what follows from it.
            Ok(kind) if !kind.is_none() => Ok(()),
            _ => ended,
        }
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf, "begin")
    }

    #[pyo3(signature = (*exception))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        exception: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let failed = exception.get_item(0).is_ok_and(|kind| !kind.is_none());
        aio(slf, if failed { "leave_quietly" } else { "end" })
    }

    #[doc = doc!("Recording.wait")]
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> Outcome<bool> {
        let timeout = params::timeout(timeout)?;
        if !self.0.has_begun() {
            return Err(V2MError::new_err(
                "the recording has not begun: use it with `with` or `async with`",
            )
            .into());
        }
        py.detach(|| self.0.wait(timeout, signals))
    }

    #[doc = doc!("Recording.close")]
    fn close(&self, py: Python<'_>) -> Outcome<()> {
        py.detach(|| self.0.close(signals))
    }

    fn __repr__(&self) -> String {
        let state = match (self.0.has_begun(), self.0.is_done()) {
            (false, _) => "not begun",
            (true, false) => "running",
            (true, true) => "ended",
        };
        let (path, samples) = (self.0.path().display(), self.0.progress().samples);
        format!("<Recording to {path}, {state}, {samples} samples>")
    }

    // For `_aio.py`.

    /// Blocks, without the GIL.
    fn _open(&self, py: Python<'_>) -> Outcome<()> {
        Ok(py.detach(|| self.0.begin())?)
    }

    /// Ends it if it has begun, and as soon as it has; doesn't wait for that.
    fn _abandon(&self) {
        self.0.abandon();
    }
}

getters! { Recording, "Recording", |this, _py|
    done: bool = this.0.is_done();
    files: Vec<PathBuf> = this.0.progress().files;
    samples: u64 = this.0.progress().samples;
    lost: u64 = this.0.progress().lost;
    trouble: Option<String> = this.0.progress().trouble;
}
