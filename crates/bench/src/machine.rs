//! What the numbers were measured on.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine at the time of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    /// How many of its cores may be used.
    pub cores: usize,
    /// The kernel's release and kind of preemption.
    pub kernel: String,
    /// Load average over a minute before the run.
    pub load_average: f64,
    /// Seconds since 1970.
    pub unix_time: u64,
}

impl Machine {
    pub fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find(|line| line.starts_with("model name"));
        let system = nix::sys::utsname::uname().ok();
        let text = |part: Option<&std::ffi::OsStr>| {
            part.unwrap_or_default().to_string_lossy().into_owned()
        };
        let release = text(system.as_ref().map(|system| system.release()));
        let build = text(system.as_ref().map(|system| system.version()));
        let preemption = build.split(' ').find(|word| word.starts_with("PREEMPT"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            cpu: model
                .and_then(|line| line.split(": ").nth(1))
                .unwrap_or("unknown processor")
                .trim()
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: match preemption {
                Some(kind) => format!("{release} {kind}"),
                None => release,
            },
            load_average: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0.0),
            unix_time: now.map_or(0, |now| now.as_secs()),
        }
    }
}
