"""A private PipeWire for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rig import PrivatePipeWire


@pytest.fixture
def rig() -> Iterator[PrivatePipeWire]:
    with PrivatePipeWire(quantum=256) as private:
        yield private
