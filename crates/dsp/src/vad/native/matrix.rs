//! A matrix as [`super::kernels`] multiplies with it.

/// Outputs in one panel of a packed matrix: four AVX-512 registers, eight AVX2.
pub(super) const LANES: usize = 64;

/// One row of a panel, on its own cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Lanes(pub(super) [f32; LANES]);

/// A matrix of `outputs` x `inputs`, packed in panels of [`LANES`] outputs.
///
/// Within a panel each input has its `LANES` weights side by side, so that
/// `y += W x` streams the panel once, front to back, a broadcast of `x[k]` each.
pub(super) struct Matrix {
    pub(super) panels: Vec<Lanes>,
    pub(super) inputs: usize,
}

impl Matrix {
    pub(super) fn pack(outputs: usize, inputs: usize, at: impl Fn(usize, usize) -> f32) -> Self {
        debug_assert_eq!(outputs % LANES, 0);
        let panels = (0..outputs / LANES)
            .flat_map(|panel| (0..inputs).map(move |input| (panel, input)))
            .map(|(panel, input)| {
                Lanes(std::array::from_fn(|lane| at(panel * LANES + lane, input)))
            })
            .collect();
        Self { panels, inputs }
    }
}
