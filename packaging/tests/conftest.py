"""Clean roots for the package tests. They need root and Debian's tools."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from roots import SPEECH, Root, leftovers, new_directory, remove

from rig.demo import write_speech
from rig.player import build


@pytest.fixture(scope="session")
def prepared() -> Iterator[None]:
    """What roots need; afterwards nothing of them may be left."""
    assert os.geteuid() == 0, "package tests install into roots of their own: run them as root"
    for directory in leftovers()["directories"]:
        remove(Path(directory))
    for program in ("player", "headset"):
        build(program)
    write_speech(SPEECH)
    yield
    left = leftovers()
    assert not any(left.values()), left


@pytest.fixture
def root(request: pytest.FixtureRequest, prepared: None) -> Iterator[Callable[..., Root]]:
    """Unpacks a root: `root(release)`, or one of `root(release, architecture)`."""
    made: list[Path] = []

    def make(release: str, architecture: str = "") -> Root:
        made.append(new_directory(request.node.name))
        return Root(made[-1], release, architecture=architecture)

    yield make
    for directory in made:
        remove(directory)


@pytest.fixture
def run() -> Callable[..., str]:
    """Runs a command on this machine; its output."""

    def call(*command: object, timeout: float = 300) -> str:
        done = subprocess.run(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            # What the virtual environment has, first.
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return call
