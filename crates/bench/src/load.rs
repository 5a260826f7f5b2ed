//! What else the machine has to do meanwhile.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use v2m_error::{Error, ErrorKind, Result};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// None of our making.
    #[default]
    None,
    /// A busy thread for every core.
    Cpu,
    /// A thread that runs pure Python in each Python receiver.
    Gil,
}

impl Load {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cpu => "cpu",
            Self::Gil => "gil",
        }
    }
}

impl FromStr for Load {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::None, Self::Cpu, Self::Gil]
            .into_iter()
            .find(|load| load.name() == text)
            .ok_or_else(|| {
                let message = format!("\"{text}\" is no load: write none, cpu or gil");
                Error::new(ErrorKind::Invalid, message)
            })
    }
}

/// The busy threads; stopped when dropped.
#[derive(Debug, Default)]
pub struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    /// Starts what `load` asks for in this process.
    pub fn start(load: Load) -> Self {
        let mut hogs = Self::default();
        if load == Load::Cpu {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            for _ in 0..cores {
                let stop = hogs.stop.clone();
                hogs.threads.push(std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }));
            }
        }
        hogs
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
