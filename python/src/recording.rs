//! `Recording`: the client's recorder, on a thread that no GIL can hold up.

use std::path::PathBuf;

use pyo3::prelude::*;
use v2m_client::record::Once;

use crate::errors::{self, V2MError};
use crate::params;
use crate::source::{aio, signals};

#[doc = doc!("Recording")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct Recording(pub(crate) Once);

#[pymethods]
impl Recording {
    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        slf.get()._open(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*exception))]
    fn __exit__(&self, py: Python<'_>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
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
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = params::timeout(timeout)?;
        if !self.0.has_begun() {
            return Err(V2MError::new_err(
                "the recording has not begun: use it with `with` or `async with`",
            ));
        }
        Ok(py.detach(|| self.0.wait(timeout, signals))?)
    }

    #[doc = doc!("Recording.close")]
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.0.close(signals))?)
    }

    #[doc = doc!("Recording.done")]
    #[getter]
    fn done(&self) -> bool {
        self.0.is_done()
    }

    #[doc = doc!("Recording.files")]
    #[getter]
    fn files(&self) -> Vec<PathBuf> {
        self.0.progress().files
    }

    #[doc = doc!("Recording.samples")]
    #[getter]
    fn samples(&self) -> u64 {
        self.0.progress().samples
    }

    #[doc = doc!("Recording.lost")]
    #[getter]
    fn lost(&self) -> u64 {
        self.0.progress().lost
    }

    #[doc = doc!("Recording.trouble")]
    #[getter]
    fn trouble(&self) -> Option<String> {
        self.0.progress().trouble
    }

    fn __repr__(&self) -> String {
        let state = match (self.0.has_begun(), self.done()) {
            (false, _) => "not begun",
            (true, false) => "running",
            (true, true) => "ended",
        };
        let (path, samples) = (self.0.path().display(), self.samples());
        format!("<Recording to {path}, {state}, {samples} samples>")
    }

    // For `_aio.py`.

    /// Blocks, without the GIL.
    fn _open(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.begin()).map_err(errors::raise)
    }

    /// Ends it if it has begun, and as soon as it has; doesn't wait for that.
    fn _abandon(&self) {
        self.0.abandon();
    }
}
