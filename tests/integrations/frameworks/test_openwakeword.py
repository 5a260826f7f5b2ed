"""openWakeWord's own streaming code on our frames. Its models may not be given away, so small ones
of the same shapes stand in for them: they answer with how loud it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openwakeword
import pytest
from onnx import TensorProto, helper

from rig import ROOT, PrivatePipeWire
from rig.hearing import WORDS, Ear, recognised, run_until
from v2m_engine.integrations.wake_word import Frames


def model(
    path: Path, takes: str, nodes: list[Any], before: list[Any], after: list[Any], *constants: Any
) -> str:
    """Writes it: from `takes` of the shape `before` to `output` of the shape `after`."""
    take = helper.make_tensor_value_info(takes, TensorProto.FLOAT, before)
    give = helper.make_tensor_value_info("output", TensorProto.FLOAT, after)
    graph = helper.make_graph(nodes, path.stem, [take], [give], list(constants))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made)
    onnx.save(made, path)
    return str(path)


def models(tmp_path: Path) -> dict[str, Any]:
    """What makes a detector of them."""
    # (1, samples) -> (1, 1, samples / 160 - 3, 32): frames of 10 ms, each its loudness.
    kernel = helper.make_tensor(
        "kernel", TensorProto.FLOAT, [32, 1, 640], np.full(32 * 640, 1 / 640)
    )
    melspectrogram = model(
        tmp_path / "melspectrogram.onnx",
        "input",
        [
            helper.make_node("Abs", ["input"], ["loud"]),
            helper.make_node("Unsqueeze", ["loud", "one"], ["row"]),
            helper.make_node("Conv", ["row", "kernel"], ["frames"], strides=[160]),
            helper.make_node("Transpose", ["frames"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("Unsqueeze", ["turned", "one"], ["output"]),
        ],
        [1, "samples"],
        [1, 1, "frames", 32],
        kernel,
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    )
    # (n, 76, 32, 1) -> (n, 1, 1, 96)
    embedding = model(
        tmp_path / "embedding_model.onnx",
        "input_1",
        [
            helper.make_node("ReduceMean", ["input_1"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Tile", ["mean", "times"], ["output"]),
        ],
        ["n", 76, 32, 1],
        ["n", 1, 1, 96],
        helper.make_tensor("times", TensorProto.INT64, [4], [1, 1, 1, 96]),
    )
    # (1, 16, 96) -> (1, 1)
    loud = model(
        tmp_path / "loud.onnx",
        "input",
        [
            helper.make_node("ReduceMax", ["input"], ["most"], axes=[1, 2], keepdims=0),
            helper.make_node("Unsqueeze", ["most", "one"], ["output"]),
        ],
        [1, 16, 96],
        [1, 1],
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    )
    return {
        "wakeword_models": [loud],
        "inference_framework": "onnx",
        "melspec_model_path": melspectrogram,
        "embedding_model_path": embedding,
    }


@pytest.mark.usefixtures("microphone")
def test_a_model_is_fed(tmp_path: Path) -> None:
    detector = openwakeword.Model(**models(tmp_path))
    scores, ear = [], Ear()
    with Frames() as frames:
        for frame in frames:
            scores.append(max(detector.predict(frame).values()))
            if ear.heard(frame):
                break
    # What its own buffer holds is what was said; and it answers to that.
    held = np.array(detector.preprocessor.raw_data_buffer).astype(np.int16)
    assert WORDS in recognised(held)
    assert len({round(score, 3) for score in scores}) > 10


def test_the_example(speaking: PrivatePipeWire, tmp_path: Path) -> None:
    program = """
import functools, runpy, sys
import openwakeword
example, melspectrogram, embedding, model = sys.argv[1:]
openwakeword.Model = functools.partial(
    openwakeword.Model, melspec_model_path=melspectrogram, embedding_model_path=embedding
)
sys.argv = [example, model]
runpy.run_path(example, run_name="__main__")
"""
    made = models(tmp_path)
    paths = made["melspec_model_path"], made["embedding_model_path"], *made["wakeword_models"]
    example = ROOT / "python/examples/with_wake_word.py"
    run_until(speaking, "^loud$", "-c", program, example, *paths)
