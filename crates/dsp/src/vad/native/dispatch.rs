//! Which instructions the network runs with: one copy of its code per set, chosen at run time.

use super::Network;
use super::kernels::Set;
use super::network::{self, Tile};
use super::weights::Weights;
use crate::cpu::{Path, Runnable};

impl Runnable {
    /// For `status`: the network and how it runs.
    pub(super) fn name(self, network: &Network) -> String {
        format!("{}, native {}", network.name, self.path().name())
    }
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

macro_rules! dispatched {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*)) => {
        impl Runnable {
            $(#[$doc])*
            #[inline]
            pub(super) fn $name(self, $($arg: $ty),*) {
                match self.path() {
                    // SAFETY: a Runnable holds Avx2 only where the CPU has what x86::avx2 enables.
                    #[cfg(target_arch = "x86_64")]
                    Path::Avx2 => unsafe { x86::avx2::$name($($arg),*) },
                    // SAFETY: as above, for Avx512 and x86::avx512.
                    #[cfg(target_arch = "x86_64")]
                    Path::Avx512 => unsafe { x86::avx512::$name($($arg),*) },
                    _ => network::$name::<Baseline>($($arg),*),
                }
            }
        }
    };
}

dispatched! {
    /// Sanitises and transforms the `row`-th window of `tile`.
    fn spectrum(tile: &mut Tile, row: usize)
}
dispatched! {
    /// The first `rows` windows of `tile` through the convolutions, to the gates' input part.
    fn encode(weights: &Weights, tile: &mut Tile, rows: usize)
}
dispatched! {
    /// One LSTM step of `rows` streams: their gates start at row `gates`, their states at row `states`.
    fn recur(weights: &Weights, tile: &mut Tile, gates: usize, states: usize, rows: usize)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    macro_rules! compiled {
        ($module:ident, $features:literal, $sums:literal) => {
            pub(super) mod $module {
                use super::super::{Set, Tile, Weights, network};

                struct Here;
                impl Set for Here {
                    const FMA: bool = true;
                    const SUMS: usize = $sums;
                }

                #[target_feature(enable = $features)]
                pub(in super::super) fn spectrum(tile: &mut Tile, row: usize) {
                    network::spectrum::<Here>(tile, row);
                }

                #[target_feature(enable = $features)]
                pub(in super::super) fn encode(weights: &Weights, tile: &mut Tile, rows: usize) {
                    network::encode::<Here>(weights, tile, rows);
                }

                #[target_feature(enable = $features)]
                pub(in super::super) fn recur(
                    weights: &Weights,
                    tile: &mut Tile,
                    gates: usize,
                    states: usize,
                    rows: usize,
                ) {
                    network::recur::<Here>(weights, tile, gates, states, rows);
                }
            }
        };
    }
    compiled!(avx2, "avx2,fma", 64);
    compiled!(avx512, "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw", 256);
}
