"""Take the weights out of Silero's ONNX model and leave where they stand in the safetensors file.

    python tools/models/share.py silero_vad_openvino_16k.onnx \\
        crates/dsp/models/silero_vad_16k.safetensors crates/dsp/models/silero_vad_16k.onnx

What is left is the graph, without a copy of any weight: ONNX's external data, by the other
file's name and the offset in it. Needs `numpy` and `onnx`; fails unless each weight is the same,
bit for bit.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

# How PyTorch names them, by how the ONNX model does.
NAMES = {
    "stft.forward_basis_buffer": "stft_conv.weight",
    "decoder.rnn.weight_ih": "lstm_cell.weight_ih",
    "decoder.rnn.weight_hh": "lstm_cell.weight_hh",
    "decoder.rnn.bias_ih": "lstm_cell.bias_ih",
    "decoder.rnn.bias_hh": "lstm_cell.bias_hh",
    "decoder.decoder.2.weight": "final_conv.weight",
    "decoder.decoder.2.bias": "final_conv.bias",
}
NAMES |= {
    f"encoder.{layer}.reparam_conv.{part}": f"conv{layer + 1}.{part}"
    for layer in range(4)
    for part in ("weight", "bias")
}


def share(source: Path, weights: Path) -> onnx.ModelProto:
    model = onnx.load(source)
    data = weights.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = json.loads(data[8:start])
    kept = []
    for node in model.graph.node:
        name = node.output[0].rpartition("__")[2]
        if node.op_type != "Constant" or name not in NAMES:
            kept.append(node)
            continue
        begin, end = (start + at for at in tensors[NAMES[name]]["data_offsets"])
        value = numpy_helper.to_array(node.attribute[0].t)
        assert data[begin:end] == np.ascontiguousarray(value, "<f4").tobytes(), name
        tensor = model.graph.initializer.add(
            name=node.output[0],
            dims=value.shape,
            data_type=onnx.TensorProto.FLOAT,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        place = {"location": weights.name, "offset": str(begin), "length": str(end - begin)}
        for key, text in place.items():
            tensor.external_data.add(key=key, value=text)
    assert len(model.graph.initializer) == len(NAMES)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    source, weights, result = map(Path, sys.argv[1:])
    result.write_bytes(share(source, weights).SerializeToString(deterministic=True))
