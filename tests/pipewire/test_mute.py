"""One command silences every reader of a microphone, until another one ends that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import PrivatePipeWire, wait_until
from rig.service import Engine, command, status, tone, wait_for_level
from v2m_engine import AudioCapture


def says(rig: PrivatePipeWire, word: str) -> None:
    done = command(rig, word)
    assert done.returncode == 0, done.stderr


def wait_for_silence(chunks: Any) -> Any:
    return next(c for c in chunks if c.gap and not np.any(np.asarray(c)))


@pytest.fixture
def at_home(rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of the tests' own process are the same user."""
    for name in ("HOME", "XDG_RUNTIME_DIR", "PIPEWIRE_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(rig.directory))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("engine", ["service", "private"])
def test_readers_get_flagged_silence_and_nothing_is_captured(
    rig: PrivatePipeWire, tmp_path: Path, engine: Any
) -> None:
    rig.play(tone(rig, tmp_path / "a", 0.5), "rig-mic", loop=True)

    def through(read: Callable[[], Any]) -> None:
        wait_for_level(read(), 0.5)
        rig.wait_for_links("rig-mic", "v2m-engine")
        says(rig, "mute")
        first = wait_for_silence(read())
        # The desktop's light goes out.
        rig.wait_for_links("rig-mic", "v2m-engine", 0)
        silent = [next(read()) for _ in range(100)]
        assert all(c.gap and not np.any(np.asarray(c)) for c in silent)
        says(rig, "unmute")
        last = wait_for_level(read(), 0.5)
        drift_ns = last.time_ns - first.time_ns - (last.position - first.position) * 62_500
        assert abs(drift_ns) < 25_000_000, f"{drift_ns / 1e6:.2f} ms"

    def listen() -> None:
        capture = AudioCapture(engine=engine, buffer_size=160)
        with capture.stream(timeout=30) as stream:
            chunks = iter(stream)
            through(lambda: chunks)

    if engine == "private":
        return listen()
    with Engine(rig):
        listen()
        # Not a loss: it was wanted so.
        assert status(rig)["losses"]["lost_samples"] < 16_000
    return None


@pytest.mark.usefixtures("at_home")
def test_it_outlives_restarts_of_the_engine_and_of_the_machine(
    rig: PrivatePipeWire, tmp_path: Path
) -> None:
    says(rig, "mute")
    rig.play(tone(rig, tmp_path / "a", 0.5), "rig-mic", loop=True)
    for _ in range(2):
        with Engine(rig):
            assert status(rig)["muted"] is True
            assert "unmute" in command(rig, "status").stdout
            assert "unmute" in command(rig, "monitor", "--once").stdout
            with AudioCapture(engine="service", buffer_size=160).stream(timeout=10) as stream:
                wait_for_silence(iter(stream))
            assert not rig.links() & {("rig-mic:capture_MONO", "v2m-engine:input")}
        # As a restart of the machine does.
        shutil.rmtree(rig.directory / "v2m-engine")
    with Engine(rig):
        says(rig, "unmute")
        wait_until(lambda: status(rig)["muted"] is False, "the end of it")
        rig.wait_for_links("rig-mic", "v2m-engine")


@pytest.mark.usefixtures("at_home")
def test_what_is_no_microphone_is_heard_all_the_same(rig: PrivatePipeWire, tmp_path: Path) -> None:
    rig.create_sink("speakers")
    rig.play(tone(rig, tmp_path / "a", 0.5), "speakers", loop=True)
    says(rig, "mute")
    with Engine(rig, "--source", "monitor:speakers"):
        capture = AudioCapture(engine="service", buffer_size=160)
        with capture.stream(timeout=10) as stream:
            wait_for_level(iter(stream), 0.5)
