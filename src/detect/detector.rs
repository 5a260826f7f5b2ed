//! The model, judging any number of sources. Windows that are due at once go through the
//! built-in network together, so that its weights are read once for them.
//!
//! A source alone gets the same probabilities to the bit as from a network of its own; beside
//! others, where sums are taken in another order, the same within 1e-5.

use super::backend::{ModelBackend, Settings};
use super::hearing::{Conditioner, Hearing, RETENTION};
use super::native::{Memory, Network, Part, Recordings};
use super::{Model, SAMPLE_RATE, WINDOW};
use v2m_error::Result;

/// Windows that are judged together, at most: as many as one pass over the weights serves.
pub use super::native::TOGETHER;

/// The model as configured.
pub struct Detector {
    runs: Runs,
    name: String,
}

enum Runs {
    /// The built-in network, shared by all sources.
    Native(Box<Recordings>, Hearing),
    /// ONNX Runtime, with a model for each source, one after the other; the first source's
    /// was opened to see whether it can be.
    Each(Settings, Option<Box<dyn Model>>),
}

/// What the detector remembers of one source.
pub struct DetectorSession(Remembered);

enum Remembered {
    Native(Box<NativeSession>),
    Own(Box<dyn Model>),
}

/// One source's part of the network that all share.
struct NativeSession {
    memory: Memory,
    conditioner: Option<Conditioner>,
    /// One probability at a time; kept for its memory.
    out: Vec<f32>,
}

/// A source's next window, and what is found in it.
pub struct Due<'a> {
    /// Of the source.
    pub session: &'a mut DetectorSession,
    /// Its samples; afterwards as the network heard them.
    pub window: &'a mut [f32; WINDOW],
    /// The probability of speech, once it is judged.
    pub found: Result<f32>,
}

impl Detector {
    /// The model as configured; none if speech detection is off.
    ///
    /// Errors: the reason why it can't run, and what to do.
    pub fn open(settings: &Settings) -> Result<Option<Self>> {
        let (runs, name) = match settings.backend {
            ModelBackend::Off => return Ok(None),
            ModelBackend::Native => {
                let file = settings.model.as_deref();
                let network = file.map_or_else(|| Ok(Network::embedded()), Network::read)?;
                let network = Recordings::new(network);
                let name = settings.hearing.model_name(&network.name());
                (Runs::Native(Box::new(network), settings.hearing), name)
            }
            ModelBackend::Ort => {
                let model = settings.ort()?;
                let name = model.name().into();
                (Runs::Each(settings.clone(), Some(model)), name)
            }
        };
        Ok(Some(Self { runs, name }))
    }

    /// What runs, for `status`: implementation and model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For a source that was not heard before.
    ///
    /// Errors: as [`open`](Self::open)'s.
    pub fn session(&mut self) -> Result<DetectorSession> {
        let remembered = match &mut self.runs {
            Runs::Native(_, hearing) => {
                let mut memory = Memory::new();
                let conditioner = (*hearing == Hearing::Enhanced).then(|| {
                    memory.set_retention(RETENTION);
                    Conditioner::new(SAMPLE_RATE)
                });
                Remembered::Native(Box::new(NativeSession {
                    memory,
                    conditioner,
                    out: Vec::with_capacity(1),
                }))
            }
            Runs::Each(settings, first) => {
                Remembered::Own(first.take().map_or_else(|| settings.ort(), Ok)?)
            }
        };
        Ok(DetectorSession(remembered))
    }

    /// Judges one window of each of several sources, at most [`TOGETHER`] of them.
    pub fn judge(&mut self, due: &mut [Due<'_>]) {
        if let Runs::Native(network, _) = &mut self.runs {
            let parts = due.iter_mut().filter_map(Due::part);
            network.advance(&mut parts.collect::<Vec<_>>());
        }
        for due in due {
            due.found = match &mut due.session.0 {
                Remembered::Native(ear) => Ok(ear.out.pop().unwrap_or(f32::NAN)),
                Remembered::Own(model) => model.probability(due.window),
            };
        }
    }
}

impl Due<'_> {
    /// For the network that all share.
    fn part(&mut self) -> Option<Part<'_>> {
        let Remembered::Native(ear) = &mut self.session.0 else {
            return None;
        };
        if let Some(conditioner) = &mut ear.conditioner {
            conditioner.condition(self.window);
        }
        Some(Part {
            memory: &mut ear.memory,
            samples: self.window,
            out: &mut ear.out,
        })
    }
}

impl DetectorSession {
    /// Forgets what came before, as after a gap.
    pub fn reset(&mut self) {
        match &mut self.0 {
            Remembered::Native(ear) => {
                ear.memory.reset();
                ear.conditioner.iter_mut().for_each(Conditioner::reset);
            }
            Remembered::Own(model) => model.reset(),
        }
    }

    /// Samples so far that were NaN, infinite or beyond 1e12, and counted as silence.
    pub fn unusable_samples(&self) -> u64 {
        match &self.0 {
            Remembered::Native(ear) => match &ear.conditioner {
                Some(conditioner) => conditioner.unusable_samples(),
                None => ear.memory.unusable_samples(),
            },
            Remembered::Own(model) => model.unusable_samples(),
        }
    }
}
