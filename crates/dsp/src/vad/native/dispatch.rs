//! The network's steps, with the instructions that were chosen.

use super::Network;
use super::network::{self, Tile};
use super::weights::Weights;
use crate::cpu::{Kernel, Runnable, Set};

impl Runnable {
    /// For `status`: the network and how it runs.
    pub(super) fn name(self, network: &Network) -> String {
        format!("{}, native {}", network.name, self.path().name())
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* fn $name:ident as $kernel:ident($($arg:ident: $ty:ty),*);)*) => {
        $(
            struct $kernel<'a> {
                $($arg: $ty),*
            }

            impl Kernel for $kernel<'_> {
                type Output = ();

                #[inline(always)]
                fn run<S: Set>(self) {
                    network::$name::<S>($(self.$arg),*);
                }
            }
        )*

        impl Runnable {
            $(
                $(#[$doc])*
                #[inline]
                pub(super) fn $name<'a>(self, $($arg: $ty),*) {
                    self.run($kernel { $($arg),* });
                }
            )*
        }
    };
}

steps! {
    /// Sanitises and transforms the `row`-th window of `tile`.
    fn spectrum as Spectrum(tile: &'a mut Tile, row: usize);
    /// The first `rows` windows of `tile` through the convolutions, to the gates' input part.
    fn encode as Encode(weights: &'a Weights, tile: &'a mut Tile, rows: usize);
    /// One LSTM step of `rows` streams: their gates start at row `gates`, their states at row `states`.
    fn recur as Recur(
        weights: &'a Weights, tile: &'a mut Tile, gates: usize, states: usize, rows: usize
    );
}
