"""The bench as a user runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.bench import Bench
from rig.libv2m import Library


@pytest.fixture
def bench(library: Library) -> Iterator[Bench]:
    # pytest's own directories are too deep for a socket's path.
    with tempfile.TemporaryDirectory(prefix="v2m-") as directory:
        yield Bench(Path(directory), PKG_CONFIG_PATH=str(library.built))
