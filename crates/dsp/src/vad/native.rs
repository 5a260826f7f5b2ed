//! Silero VAD (16 kHz) without a runtime: the network of `docs/vad.md` in plain Rust.
//!
//! [`Network`] is the weights, read and packed once and shared by all streams.
//! [`Native`] is one stream; [`Native::probabilities`] takes a whole recording,
//! [`Batch`] many streams at once. No call on a window allocates.

#[allow(unsafe_code, reason = "calls what the CPU was found to have")]
mod dispatch;
mod kernels;
mod network;
mod stft;
#[cfg(test)]
mod tests;
mod weights;

pub use dispatch::Path;

use super::{Model, WINDOW};
use crate::{Error, ErrorKind, Result, files};
use dispatch::Runnable;
use network::{State, Tile};
use std::sync::{Arc, OnceLock};
use weights::Weights;

/// Bytes of a model's file, at most.
const MODEL: u64 = 256 << 20;

/// Samples of one STFT frame; frames start 128 samples apart.
const FRAME: usize = 256;
/// Frames of one window.
const FRAMES: usize = 4;
/// Frequencies of one frame, 0 to 8 kHz.
const BINS: usize = FRAME / 2 + 1;
/// Size of the LSTM.
const HIDDEN: usize = 128;
/// Windows that go through the layers together where there are many: enough to
/// read each weight rarely, few enough that the activations stay in the L1 and L2 caches.
const TILE: usize = 16;

/// The weights of the model in the package.
static EMBEDDED: &[u8] = include_bytes!("../../models/silero_vad_16k.safetensors");

/// Silero's weights, checked and packed; cheap to clone and to share between threads.
#[derive(Clone)]
pub struct Network {
    weights: Arc<Weights>,
    name: Arc<str>,
}

impl Network {
    /// The model that is part of this program; packed on the first call, in some 2 ms.
    pub fn embedded() -> Self {
        static SHARED: OnceLock<Network> = OnceLock::new();
        let load = || Self::parse(EMBEDDED).expect("the embedded weights are tested");
        SHARED.get_or_init(load).clone()
    }

    /// Other weights of the same architecture, from a safetensors file.
    ///
    /// Errors: [`ErrorKind::Invalid`], naming the file, if it can't be read, and where
    /// [`Network::parse`] fails.
    pub fn read(file: &std::path::Path) -> Result<Self> {
        let refused = |why: String| {
            let message = format!(
                "cannot use the VAD model {}: {why}; use weights taken out by tools/models/extract.py",
                file.display()
            );
            Error::new(ErrorKind::Invalid, message)
        };
        let bytes = files::read(file, MODEL).map_err(|cause| refused(cause.to_string()))?;
        let network = Self::parse(&bytes).map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            name: file.display().to_string().into(),
            ..network
        })
    }

    /// Other weights of the same architecture, as the bytes of a safetensors file.
    ///
    /// Errors: [`ErrorKind::Invalid`] where a tensor is missing, has another
    /// shape or type, is not finite, or the STFT is not a Hann-windowed DFT.
    pub fn parse(safetensors: &[u8]) -> Result<Self> {
        Ok(Self {
            weights: Arc::new(Weights::parse(safetensors)?),
            name: "silero-vad 16 kHz".into(),
        })
    }

    /// The weights of [`Network::embedded`] as they were read: a safetensors file.
    pub fn embedded_file() -> &'static [u8] {
        EMBEDDED
    }

    /// Bytes of weights that one window reads.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }
}

/// One stream through the network.
pub struct Native {
    network: Network,
    path: Runnable,
    state: State,
    tile: Tile,
    /// For recordings only, made on first use.
    wide: Option<Box<Tile>>,
    name: String,
}

impl Native {
    /// A stream through the embedded model, with this CPU's fastest instructions.
    pub fn new() -> Self {
        Self::with_path(Network::embedded(), Path::best()).expect("the best path is available")
    }

    /// A stream through `network` with the instructions of `path`.
    ///
    /// Errors: [`ErrorKind::Invalid`] where the CPU lacks them.
    pub fn with_path(network: Network, path: Path) -> Result<Self> {
        let name = format!("{}, native {}", network.name, path.name());
        let path = Runnable::new(path)?;
        let tile = Tile::new(path.path(), 1);
        Ok(Self {
            network,
            path,
            state: State::new(),
            tile,
            wide: None,
            name,
        })
    }

    /// The probability of `window`; what [`Model::probability`] returns, which can't fail here.
    pub fn step(&mut self, window: &[f32; WINDOW]) -> f32 {
        let Self {
            network,
            path,
            state,
            tile,
            ..
        } = self;
        transform(*path, tile, 0, state, window);
        path.encode(&network.weights, tile, 1);
        tile.hidden[0] = state.hidden;
        tile.cell[0] = state.cell;
        path.recur(&network.weights, tile, 0, 0, 1);
        state.hidden = tile.hidden[0];
        state.cell = tile.cell[0].map(|c| state.retention * c);
        tile.probabilities[0]
    }

    /// The probabilities of windows that follow each other, into `out`.
    ///
    /// Equal to as many calls of [`Native::step`] within rounding, and faster:
    /// all but the LSTM's recurrence runs on many windows at once.
    ///
    /// # Panics
    /// If `out` is not as long as `windows`.
    pub fn probabilities(&mut self, windows: &[[f32; WINDOW]], out: &mut [f32]) {
        assert_eq!(windows.len(), out.len(), "one probability per window");
        let Self {
            network,
            path,
            state,
            wide,
            ..
        } = self;
        let tile = wide.get_or_insert_with(|| Box::new(Tile::new(path.path(), TILE)));
        tile.hidden[0] = state.hidden;
        tile.cell[0] = state.cell;
        for (windows, out) in windows.chunks(TILE).zip(out.chunks_mut(TILE)) {
            for (row, window) in windows.iter().enumerate() {
                transform(*path, tile, row, state, window);
            }
            path.encode(&network.weights, tile, windows.len());
            for row in 0..windows.len() {
                path.recur(&network.weights, tile, row, 0, 1);
                tile.cell[0] = tile.cell[0].map(|c| state.retention * c);
            }
            out.copy_from_slice(&tile.probabilities[..out.len()]);
        }
        state.hidden = tile.hidden[0];
        state.cell = tile.cell[0];
    }
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl Model for Native {
    fn probability(&mut self, window: &[f32; WINDOW]) -> Result<f32> {
        Ok(self.step(window))
    }

    fn reset(&mut self) {
        self.state.reset();
    }

    fn set_retention(&mut self, retention: f32) {
        self.state.retention = retention;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn unusable_samples(&self) -> u64 {
        self.state.unusable
    }
}

/// Many streams that advance together, a window each per call; every weight is
/// read once for a tile of streams.
pub struct Batch {
    network: Network,
    path: Runnable,
    states: Vec<State>,
    tile: Tile,
}

impl Batch {
    /// `streams` streams through `network`.
    ///
    /// Errors: [`ErrorKind::Invalid`] where the CPU lacks the instructions of `path`.
    pub fn new(network: Network, path: Path, streams: usize) -> Result<Self> {
        let path = Runnable::new(path)?;
        let tile = Tile::new(path.path(), streams.clamp(1, TILE));
        Ok(Self {
            network,
            path,
            states: vec![State::new(); streams],
            tile,
        })
    }

    /// The probability of each stream's next window, into `out`.
    ///
    /// Errors: [`ErrorKind::Invalid`] unless there are as many windows and outputs as streams.
    pub fn probabilities(&mut self, windows: &[[f32; WINDOW]], out: &mut [f32]) -> Result<()> {
        let streams = self.states.len();
        if windows.len() != streams || out.len() != streams {
            let (given, room) = (windows.len(), out.len());
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{given} windows and room for {room} results for {streams} streams; give one of each per stream"
                ),
            ));
        }
        let Self {
            network,
            path,
            states,
            tile,
        } = self;
        let size = tile.rows();
        let chunks = states.chunks_mut(size).zip(windows.chunks(size));
        for ((states, windows), out) in chunks.zip(out.chunks_mut(size)) {
            let rows = states.len();
            for (row, (state, window)) in states.iter_mut().zip(windows).enumerate() {
                transform(*path, tile, row, state, window);
                tile.hidden[row] = state.hidden;
                tile.cell[row] = state.cell;
            }
            path.encode(&network.weights, tile, rows);
            path.recur(&network.weights, tile, 0, 0, rows);
            for (row, state) in states.iter_mut().enumerate() {
                state.hidden = tile.hidden[row];
                state.cell = tile.cell[row];
            }
            out.copy_from_slice(&tile.probabilities[..rows]);
        }
        Ok(())
    }

    /// Forgets what came before on one stream.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn reset(&mut self, stream: usize) {
        self.states[stream].reset();
    }

    /// Samples of one stream so far that were no usable number and counted as silence.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn unusable_samples(&self, stream: usize) -> u64 {
        self.states[stream].unusable
    }
}

/// One window of one stream into its row of the tile's spectrum.
fn transform(
    path: Runnable,
    tile: &mut Tile,
    row: usize,
    state: &mut State,
    window: &[f32; WINDOW],
) {
    tile.load(&state.context, window);
    path.spectrum(tile, row);
    state.context = *tile.context();
    state.unusable += tile.unusable;
}
