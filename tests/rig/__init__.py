"""What the tests share; importable wherever `make` prepared the interpreter.

Of itself it needs the standard library only, as what plays into a private PipeWire is used
where nothing else is installed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig.pipewire import PrivatePipeWire
from rig.player import Player, RigError

__all__ = ["BINARY", "ROOT", "Player", "PrivatePipeWire", "RigError", "wait_until"]

ROOT = Path(__file__).resolve().parents[2]
#: The engine under test.
BINARY = Path(os.environ.get("V2M_ENGINE_BIN") or ROOT / "target/release/v2m-engine")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Polls until the condition holds; the limit only turns a hang into a failure."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still waiting for: {what}"
        time.sleep(0.01)
    return result
