//! Silero VAD without a runtime: the networks of `docs/vad.md`, for 16 and for 8 kHz, in
//! plain Rust.
//!
//! [`Network`] is the weights, read and packed once and shared by all streams.
//! [`Native`] is one stream, window by window, and [`Recordings`] any number of them, live or
//! all there. No call on a window allocates.

mod dispatch;
mod kernels;
mod matrix;
mod network;
mod recordings;
mod stft;
#[cfg(test)]
mod tests;
mod weights;

pub use crate::cpu::Path;
pub use recordings::{Memory, Part, Recordings, TOGETHER};

use super::{Model, SAMPLE_RATE, WINDOW};
use crate::cpu::Runnable;
use crate::{Error, ErrorKind, Result, files};
use network::{State, Tile};
use std::sync::{Arc, OnceLock};
use weights::Weights;

/// Bytes of a model's file, at most.
const MODEL: u64 = 256 << 20;

/// Frames of one window.
const FRAMES: usize = 4;
/// Size of the LSTM.
const HIDDEN: usize = 128;
/// Windows that go through the layers together where there are many: enough to
/// read each weight rarely, few enough that the activations stay in the L1 and L2 caches.
const TILE: usize = 16;

/// The weights of the models in the package.
static EMBEDDED: &[u8] = include_bytes!("../../models/silero_vad_16k.safetensors");
static EMBEDDED_8K: &[u8] = include_bytes!("../../models/silero_vad_8k.safetensors");

/// What the networks of the two rates differ in; everything is a multiple of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// Samples of one STFT frame: 16 ms. Frames begin half of that apart.
    frame: usize,
}

impl Shape {
    /// Samples of a window: 32 ms.
    const fn window(self) -> usize {
        2 * self.frame
    }

    /// Samples of the window before that a window is judged with.
    const fn context(self) -> usize {
        self.frame / 4
    }

    /// Frequencies of one frame, 0 to half the sample rate.
    const fn bins(self) -> usize {
        self.frame / 2 + 1
    }
}

const AT_16K: Shape = Shape { frame: 256 };
const AT_8K: Shape = Shape { frame: 128 };

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

    /// The model for audio of 8 kHz, likewise.
    pub fn embedded_8k() -> Self {
        static SHARED: OnceLock<Network> = OnceLock::new();
        let load = || Self::parse_8k(EMBEDDED_8K).expect("the embedded weights are tested");
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
            weights: Arc::new(Weights::parse(safetensors, AT_16K)?),
            name: "silero-vad 16 kHz".into(),
        })
    }

    fn parse_8k(safetensors: &[u8]) -> Result<Self> {
        Ok(Self {
            weights: Arc::new(Weights::parse(safetensors, AT_8K)?),
            name: "silero-vad 8 kHz".into(),
        })
    }

    /// Samples per second of the audio that it judges: 16000 or 8000.
    pub fn rate(&self) -> u32 {
        SAMPLE_RATE / (AT_16K.frame / self.weights.shape.frame) as u32
    }

    /// Samples of a window: 512 or 256.
    pub fn window(&self) -> usize {
        self.weights.shape.window()
    }

    /// The weights of [`Network::embedded`] as they were read: a safetensors file.
    pub fn embedded_file() -> &'static [u8] {
        EMBEDDED
    }

    /// Bytes of weights that one window reads.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Live streams have 16 kHz, whatever their source has.
    fn live(&self) -> Result<()> {
        if self.weights.shape == AT_16K {
            return Ok(());
        }
        let message = "the network for 8 kHz judges recordings only; take the one for 16 kHz";
        Err(Error::new(ErrorKind::Invalid, message))
    }
}

/// One stream through the network.
pub struct Native {
    network: Network,
    path: Runnable,
    state: State,
    tile: Tile,
    name: String,
}

impl Native {
    /// A stream through the embedded model, with this CPU's fastest instructions.
    pub fn new() -> Self {
        Self::with_path(Network::embedded(), Path::best()).expect("the best path is available")
    }

    /// A stream through `network` with the instructions of `path`.
    ///
    /// Errors: [`ErrorKind::Invalid`] where the CPU lacks them, and for a network of 8 kHz.
    pub fn with_path(network: Network, path: Path) -> Result<Self> {
        network.live()?;
        let path = Runnable::new(path)?;
        let name = path.name(&network);
        let tile = Tile::new(path.path(), AT_16K, 1);
        Ok(Self {
            network,
            path,
            state: State::new(),
            tile,
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

/// One window of one stream into its row of the tile's spectrum.
fn transform(path: Runnable, tile: &mut Tile, row: usize, state: &mut State, window: &[f32]) {
    let context = tile.shape().context();
    tile.load(&state.context[..context], window);
    path.spectrum(tile, row);
    state.context[..context].copy_from_slice(tile.context());
    state.unusable += tile.unusable;
}
