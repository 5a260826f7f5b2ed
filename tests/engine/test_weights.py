"""What the program carries around."""

from __future__ import annotations

from rig import BINARY, ROOT


def test_the_model_is_in_it_once() -> None:
    program = BINARY.read_bytes()
    model = (ROOT / "crates/dsp/models/silero_vad_16k.safetensors").read_bytes()
    for at in range(len(model) // 8, len(model) - 64, len(model) // 8):
        assert program.count(model[at : at + 64]) == 1
