//! Which instructions this CPU has: inner loops are compiled once per set, and chosen at run time.
//! The only file of the detector and the resamplers with unsafe code: the calls of what was compiled
//! for more than the baseline.

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

/// What differs between the sets of instructions.
pub(crate) trait Set {
    /// One instruction multiplies and adds. On x86-64: AVX2 or more.
    const FMA: bool;
    /// Sums that stay in registers: enough to hide an addition's latency behind the others.
    const SUMS: usize;
}

/// Code that is compiled once per set.
pub(crate) trait Kernel {
    /// What it computes.
    type Output;

    /// Has to be inlined, and so has all that it calls: what isn't is compiled for the baseline.
    fn run<S: Set>(self) -> Self::Output;
}

/// Portable code; aarch64 always has fused multiply-add.
struct Baseline;
impl Set for Baseline {
    const FMA: bool = cfg!(target_arch = "aarch64");
    const SUMS: usize = if cfg!(target_arch = "aarch64") {
        64
    } else {
        32
    };
}

#[inline(never)]
fn baseline<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Baseline>()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Set};

    struct Avx2;
    impl Set for Avx2 {
        const FMA: bool = true;
        const SUMS: usize = 64;
    }

    struct Avx512;
    impl Set for Avx512 {
        const FMA: bool = true;
        const SUMS: usize = 256;
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx2>()
    }

    #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")]
    pub(super) fn avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx512>()
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

    /// Runs what was compiled for this path.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // SAFETY: a Runnable holds Avx2 only where the CPU has what x86::avx2 enables.
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => unsafe { x86::avx2(kernel) },
            // SAFETY: as above, for Avx512 and x86::avx512.
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => unsafe { x86::avx512(kernel) },
            _ => baseline(kernel),
        }
    }
}
