//! Recordings and live sources through the network: windows that are there already go through
//! its layers together, those of one recording and those of others.

use super::network::{State, Tile};
use super::{Network, TILE, transform};
use crate::Result;
use crate::cpu::{Path, Runnable};

/// Recordings whose LSTMs advance together: as many as one pass over the weights serves.
pub const TOGETHER: usize = 4;

/// What the network remembers of a recording.
#[derive(Clone)]
pub struct Memory(State);

impl Memory {
    /// Of one that begins.
    pub fn new() -> Self {
        Self(State::new())
    }

    /// See [`Model::set_retention`](crate::vad::Model::set_retention).
    pub fn set_retention(&mut self, retention: f32) {
        self.0.retention = retention;
    }

    /// Forgets what was heard, not how to hear.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Samples so far that were no usable number and counted as silence.
    pub fn unusable_samples(&self) -> u64 {
        self.0.unusable
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// What comes next of one recording, and where its probabilities go.
pub struct Part<'a> {
    /// What the network remembers of the windows before.
    pub memory: &'a mut Memory,
    /// Whole windows.
    pub samples: &'a [f32],
    /// One probability for each of them is appended.
    pub out: &'a mut Vec<f32>,
}

/// A workspace for recordings of one rate.
///
/// Equal within rounding to one window after the other, and faster: all but the LSTM's
/// recurrence runs on 16 windows at once, that on 4 recordings. A window that is alone is
/// judged as by [`Native`](super::Native), to the bit.
pub struct Recordings {
    network: Network,
    path: Runnable,
    tile: Box<Tile>,
}

impl Recordings {
    /// For `network`, with this CPU's fastest instructions.
    pub fn new(network: Network) -> Self {
        Self::with_path(network, Path::best()).expect("the best path is available")
    }

    /// With the instructions of `path`.
    ///
    /// Errors: [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the CPU lacks them.
    pub fn with_path(network: Network, path: Path) -> Result<Self> {
        let path = Runnable::new(path)?;
        let tile = Box::new(Tile::new(path.path(), network.weights.shape, TILE));
        Ok(Self {
            network,
            path,
            tile,
        })
    }

    /// What runs: model and instructions.
    pub fn name(&self) -> String {
        self.path.name(&self.network)
    }

    /// Judges what is there of each recording, in any lengths.
    ///
    /// # Panics
    /// If samples are no whole windows.
    pub fn advance(&mut self, parts: &mut [Part<'_>]) {
        for group in parts.chunks_mut(TOGETHER) {
            self.advance_group(group);
        }
    }

    fn advance_group(&mut self, group: &mut [Part<'_>]) {
        let window = self.network.window();
        assert!(group.iter().all(|p| p.samples.len().is_multiple_of(window)));
        loop {
            let mut going: [Option<&mut Part<'_>>; TOGETHER] = [const { None }; TOGETHER];
            let (mut count, mut windows) = (0, TILE);
            for part in group.iter_mut().filter(|part| !part.samples.is_empty()) {
                windows = windows.min(part.samples.len() / window);
                going[count] = Some(part);
                count += 1;
            }
            if count == 0 {
                return;
            }
            self.step(&mut going[..count], windows.min(TILE / count));
        }
    }

    /// The next `windows` of each: in the tile the first ones of all, then the second ones.
    fn step(&mut self, parts: &mut [Option<&mut Part<'_>>], windows: usize) {
        let Self {
            network,
            path,
            tile,
        } = self;
        let window = network.window();
        let together = parts.len();
        for (row, part) in parts.iter_mut().flatten().enumerate() {
            let state = &mut part.memory.0;
            for n in 0..windows {
                let (now, later) = part.samples.split_at(window);
                transform(*path, tile, n * together + row, state, now);
                part.samples = later;
            }
            tile.hidden[row] = state.hidden;
            tile.cell[row] = state.cell;
        }
        path.encode(&network.weights, tile, windows * together);
        for n in 0..windows {
            path.recur(&network.weights, tile, n * together, 0, together);
            for (row, part) in parts.iter_mut().flatten().enumerate() {
                let retention = part.memory.0.retention;
                tile.cell[row] = tile.cell[row].map(|c| retention * c);
                part.out.push(tile.probabilities[n * together + row]);
            }
        }
        for (row, part) in parts.iter_mut().flatten().enumerate() {
            let state = &mut part.memory.0;
            state.hidden = tile.hidden[row];
            state.cell = tile.cell[row];
        }
    }
}
