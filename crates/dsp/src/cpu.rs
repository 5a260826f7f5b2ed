//! Which instructions this CPU has: inner loops are compiled once per set, and chosen at run time.

use crate::{Error, ErrorKind, Result};

/// A set of instructions that inner loops are compiled for.
///
/// `Portable` is what every CPU of the architecture has: SSE2 on x86-64; on
/// aarch64 that is NEON with fused multiply-add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The architecture's baseline.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, VL, DQ and BW.
    Avx512,
}

impl Path {
    /// The paths that this CPU can run, slowest first.
    pub fn available() -> impl Iterator<Item = Path> {
        [Path::Portable, Path::Avx2, Path::Avx512]
            .into_iter()
            .filter(|path| path.runs_here())
    }

    /// The fastest path that this CPU can run.
    pub fn best() -> Path {
        Path::available().last().unwrap_or(Path::Portable)
    }

    /// `portable`, `neon`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Path::Portable if cfg!(target_arch = "aarch64") => "neon",
            Path::Portable => "portable",
            Path::Avx2 => "avx2",
            Path::Avx512 => "avx512",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn runs_here(self) -> bool {
        match self {
            Path::Portable => true,
            Path::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Path::Avx512 => {
                Path::Avx2.runs_here()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn runs_here(self) -> bool {
        self == Path::Portable
    }
}

/// A path that was found to run on this CPU; there is no other way to make one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runnable(Path);

impl Runnable {
    /// Errors: [`ErrorKind::Invalid`] where the CPU lacks the instructions.
    pub(crate) fn new(path: Path) -> Result<Self> {
        match path.runs_here() {
            true => Ok(Self(path)),
            false => Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "this CPU has no {} instructions; use another path",
                    path.name()
                ),
            )),
        }
    }

    /// The fastest that there is.
    pub(crate) fn best() -> Self {
        Self(Path::best())
    }

    pub(crate) fn path(self) -> Path {
        self.0
    }
}
