"""Wall-clock times are those of capture, whatever the clock did since."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rig.stepped_clock import SteppedClock
from rig.user import User


@pytest.mark.parametrize("seconds", [7200, -7200])
def test_the_past_keeps_the_time_that_it_had(user: User, tmp_path: Path, seconds: int) -> None:
    clock = SteppedClock(tmp_path)
    env = clock.env | {"TZ": "UTC"}
    user.start("--source", "null:", "--capture", "always", **env)
    time.sleep(3)
    before = datetime.utcnow()
    clock.step(seconds)
    time.sleep(1)
    out = tmp_path / "out.wav"

    def began(*arguments: str) -> datetime:
        done = user.command("record", str(out), "--overwrite", "--seconds", "1s", *arguments, **env)
        assert done.returncode == 0, done.stderr
        head = out.read_bytes()[:4096]
        bext = head.index(b"bext") + 8
        text = head[bext + 320 : bext + 338].decode()
        return datetime.strptime(text, "%Y-%m-%d%H:%M:%S")

    # What was captured before.
    past = began("--last", "3s")
    assert before - timedelta(seconds=4) <= past <= before + timedelta(seconds=1)
    # What is captured now: by the clock as it is now.
    now = began()
    expected = datetime.utcnow() + timedelta(seconds=seconds)
    assert abs(now - expected) < timedelta(seconds=5)
