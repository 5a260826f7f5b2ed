"""Notes what a receiver gets and when, for `v2m-engine bench latency`.

The bench starts receivers as processes. Each says `ready RATE` once audio arrives,
keeps what it gets until its standard input ends, and then writes it to its standard
output: for each block the time at which its code held the samples, the time at which
they were written (0: not known), their number, and the samples. Receivers of other
libraries, which have no `v2m_engine`, use this file by itself: standard library only.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from collections.abc import Callable

HEAD = struct.Struct("<qqI")


class Recorder:
    """Everything that arrives; blocks are mono float32."""

    def __init__(self, rate: int) -> None:
        """`rate` is that of what will arrive, in samples per second."""
        self._rate = rate
        self._blocks: list[tuple[int, int, bytes]] = []
        self._over = threading.Event()
        self._ends: list[Callable[[], None]] = []
        if os.environ.get("V2M_BENCH_LOAD") == "gil":
            threading.Thread(target=self._hog, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def take(self, held_ns: int, samples: bytes, written_ns: int = 0) -> None:
        """Keeps a block. `held_ns` is `time.monotonic_ns()` of when it was in hand: to
        be taken before anything else is done with it."""
        self._blocks.append((held_ns, written_ns, samples))
        if len(self._blocks) == 1:
            print("ready", self._rate, flush=True)

    @property
    def over(self) -> bool:
        """Whether to stop."""
        return self._over.is_set()

    def wait(self) -> None:
        """Until it is time to stop: for receivers whose audio comes by callbacks."""
        self._over.wait()

    def at_end(self, call: Callable[[], None]) -> None:
        """Have this called, on another thread, when it is time to stop."""
        self._ends.append(call)

    def write(self) -> None:
        """Hands everything over."""
        out = sys.stdout.buffer
        for held_ns, written_ns, samples in self._blocks:
            out.write(HEAD.pack(held_ns, written_ns, len(samples) // 4))
            out.write(samples)
        out.flush()

    def _watch(self) -> None:
        # Not sys.stdin: its lock would be in the way of the interpreter's end.
        while os.read(0, 4096):
            pass
        self._over.set()
        for call in self._ends:
            call()

    def _hog(self) -> None:
        """What a busy program is to its other threads."""
        while not self._over.is_set():
            sum(range(1000))


def now() -> int:
    """The clock that blocks are stamped with."""
    return time.monotonic_ns()
