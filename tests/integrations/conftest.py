"""A private PipeWire whose default microphone hears a man say "go forward ten meters", again and
again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rig import PrivatePipeWire
from rig.hearing import environment, speech


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
