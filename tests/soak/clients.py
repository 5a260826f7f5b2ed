"""The Python readers: started, killed, frozen, and each with an account of what it got."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from rig.player import die_with_parent
from soak.account import Account, World
from soak.played import Floats
from soak.readers import CHUNK, CLEANED, OPENED, OVERRUN, RATES, RECORD

KINDS = ("sync", "asyncio", "segments", "clean")


class Client(threading.Thread):
    """One reader, which begins again whenever it was killed."""

    def __init__(self, kind: str, world: World, env: dict[str, str], log: Path) -> None:
        super().__init__(name=kind, daemon=True)
        self.kind, self.env, self.log = kind, env, log
        self.account = Account(world, kind, RATES[kind])
        self.over = threading.Event()
        #: Held while what it has handed over is added to its account.
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0
        self.overruns = 0
        self._heard = threading.Event()
        #: The newest chunk of `clean`.
        self._held: tuple[int, int, bool, Floats] | None = None
        self._held_cleaned = False
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "soak.readers", self.kind],
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    preexec_fn=die_with_parent,
                )
            self.started += 1
            assert self.process.stdout
            with self.process.stdout as pipe:
                self._take(pipe)
            self.process.wait()

    def _take(self, pipe: IO[bytes]) -> None:
        while len(head := pipe.read(RECORD.size)) == RECORD.size:
            kind, flagged, count, position, time_ns = RECORD.unpack(head)
            payload = pipe.read(4 * count)
            if len(payload) < 4 * count:
                return  # killed in the middle of it
            with self.lock:
                if kind in (OPENED, OVERRUN):
                    self._close_clean(cleaned=True)
                if kind == OPENED:
                    self.account.opened()
                elif kind == OVERRUN:
                    self.overruns += 1
                    self.account.overrun(position)
                else:
                    assert kind in (CHUNK, CLEANED)
                    self._heard.set()
                    samples = np.frombuffer(payload, np.float32)
                    told = (position, time_ns, bool(flagged), samples)
                    if self.kind == "segments":
                        self.account.segment(*told)
                    elif self.kind == "clean":
                        self._take_clean(*told, cleaned=kind == CLEANED)
                    else:
                        self.account.chunk(*told)

    def _take_clean(
        self, position: int, time_ns: int, flagged: bool, samples: Floats, *, cleaned: bool
    ) -> None:
        """What is told of a chunk's last window comes with the next chunk."""
        self._close_clean(cleaned=cleaned or flagged)
        self._held = (position, time_ns, flagged, samples)
        self._held_cleaned = cleaned

    def _close_clean(self, *, cleaned: bool) -> None:
        if self._held:
            self.account.chunk(*self._held, cleaned=cleaned or self._held_cleaned)
        self._held = None

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self.process:
                self.process.send_signal(number)

    def kill(self) -> None:
        """As the out-of-memory killer does."""
        self.signal(signal.SIGKILL)

    def wait_for_audio(self, seconds: float) -> bool:
        """Whether something comes within that time."""
        self._heard.clear()
        return self._heard.wait(seconds)

    def stop(self) -> None:
        self.over.set()
        self.signal(signal.SIGCONT)
        self.kill()
        self.join(20)


def environment(runtime: dict[str, str]) -> dict[str, str]:
    """What leads a reader to the engine, and Python to this package."""
    tests = str(Path(__file__).resolve().parents[1])
    return runtime | {"PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
