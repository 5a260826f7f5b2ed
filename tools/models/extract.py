"""Take Silero's weights out of its ONNX models and write them as safetensors.

    python tools/models/extract.py silero_vad_16k_sequence.onnx silero_vad_16k.safetensors
    python tools/models/extract.py silero_vad.onnx silero_vad_8k.safetensors

Needs `numpy`, `onnx` and `safetensors`. The sequence model is the one whose
initializers keep their names and that has no 8 kHz half; the 8 kHz weights are only in
the model for both rates, in the branch that it takes for any rate but 16 kHz. Tensors get
the names and the order of PyTorch's modules; ONNX orders an LSTM's gates i, o, f, g and
PyTorch i, f, g, o, which is the only change made to any value's place (the model for both
rates keeps PyTorch's order and changes it when it runs).
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
    branches = [n for n in graph.node if n.op_type == "If"]
    tensors = half_rate(branches[0]) if branches else full_rate(graph)
    return {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}


def half_rate(branch: onnx.NodeProto) -> dict[str, np.ndarray]:
    (graph,) = [a.g for a in branch.attribute if a.name == "else_branch"]
    values = {
        node.output[0].rpartition("__")[2]: numpy_helper.to_array(a.t)
        for node in graph.node
        if node.op_type == "Constant"
        for a in node.attribute
        if a.name == "value"
    }
    tensors = {"stft_conv.weight": values["stft.forward_basis_buffer"]}
    for layer in range(4):
        for part in ("weight", "bias"):
            tensors[f"conv{layer + 1}.{part}"] = values[f"encoder.{layer}.reparam_conv.{part}"]
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        tensors[f"lstm_cell.{part}"] = values[f"decoder.rnn.{part}"]
    for part in ("weight", "bias"):
        tensors[f"final_conv.{part}"] = values[f"decoder.decoder.2.{part}"]
    return tensors


def full_rate(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
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
    return tensors


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    save_file(extract(sys.argv[1]), sys.argv[2])
