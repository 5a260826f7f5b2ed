"""What the ring held at each moment, and what the machine kept from a recorder meanwhile."""

from __future__ import annotations

import bisect
import os
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rig.independent_reader import Ring, connect


class _Loop(threading.Thread):
    """Does something again and again until it is told to stop."""

    def __init__(self, pause: float, step: Callable[[float], None]) -> None:
        super().__init__()
        self.pause, self.step = pause, step
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            due = time.monotonic() + self.pause
            time.sleep(self.pause)
            self.step(due)

    def stop(self) -> None:
        self.over.set()
        self.join()


class Watch:
    """Watches a recorder and the ring that it reads, from before it starts until it is dead.

    What the machine withholds is taken from two sides: the kernel's own account of how long
    each thread of the recorder was ready to run and didn't get to, and a bystander that
    does what a sync does, on the same disk: how much longer than usual it took, from when it
    was due.
    """

    def __init__(self, socket: str, folder: Path) -> None:
        self.peer, descriptor, _ = connect(socket)
        self.ring = Ring(descriptor)
        os.close(descriptor)
        self.pid: int | None = None
        self.waited: dict[str, int] = {}
        #: Time, committed samples, seconds that the recorder had to wait for a processor.
        self.seen: list[tuple[float, int, float]] = []
        #: When each sync of the bystander was due, and when it was over.
        self.syncs: list[tuple[float, float]] = []
        self.file = os.open(folder / "bystander", os.O_RDWR | os.O_CREAT)
        self.size = 0
        self.look(time.monotonic())
        self.loops = [_Loop(0.002, self.look), _Loop(0.05, self.sync)]

    def look(self, _due: float) -> None:
        with suppress(OSError):
            for task in os.scandir(f"/proc/{self.pid}/task"):
                with suppress(OSError):
                    text = Path(task.path, "schedstat").read_text()
                    self.waited[task.name] = int(text.split()[1])
        now = time.monotonic()
        self.seen.append((now, self.ring.committed(), sum(self.waited.values()) / 1e9))

    def sync(self, due: float) -> None:
        for block, at in ((b"x" * 12_800, self.size), (b"x" * 4096, 0)):
            os.pwrite(self.file, block, at)
            os.fdatasync(self.file)
        self.size += 12_800
        self.syncs.append((due, time.monotonic()))

    def stop(self) -> None:
        for loop in self.loops:
            loop.stop()
        # The dead one's last wait is in the account until it is reaped.
        self.look(time.monotonic())
        os.close(self.file)
        self.peer.close()

    def _at(self, moment: float) -> tuple[float, int, float]:
        """The last look before that moment."""
        found = bisect.bisect_right(self.seen, moment, key=lambda seen: seen[0])
        return self.seen[max(found - 1, 0)]

    def committed(self, moment: float) -> int:
        """What the ring held then, at least."""
        return self._at(moment)[1]

    def withheld(self, moment: float, interval: float) -> float:
        """Seconds by which the machine can have made the last sync before `moment` late."""
        usual = statistics.median(over - due for due, over in self.syncs)
        late = 0.0
        while True:
            first = moment - interval - late
            waited = self.seen[-1][2] - self._at(first)[2]
            slow = [over - due - usual for due, over in self.syncs if over > first]
            found = waited + max(0.0, *slow)
            if found <= late:
                return late
            late = found
