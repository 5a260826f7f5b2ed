"""Holding one thread of another process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000


def thread_named(pid: int, *names: str) -> int:
    """The id of the process's thread of one of these names, the main one left aside."""
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid]
    (tid,) = [int(task.name) for task in tasks if (task / "comm").read_text().strip() in names]
    return tid


@contextmanager
def held(tid: int) -> Iterator[None]:
    """Holds one thread of another process, as a debugger does."""
    libc = ctypes.CDLL(None, use_errno=True)
    ptrace = libc.ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if ptrace(request, tid, None, None) != 0:
            pytest.skip(f"no tracing here: {os.strerror(ctypes.get_errno())}")
    os.waitpid(tid, WALL)
    try:
        yield
    finally:
        ptrace(PTRACE_DETACH, tid, None, None)
