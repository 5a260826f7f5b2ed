//! Which implementation of the model runs, and with what: as configured.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Model;
use super::native::{self, Native, Network};
use super::ort::Ort;
use super::place::Cpu;
use super::runtime::Places;
use crate::error::Result;

/// An implementation of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Built in; needs nothing.
    #[default]
    Native,
    /// ONNX Runtime, which is looked for.
    Ort,
    /// No speech track.
    Off,
}

impl Backend {
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
    pub backend: Backend,
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
    /// The model as configured; none if speech detection is off.
    ///
    /// Errors: the reason why it can't run, and what to do.
    pub fn open(&self) -> Result<Option<Box<dyn Model>>> {
        let model = self.model.as_deref();
        Ok(match self.backend {
            Backend::Off => None,
            Backend::Native => {
                let network = model.map_or_else(|| Ok(Network::embedded()), Network::read)?;
                Some(Box::new(Native::with_path(network, native::Path::best())?))
            }
            Backend::Ort => Some(Box::new(Ort::new(&self.places(), model)?)),
        })
    }

    /// Where ONNX Runtime may be.
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
fn package(program: &Path) -> Option<PathBuf> {
    let directory = program.parent()?;
    let own = directory.parent().map(|up| up.join("lib/v2m-engine"));
    own.filter(|own| own.is_dir())
        .or_else(|| Some(directory.into()))
}
