//! `Health` and `Finding`: what the engine says is wrong with a stream's source.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};
use v2m_client::ring::State;
use v2m_client::status::{FindingStatus, Status};

/// How long an engine may take to say how it is: a program can't wait for one that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

#[doc = doc!("Health")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct Health {
    /// Why nothing is captured; None: something is.
    waiting: Option<String>,
    findings: Vec<FindingStatus>,
}

impl Health {
    pub(crate) fn new(status: Status) -> Self {
        let captures = matches!(status.state, State::Running | State::Ended);
        let why = status.source.waiting;
        Self {
            waiting: (!captures).then(|| why.unwrap_or_else(|| "nothing is captured yet".into())),
            findings: status.health,
        }
    }
}

#[pymethods]
impl Health {
    #[doc = doc!("Health.ok")]
    #[getter]
    fn ok(&self) -> bool {
        self.waiting.is_none() && self.findings.is_empty()
    }

    #[doc = doc!("Health.waiting")]
    #[getter]
    fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }

    #[doc = doc!("Health.findings")]
    #[getter]
    fn findings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.findings.iter().cloned().map(Finding))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.findings(py)?.try_iter()
    }

    fn __str__(&self) -> String {
        let waiting = self.waiting.iter().map(|why| format!("no audio: {why}"));
        let findings = self.findings.iter().map(line);
        let lines: Vec<String> = waiting.chain(findings).collect();
        match lines.is_empty() {
            true => "ok".into(),
            false => lines.join("\n"),
        }
    }

    fn __repr__(&self) -> String {
        let kinds = self.findings.iter().map(|finding| finding.kind.as_str());
        let waiting = self.waiting.iter().map(|_| "no audio");
        let all: Vec<&str> = waiting.chain(kinds).collect();
        match all.is_empty() {
            true => "<Health: ok>".into(),
            false => format!("<Health: {}>", all.join(", ")),
        }
    }
}

#[doc = doc!("Finding")]
#[pyclass(frozen, module = "v2m_engine")]
pub(crate) struct Finding(FindingStatus);

#[pymethods]
impl Finding {
    #[doc = doc!("Finding.kind")]
    #[getter]
    fn kind(&self) -> &str {
        &self.0.kind
    }

    #[doc = doc!("Finding.text")]
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    #[doc = doc!("Finding.remedy")]
    #[getter]
    fn remedy(&self) -> &str {
        &self.0.remedy
    }

    #[doc = doc!("Finding.position")]
    #[getter]
    fn position(&self) -> u64 {
        self.0.position
    }

    #[doc = doc!("Finding.time_ns")]
    #[getter]
    fn time_ns(&self) -> i64 {
        self.0.time_ns
    }

    #[doc = doc!("Finding.since")]
    #[getter]
    fn since(&self) -> f64 {
        self.0.time_ns as f64 / 1e9
    }

    #[doc = doc!("Finding.value")]
    #[getter]
    fn value(&self) -> Option<f64> {
        self.0.value
    }

    #[doc = doc!("Finding.unit")]
    #[getter]
    fn unit(&self) -> Option<&str> {
        self.0.unit.as_deref()
    }

    fn __str__(&self) -> String {
        line(&self.0)
    }

    fn __repr__(&self) -> String {
        format!("<Finding {}: {}>", self.0.kind, self.0.text)
    }
}

fn line(finding: &FindingStatus) -> String {
    format!("{}  -> {}", finding.text, finding.remedy)
}
