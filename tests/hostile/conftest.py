"""A user with an engine of their own, as in `tests/engine`."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_beside = Path(__file__).resolve().parents[1] / "engine/conftest.py"
_spec = importlib.util.spec_from_file_location("engine_user", _beside)
assert _spec and _spec.loader
_engine_user: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_engine_user)
User: Any = _engine_user.User
wait_until: Any = _engine_user.wait_until

# Tests that were started in a shell's background have SIGINT ignored, and so would what they
# start; a handler of one's own isn't inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Any]:
    user = User(tmp_path)
    yield user
    user.stop_all()
