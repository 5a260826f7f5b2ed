"""Every test has a runtime directory of its own, and leaves nothing in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.playing import Recording, Service


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("V2M_ENGINE_SOCKET", str(runtime / "engine.sock"))
    yield
    left = [path.name for path in runtime.iterdir() if path.name != "engine.sock"]
    assert not left, f"left behind: {left}"


@pytest.fixture(params=["io_uring", "thread"])
def waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to wait on an event loop."""
    if request.param == "thread":
        monkeypatch.setenv("V2M_ENGINE_NO_IO_URING", "1")
    return str(request.param)


@pytest.fixture
def recording(tmp_path: Path) -> Callable[..., Recording]:
    """Makes recordings: `recording(seconds)`."""
    count = 0

    def make(seconds: float) -> Recording:
        nonlocal count
        count += 1
        return Recording(tmp_path / f"recording-{count}.wav", seconds, seed=count)

    return make


@pytest.fixture
def service() -> Iterator[Callable[..., Service]]:
    """Starts the user's engine: `service(*arguments)`."""
    started: list[Service] = []

    def start(*arguments: str) -> Service:
        started.append(Service(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()
