"""Engines that play noise, each with a runtime directory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rig.playing import write_wav
from rig.recorder import Service, noise


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts an engine that plays these samples: `engine(samples, *arguments)`."""
    started: list[Service] = []

    def start(samples: np.ndarray, *arguments: str) -> Service:
        runtime = tmp_path / f"run-{len(started)}"
        runtime.mkdir(mode=0o700)
        path = runtime / "played.wav"
        write_wav(path, samples)
        started.append(Service(runtime, path, *arguments))
        return started[-1]

    yield start
    for service in started:
        service.kill()


@pytest.fixture(scope="session")
def minute() -> np.ndarray:
    """Noise, longer than any test plays it."""
    return noise(90)


@pytest.fixture(params=["io_uring", "plain writes"])
def writing(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Both ways to write, as what to put before the command."""
    from rig.recorder import WITHOUT_IO_URING

    return () if request.param == "io_uring" else WITHOUT_IO_URING
