"""Wall-clock times are those of capture, whatever the clock did since."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rig.user import User

# A machine that slept: its wall clock is ahead of where it was, and no time has passed.
SLEPT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME) {
        FILE *file = fopen(getenv("SLEPT"), "r");
        long seconds = 0;
        if (file) { if (fscanf(file, "%ld", &seconds) == 1) now->tv_sec += seconds; fclose(file); }
    }
    return result;
}
"""


@pytest.fixture
def slept(tmp_path: Path) -> Path:
    (tmp_path / "slept.c").write_text(SLEPT)
    command = ["cc", "-shared", "-fPIC", "-o", tmp_path / "slept.so", tmp_path / "slept.c"]
    subprocess.run(command, check=True, timeout=60)
    return tmp_path / "slept.so"


@pytest.mark.parametrize("seconds", [7200, -7200])
def test_the_past_keeps_the_time_that_it_had(
    user: User, tmp_path: Path, slept: Path, seconds: int
) -> None:
    hours = tmp_path / "hours"
    env = {"LD_PRELOAD": str(slept), "SLEPT": str(hours), "TZ": "UTC"}
    user.start("--source", "null:", "--capture", "always", **env)
    time.sleep(3)
    before = datetime.utcnow()
    hours.write_text(str(seconds))
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
