"""What readers need is what is asked of the graph, and no more."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from rig import BINARY, PrivatePipeWire, wait_until
from rig.service import Engine, status
from v2m_engine import AudioCapture

RELAXED = "1024/48000"


def asked(rig: PrivatePipeWire) -> list[str | None]:
    return [reader["quantum"] for reader in status(rig)["readers"]]


def quantum(rig: PrivatePipeWire) -> int:
    samples: int = status(rig)["source"]["quantum"]
    return samples


def runs_at(rig: PrivatePipeWire, samples: int) -> None:
    wait_until(lambda: quantum(rig) == samples, f"a quantum of {samples}")


@pytest.fixture
def engine(rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch) -> Any:
    rig.set_quantum(0)
    with Engine(rig) as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        yield engine


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("command", [("record", "out.wav"), ("listen", "--json")])
def test_recordings_and_utterances_ask_for_a_large_one(
    rig: PrivatePipeWire, tmp_path: Path, command: tuple[str, ...]
) -> None:
    reader = subprocess.Popen(
        [BINARY, *command], env=rig.env, cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: asked(rig) == [RELAXED], "the reader")
        runs_at(rig, 1024)
        # The quickest decides, for as long as it is there.
        with AudioCapture(engine="service", latency="256/48000").stream(timeout=10):
            assert sorted(map(str, asked(rig))) == [RELAXED, "256/48000"]
            runs_at(rig, 256)
        runs_at(rig, 1024)
    finally:
        reader.terminate()
        reader.wait(10)


@pytest.mark.usefixtures("engine")
def test_a_stream_asks_for_what_is_taken_from_it(rig: PrivatePipeWire) -> None:
    with AudioCapture(engine="service", buffer_size=512).stream(timeout=10) as stream:
        runs_at(rig, 128)
        stream.segments()
        runs_at(rig, 1024)
        assert asked(rig) == [RELAXED]
        next(stream)
        runs_at(rig, 128)
    # Who says what it wants gets that.
    capture = AudioCapture(engine="service", buffer_size=512, latency="64/48000")
    with capture.stream(timeout=10) as stream:
        stream.segments()
        runs_at(rig, 64)
        assert asked(rig) == ["64/48000"]
