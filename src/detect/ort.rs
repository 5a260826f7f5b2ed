//! The VAD model through ONNX Runtime: the reference, and other files of the model.
//!
//! Any of silero-vad's 16 kHz ONNX files will do: their inputs and outputs are
//! told apart by name. One thread, no spinning, tensors bound once.

use super::native::Network;
use super::runtime::{Places, Runtime, find};
use super::{CONTEXT, LARGEST_SAMPLE, Model, SAMPLE_RATE, WINDOW};
use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::builder::SessionBuilder;
use ort::session::{IoBinding, Session};
use ort::value::Tensor;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use v2m_error::{Error, ErrorKind, Result};
use v2m_files as files;

/// Bytes of a model's file, at most.
const MODEL: u64 = 256 << 20;

/// The same network as [`super::native`]'s, the file that runs fastest: its graph. The weights
/// are those of the native backend, which it finds by this name and their offsets.
static EMBEDDED: &[u8] = include_bytes!("../../crates/dsp/models/silero_vad_16k.onnx");
const WEIGHTS: &str = "silero_vad_16k.safetensors";

/// Names of the recurrent inputs, each with the output that holds its next value.
const STATES: [(&str, &str); 3] = [("state", "stateN"), ("h", "hn"), ("c", "cn")];
/// Values of the LSTM's output, and of its cells.
const HIDDEN: usize = 128;
/// Names of the output that holds the probability.
const PROBABILITY: [&str; 2] = ["output", "speech_probs"];

/// One stream through a session of its own.
pub struct Ort {
    session: Session,
    binding: IoBinding,
    /// Shape [1, 576]: context and window.
    input: Tensor<f32>,
    /// Each with the output that holds its next value, and where the LSTM's cells are in it.
    states: Vec<(Tensor<f32>, &'static str, Range<usize>)>,
    retention: f32,
    output: &'static str,
    unusable: u64,
    name: String,
}

impl Ort {
    /// A stream through `model`, an ONNX file (the embedded model if there is none), with the
    /// ONNX Runtime that is found by `places`. A process keeps the first one that it found.
    ///
    /// Errors: those of [`find`]; [`ErrorKind::Invalid`] if the model can't be
    /// read or has other inputs and outputs than Silero's.
    pub fn new(places: &Places, model: Option<&Path>) -> Result<Self> {
        let runtime = load(places)?;
        let (session, file) = match model {
            None => (embedded(), "silero_vad_16k.onnx".to_string()),
            Some(path) => {
                let file = path.display().to_string();
                let bytes = files::read(path, MODEL).map_err(|e| refused(&file, e))?;
                let session =
                    builder().and_then(|mut builder| Ok(builder.commit_from_memory(&bytes)?));
                (session, file)
            }
        };
        let session = session.map_err(|e| refused(&file, e))?;
        let name = format!("{file}, ONNX Runtime {}", runtime.version);
        Self::bind(session, name).map_err(|e| refused(&file, e))
    }

    fn bind(session: Session, name: String) -> Result<Self, Box<dyn std::error::Error>> {
        let inputs: Vec<&str> = session.inputs().iter().map(|i| i.name()).collect();
        let outputs: Vec<&str> = session.outputs().iter().map(|o| o.name()).collect();
        let output = PROBABILITY.into_iter().find(|name| outputs.contains(name));
        let known = |name: &&str| {
            ["input", "sr"].contains(name) || STATES.iter().any(|(state, _)| state == name)
        };
        let (true, true, Some(output)) =
            (inputs.contains(&"input"), inputs.iter().all(known), output)
        else {
            return Err(format!("it has inputs {inputs:?} and outputs {outputs:?}, not those of Silero's 16 kHz model").into());
        };
        let mut binding = session.create_binding()?;
        // Memory of the runtime's own, so that binding it shares it instead of copying.
        let zeros = |shape: &[usize]| -> ort::Result<Tensor<f32>> {
            let mut tensor = Tensor::new(&Allocator::default(), shape)?;
            tensor.extract_tensor_mut().1.fill(0.0);
            Ok(tensor)
        };
        let input = zeros(&[1, CONTEXT + WINDOW])?;
        binding.bind_input("input", &input)?;
        if inputs.contains(&"sr") {
            let mut rate = Tensor::<i64>::new(&Allocator::default(), [0usize; 0])?;
            rate.extract_tensor_mut().1.fill(i64::from(SAMPLE_RATE));
            binding.bind_input("sr", &rate)?;
        }
        let mut states = Vec::new();
        for (state, next) in STATES {
            if inputs.contains(&state) {
                let (parts, cells) = match state {
                    "state" => (2, HIDDEN..2 * HIDDEN),
                    "c" => (1, 0..HIDDEN),
                    _ => (1, 0..0),
                };
                let tensor = zeros(&[parts, 1, HIDDEN])?;
                binding.bind_input(state, &tensor)?;
                binding.bind_output(next, zeros(&[parts, 1, HIDDEN])?)?;
                states.push((tensor, next, cells));
            }
        }
        let ranks = session.outputs().iter().find(|o| o.name() == output);
        let shape = ranks
            .and_then(|o| o.dtype().tensor_shape())
            .map_or(2, |shape| shape.len());
        binding.bind_output(output, zeros(&vec![1; shape])?)?;
        Ok(Self {
            session,
            binding,
            input,
            states,
            retention: 1.0,
            output,
            unusable: 0,
            name,
        })
    }
}

impl Model for Ort {
    fn probability(&mut self, window: &[f32; WINDOW]) -> Result<f32> {
        let (_, input) = self.input.extract_tensor_mut();
        input.copy_within(WINDOW.., 0);
        for (to, &x) in input[CONTEXT..].iter_mut().zip(window) {
            let usable = x.abs() <= LARGEST_SAMPLE;
            self.unusable += u64::from(!usable);
            *to = if usable { x } else { 0.0 };
        }
        let failed = |e: ort::Error| Error::new(ErrorKind::System, format!("ONNX Runtime: {e}"));
        let outputs = self.session.run_binding(&self.binding).map_err(failed)?;
        for (state, next, cells) in &mut self.states {
            let (_, next) = outputs[*next].try_extract_tensor::<f32>().map_err(failed)?;
            let state = state.extract_tensor_mut().1;
            state.copy_from_slice(next);
            for c in &mut state[cells.clone()] {
                *c *= self.retention;
            }
        }
        let (_, p) = outputs[self.output]
            .try_extract_tensor::<f32>()
            .map_err(failed)?;
        Ok(p.first().copied().unwrap_or(0.0))
    }

    fn reset(&mut self) {
        self.input.extract_tensor_mut().1.fill(0.0);
        for (state, ..) in &mut self.states {
            state.extract_tensor_mut().1.fill(0.0);
        }
    }

    fn set_retention(&mut self, retention: f32) {
        self.retention = retention;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn unusable_samples(&self) -> u64 {
        self.unusable
    }
}

fn refused(file: &str, why: impl Display) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!(
            "cannot use the VAD model {file}: {why}; use one of silero-vad's 16 kHz ONNX files"
        ),
    )
}

/// The process' ONNX Runtime, loaded by the first caller whose search succeeds.
fn load(places: &Places) -> Result<Runtime> {
    static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*loaded {
        return Ok(runtime.clone());
    }
    let runtime = find(places)?;
    let builder = ort::init_from(&runtime.path).map_err(|e| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot load ONNX Runtime: {e}"),
        )
    })?;
    let environment = builder
        .with_name("v2m-engine")
        .with_telemetry(false)
        .build()
        .map_err(|e| {
            Error::new(
                ErrorKind::Unavailable,
                format!("cannot start ONNX Runtime: {e}"),
            )
        })?;
    // The search holds the lock, so it is set once.
    let _ = ENVIRONMENT.set(environment);
    Ok(loaded.insert(runtime).clone())
}

static ENVIRONMENT: std::sync::OnceLock<Environment> = std::sync::OnceLock::new();

fn embedded() -> Result<Session, Box<dyn std::error::Error>> {
    let weights = Network::embedded_file().into();
    let mut builder = builder()?.with_external_initializer_file_in_memory(WEIGHTS, weights)?;
    Ok(builder.commit_from_memory(EMBEDDED)?)
}

/// One thread (the caller's), no spinning, all optimisations.
fn builder() -> Result<SessionBuilder, Box<dyn std::error::Error>> {
    let environment = ENVIRONMENT.get().ok_or("ONNX Runtime is not loaded")?;
    Ok(Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_log_level(ort::logging::LogLevel::Error)?)
}
