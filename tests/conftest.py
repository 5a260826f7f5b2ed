"""Fixtures of more than one folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import BINARY
from rig.user import User


@pytest.fixture(autouse=True)
def _engine_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever starts an engine starts this one."""
    monkeypatch.setenv("V2M_ENGINE_BIN", str(BINARY))


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path)
    yield user
    user.stop_all()
