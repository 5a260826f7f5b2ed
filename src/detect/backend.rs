//! Which implementation of the model runs, and with what: as configured.

#[cfg(feature = "ort")]
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use super::Model;
use super::hearing::Hearing;
#[cfg(feature = "ort")]
use super::ort::Ort;
use super::place::Cpu;
#[cfg(feature = "ort")]
use super::runtime::Places;
use v2m_error::Result;
#[cfg(not(feature = "ort"))]
use v2m_error::{Error, ErrorKind};

/// An implementation of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ModelBackend {
    /// Built in; needs nothing.
    #[default]
    Native,
    /// ONNX Runtime, which is looked for.
    Ort,
    /// No speech track.
    Off,
}

impl ModelBackend {
    /// As it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Ort => "ort",
            Self::Off => "off",
        }
    }
}

/// What is configured for speech detection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The implementation.
    pub backend: ModelBackend,
    /// Whether it hears as Silero does, or better.
    pub hearing: Hearing,
    /// Other weights than those built in: safetensors for native, ONNX for ort.
    pub model: Option<PathBuf>,
    /// Where the worker runs.
    pub cpu: Cpu,
    /// ONNX Runtime's library.
    pub onnxruntime: Option<PathBuf>,
    /// The directory of a client's Python package `onnxruntime`.
    pub python: Option<PathBuf>,
}

impl Settings {
    /// A model run by ONNX Runtime.
    ///
    /// Errors: the reason why it can't run, and what to do.
    #[cfg(feature = "ort")]
    pub fn ort(&self) -> Result<Box<dyn Model>> {
        let ort = Ort::new(&self.places(), self.model.as_deref())?;
        Ok(self.hearing.apply(Box::new(ort)))
    }

    /// Errors: it is not in this build.
    #[cfg(not(feature = "ort"))]
    pub fn ort(&self) -> Result<Box<dyn Model>> {
        let message = "this build runs no model by ONNX Runtime: use the backend native, \
                       or a build with the feature ort";
        Err(Error::new(ErrorKind::Invalid, message))
    }

    /// Where ONNX Runtime may be.
    #[cfg(feature = "ort")]
    pub fn places(&self) -> Places {
        Places {
            configured: self.onnxruntime.clone(),
            package: std::env::current_exe()
                .ok()
                .and_then(|program| package(&program)),
            python: self.python.clone(),
        }
    }
}

/// The package's own directory: `lib/v2m-engine` beside the program's `bin`, or
/// the program's where it is alone.
#[cfg(feature = "ort")]
fn package(program: &Path) -> Option<PathBuf> {
    let directory = program.parent()?;
    let own = directory.parent().map(|up| up.join("lib/v2m-engine"));
    own.filter(|own| own.is_dir())
        .or_else(|| Some(directory.into()))
}
