"""The end of an interpreter that has daemon threads or tasks inside of the module: the threads
come back for the GIL while it is torn down, and CPython ends or parks them there. The wheel,
which is built by another compiler, has the same test in packaging/tests/test_wheel.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rig.playing import Recording

INSIDE = Path(__file__).with_name("ends_inside.py")


@pytest.mark.parametrize(
    "what", ["detecting", "chunks", "segments", "events", "reading", "waiting", "tasks"]
)
def test_daemon_threads_at_exit(
    recording: Callable[..., Recording], what: str, tmp_path: Path
) -> None:
    source = recording(20).source
    for number in range(2):
        done = subprocess.run(
            [sys.executable, INSIDE, source, what, tmp_path / f"{number}.wav"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "the end\n"), done
        assert "Fatal" not in done.stderr and "panicked" not in done.stderr, done
