"""A private PipeWire whose default microphone hears a man say "go forward ten meters", again and
again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/rig"), str(ROOT / "tests/python")]

from hearing import speech  # noqa: E402
from rig import PrivatePipeWire  # noqa: E402

BINARY = Path(os.environ.get("V2M_ENGINE_BIN") or ROOT / "target/release/v2m-engine")


@pytest.fixture(scope="session")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePipeWire]:
    path = tmp_path_factory.mktemp("speech") / "speech.f32"
    speech().tofile(path)
    with PrivatePipeWire(quantum=256) as rig, rig.play(path, "rig-mic", loop=True):
        yield rig


@pytest.fixture
def microphone(speaking: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch) -> PrivatePipeWire:
    """This process' own environment leads to it."""
    for name, value in environment(speaking).items():
        monkeypatch.setenv(name, value)
    return speaking


def environment(rig: PrivatePipeWire) -> dict[str, str]:
    """For programs that are to hear it."""
    return rig.env | {"V2M_ENGINE_BIN": str(BINARY), "HOME": str(rig.directory)}
