"""Programs that use libv2m."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig import ROOT
from rig.libv2m import Library


@pytest.fixture(scope="session")
def client(library: Library) -> Path:
    """The scenes of `client.c`."""
    return library.compile(ROOT / "tests/capi/client.c")
