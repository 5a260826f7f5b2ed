"""Take Silero's 16 kHz weights out of its ONNX model and write them as safetensors.

    python tools/models/extract.py silero_vad_16k_sequence.onnx silero_vad_16k.safetensors

Needs `numpy`, `onnx` and `safetensors`. The sequence model is the one whose
initializers keep their names and that has no 8 kHz half. Tensors get the names
and the order of PyTorch's modules; ONNX orders an LSTM's gates i, o, f, g and
PyTorch i, f, g, o, which is the only change made to any value's place.
"""

import sys

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

HIDDEN = 128


def gates(matrix: np.ndarray) -> np.ndarray:
    """Rows of an LSTM matrix from ONNX's gate order (i, o, f, g) to i, f, g, o."""
    i, o, f, g = np.split(matrix, 4)
    return np.concatenate([i, f, g, o])


def extract(path: str) -> dict[str, np.ndarray]:
    graph = onnx.load(path).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    (lstm,) = [n for n in graph.node if n.op_type == "LSTM"]
    w, r, b = (values[name][0] for name in lstm.input[1:4])
    tensors = {"stft_conv.weight": values["stft.forward_basis_buffer"]}
    for layer in range(4):
        for part in ("weight", "bias"):
            tensors[f"conv{layer + 1}.{part}"] = values[f"encoder.{layer}.{part}"]
    tensors["lstm_cell.weight_ih"] = gates(w)
    tensors["lstm_cell.weight_hh"] = gates(r)
    tensors["lstm_cell.bias_ih"] = gates(b[: 4 * HIDDEN])
    tensors["lstm_cell.bias_hh"] = gates(b[4 * HIDDEN :])
    tensors["final_conv.weight"] = values["output.weight"]
    tensors["final_conv.bias"] = values["output.bias"]
    return {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    save_file(extract(sys.argv[1]), sys.argv[2])
