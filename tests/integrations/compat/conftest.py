"""A runtime directory of each test's own, and a recording to hear in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import BINARY, PrivatePipeWire
from rig.playing import Recording
from v2m_engine import Source
from v2m_engine.compat import _input, sounddevice


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("V2M_ENGINE_BIN", str(BINARY))
    monkeypatch.setenv("V2M_ENGINE_SOCKET", str(runtime / "engine.sock"))
    yield
    sounddevice.default.reset()


@pytest.fixture
def rig() -> Iterator[PrivatePipeWire]:
    with PrivatePipeWire(quantum=256) as private:
        yield private


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "noise.wav", 8)


@pytest.fixture
def only_device(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """As if the recording were the one device of the machine."""
    only = Source(recording.source, "Noise", "source", True, False, 1, 16_000)
    monkeypatch.setattr(_input, "sources", lambda: [only])
    return recording
