//! Single steps against the reference, from inputs and states that make every neuron speak up.

use super::*;
use safetensors::SafeTensors;

/// What the promise is about. The LSTM's output may differ by as much at full scale, and
/// beyond that in proportion to the level, as rounding does.
const TOLERANCE: f32 = 1e-4;

/// SplitMix64, as in `tools/models/vad_steps.py`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> usize {
        (self.next() % n) as usize
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 41) as f32 / (1 << 22) as f32 - 1.0
    }

    fn window(&mut self) -> [f32; 576] {
        let mut x = [0.0f32; 576];
        for _ in 0..1 + self.below(3) {
            let (kind, level) = (self.below(3), 2f32.powi(self.below(11) as i32 - 8));
            let (a, b) = (self.below(577), self.below(577));
            let (mut begin, mut end) = (a.min(b), a.max(b));
            if self.below(3) == 0 {
                (begin, end) = (0, 576);
            }
            let half = 1 + self.below(60);
            for (n, x) in x.iter_mut().enumerate().take(end).skip(begin) {
                let noise = self.unit();
                *x += level
                    * match kind {
                        0 => noise,
                        1 => 1.0 - 2.0 * (n / half % 2) as f32,
                        _ => f32::from(noise > 0.97),
                    };
            }
        }
        x
    }
}

/// A window with its context, the LSTM's state before it, and what the reference makes of them.
struct Case {
    samples: [f32; 576],
    hidden: [f32; HIDDEN],
    cell: [f32; HIDDEN],
    probability: f32,
    output: [f32; HIDDEN],
}

fn cases() -> Vec<Case> {
    let bytes = include_bytes!("../../../../../tests/data/vad_steps.f32");
    let values: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    let rows = values.as_chunks::<{ 2 + HIDDEN }>().0.iter();
    rows.map(|row| {
        let mut random = Random(row[0] as u64);
        Case {
            samples: random.window(),
            hidden: std::array::from_fn(|_| random.unit()),
            cell: std::array::from_fn(|_| 2.0 * random.unit()),
            probability: row[1],
            output: *row[2..].first_chunk().expect("128 values"),
        }
    })
    .collect()
}

/// The largest difference to the reference, see the constants; stops at the first beyond `enough`.
fn difference(network: &Network, path: Path, cases: &[Case], enough: f32) -> f32 {
    let mut native = Native::with_path(network.clone(), path).expect("an available path");
    let mut worst = 0.0f32;
    for case in cases {
        native.state.context = *case.samples.first_chunk().expect("the context");
        native.state.hidden = case.hidden;
        native.state.cell = case.cell;
        let p = native.step(case.samples[64..].first_chunk().expect("the window"));
        let hidden = native.state.hidden.iter().zip(&case.output);
        let peak = case
            .samples
            .iter()
            .fold(1.0f32, |peak, x| peak.max(x.abs()));
        let hidden = hidden.map(|(a, b)| (a - b).abs() / peak);
        for difference in hidden.chain([(p - case.probability).abs()]) {
            // A NaN must not pass as no difference.
            worst = if difference <= worst {
                worst
            } else {
                difference
            };
        }
        if worst.is_nan() || worst > enough {
            break;
        }
    }
    worst
}

#[test]
fn every_path_equals_the_reference_step_by_step() {
    let cases = cases();
    for path in Path::available() {
        let worst = difference(&Network::embedded(), path, &cases, f32::MAX);
        assert!(worst <= TOLERANCE, "{}: off by {worst:e}", path.name());
    }
}

/// Where in the file a weight is, for those that take part: see [`Weights`].
fn weights() -> Vec<(String, usize, usize)> {
    let file = SafeTensors::deserialize(EMBEDDED).expect("the embedded weights");
    let mut found = Vec::new();
    for (name, view) in file.iter() {
        let offset = view.data().as_ptr() as usize - EMBEDDED.as_ptr() as usize;
        found.push((name.to_string(), offset, view.data().len() / 4));
    }
    found.sort();
    found
}

/// True for a convolution's taps that only ever meet padding.
fn meets_padding_only(tensor: &str, index: usize) -> bool {
    (tensor == "conv3.weight" && index.is_multiple_of(3))
        || (tensor == "conv4.weight" && index % 3 != 1)
}

/// The embedded file with one weight changed by `amount` or by its own size, whichever is more.
fn mutated(offset: usize, amount: f32) -> Vec<u8> {
    let mut file = EMBEDDED.to_vec();
    let bytes: &mut [u8; 4] = file[offset..].first_chunk_mut().expect("a weight");
    let weight = f32::from_le_bytes(*bytes);
    *bytes = (weight + weight.abs().max(amount.abs()).copysign(amount)).to_le_bytes();
    file
}

/// How well the steps above would show a wrong weight. One stays unnoticed only if the two
/// neurons that it joins never speak up together in any case: of 11,200 mutations, 142 did, at
/// worst (conv4) 1 in 30. That none is wrong is what the exact comparisons are for: of the
/// packed weights with the file's below, and of the file's with the ONNX model's by
/// `tests/rig/vad_reference.py`, `--test`.
#[test]
fn one_wrong_weight_is_noticed() {
    let (cases, mut random) = (cases(), Random(7));
    let mut missed = Vec::new();
    let tensors = weights();
    for (name, offset, count) in &tensors {
        let before = missed.len();
        for amount in [0.5, -0.5, 2.0, -2.0].into_iter().cycle().take(20) {
            let taken = |index: &usize| !meets_padding_only(name, *index);
            let mut indices = std::iter::repeat_with(|| random.below(*count as u64));
            let index = indices.find(taken).expect("endless");
            let noticed = match Network::parse(&mutated(offset + 4 * index, amount)) {
                // The STFT's basis is checked instead of used.
                Err(error) => error.to_string().contains("stft_conv"),
                Ok(network) => {
                    let worst = difference(&network, Path::best(), &cases, TOLERANCE);
                    worst.is_nan() || worst > TOLERANCE
                }
            };
            if !noticed {
                missed.push((name, index));
            }
        }
        assert!(
            missed.len() - before <= 10,
            "{name} is hardly looked at: {missed:?}"
        );
    }
    let most = tensors.len() * 20 * 4 / 100;
    assert!(missed.len() <= most, "more than 4 in 100: {missed:?}");
}

#[test]
fn every_weight_is_packed_where_its_layer_multiplies_it() {
    let file = SafeTensors::deserialize(EMBEDDED).expect("the embedded weights");
    let get = |name: &str| -> Vec<f32> {
        let bytes = file.tensor(name).expect("a tensor").data();
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    };
    let w = Weights::parse(EMBEDDED, AT_16K).expect("the embedded weights");
    // Tensor, weights between two of the same row, which of those, and where they went.
    let matrices = [
        ("conv1.weight", 3, 0, &w.conv1[0]),
        ("conv1.weight", 3, 1, &w.conv1[1]),
        ("conv1.weight", 3, 2, &w.conv1[2]),
        ("conv2.weight", 3, 0, &w.conv2[0]),
        ("conv2.weight", 3, 1, &w.conv2[1]),
        ("conv2.weight", 3, 2, &w.conv2[2]),
        ("conv3.weight", 3, 1, &w.conv3[0]),
        ("conv3.weight", 3, 2, &w.conv3[1]),
        ("conv4.weight", 3, 1, &w.conv4),
        ("lstm_cell.weight_ih", 1, 0, &w.input),
        ("lstm_cell.weight_hh", 1, 0, &w.hidden),
    ];
    for (name, stride, tap, matrix) in matrices {
        let values = get(name);
        assert_eq!(
            matrix.panels.len() * matrix::LANES * stride,
            values.len(),
            "{name}"
        );
        for (at, &value) in values
            .iter()
            .enumerate()
            .filter(|(at, _)| at % stride == tap)
        {
            let (output, input) = (at / stride / matrix.inputs, at / stride % matrix.inputs);
            let row = output / matrix::LANES * matrix.inputs + input;
            let packed = matrix.panels[row].0[output % matrix::LANES];
            assert_eq!(
                packed, value,
                "{name}, output {output}, input {input}, tap {tap}"
            );
        }
    }
    let biases = [
        ("conv1", &w.bias1),
        ("conv2", &w.bias2),
        ("conv3", &w.bias3),
    ];
    for (layer, bias) in biases.into_iter().chain([("conv4", &w.bias4)]) {
        assert_eq!(*bias, get(&format!("{layer}.bias")));
    }
    let both = get("lstm_cell.bias_ih")
        .into_iter()
        .zip(get("lstm_cell.bias_hh"));
    assert_eq!(w.gates, both.map(|(a, b)| a + b).collect::<Vec<_>>());
    assert_eq!(w.output, get("final_conv.weight"));
    assert_eq!([w.output_bias], *get("final_conv.bias"));
}

#[test]
fn other_files_are_refused_by_name() {
    let garbage = Network::parse(b"not safetensors").err().expect("refused");
    assert_eq!(garbage.kind(), ErrorKind::Invalid);
    let mut renamed = EMBEDDED.to_vec();
    let at = renamed
        .windows(5)
        .position(|w| w == b"conv3")
        .expect("a name in the header");
    renamed[at + 4] = b'9';
    let missing = Network::parse(&renamed).err().expect("refused");
    assert!(missing.to_string().contains("conv3"), "{missing}");
}
