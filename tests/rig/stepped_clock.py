"""A wall clock that steps, for programs that are started so; the machine's own is left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

# A machine that slept, or whose clock was set: the wall clock is elsewhere, and no time has passed.
SOURCE = """
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
        FILE *file = fopen(getenv("STEPPED"), "r");
        long seconds = 0;
        if (file) { if (fscanf(file, "%ld", &seconds) == 1) now->tv_sec += seconds; fclose(file); }
    }
    return result;
}
"""


class SteppedClock:
    """Programs with `env` have a wall clock that is ahead of this machine's as `step` says."""

    def __init__(self, directory: Path) -> None:
        self._ahead = directory / "stepped"
        source, library = directory / "stepped.c", directory / "stepped.so"
        source.write_text(SOURCE)
        command = ["cc", "-shared", "-fPIC", "-o", library, source]
        subprocess.run(command, check=True, timeout=60)
        self.env = {"LD_PRELOAD": str(library), "STEPPED": str(self._ahead)}

    def step(self, seconds: int) -> None:
        """It is ahead by so much from now on."""
        new = self._ahead.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._ahead)
