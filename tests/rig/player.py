"""What plays into the rig: `player.c`, built once, and what it says while it plays."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / "target" / "rig"

#: How many times as long as usual anything may take, where programs are emulated.
PATIENCE = float(os.environ.get("V2M_TEST_PATIENCE", "1"))

# What the rig runs, and the Debian package each comes in.
PIPEWIRE = {
    "pipewire": "pipewire-bin",
    "pw-cli": "pipewire-bin",
    "pw-dump": "pipewire-bin",
    "pw-link": "pipewire-bin",
    "pw-metadata": "pipewire-bin",
}
# What makes the player.
COMPILER = {"cc": "gcc", "pkg-config": "pkg-config"}


class RigError(Exception):
    """The rig could not do what was asked; the message says why."""


def require_programs(programs: dict[str, str]) -> None:
    """Raise ``RigError`` naming the package of the first program that is missing."""
    for program, package in programs.items():
        if shutil.which(program) is None:
            raise RigError(f"{program} is not installed: apt-get install {package}")


def build_player(cache: Path = CACHE) -> Path:
    """The program of ``player.c``."""
    return build("player", cache)


def build(name: str, cache: Path = CACHE) -> Path:
    """Compile a program of this directory unless the cache has it already; return it."""
    source, program = HERE / f"{name}.c", cache / name
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    require_programs(COMPILER)
    cache.mkdir(parents=True, exist_ok=True)
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libpipewire-0.3"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if flags.returncode != 0:
        raise RigError("libpipewire's headers are missing: apt-get install libpipewire-0.3-dev")
    # Two tests may build at once: each its own file, then one rename.
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        built = Path(scratch) / name
        cc = subprocess.run(
            ["cc", "-O2", "-w", "-o", str(built), str(source), *flags.stdout.split()],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if cc.returncode != 0:
            raise RigError(f"{name}.c does not compile:\n{cc.stderr}")
        built.replace(program)
    return program


def die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Player:
    """A running ``player``: what it plays is a function of graph position."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._news = threading.Condition()
        self._starts: list[tuple[int, int, int]] = []
        self._started_ns: list[int] = []
        self._impulses: list[tuple[int, int]] = []
        self._late: list[tuple[int, int, int]] = []
        self._done: tuple[int, int] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, *numbers = line.split()
            values = tuple(int(n) for n in numbers)
            with self._news:
                if kind == "start":
                    self._starts.append((values[0], values[1], values[2]))
                    self._started_ns.append(values[3])
                elif kind == "impulse":
                    self._impulses.append((values[0], values[1]))
                elif kind == "late":
                    self._late.append((values[0], values[1], values[2]))
                elif kind == "done":
                    self._done = (values[0], values[1])
                self._news.notify_all()

    def started(self, count: int = 1, timeout: float = 10.0) -> list[tuple[int, int, int]]:
        """Wait for ``count`` anchors; all so far as ``(p0, rate, clock id)``."""
        with self._news:
            if not self._news.wait_for(lambda: len(self._starts) >= count, timeout * PATIENCE):
                raise RigError(f"the player has not started {count} times within {timeout} s")
            return list(self._starts)

    @property
    def started_ns(self) -> list[int]:
        """When each anchor was new, CLOCK_MONOTONIC."""
        with self._news:
            return list(self._started_ns)

    @property
    def impulses(self) -> list[tuple[int, int]]:
        """Impulses so far as ``(graph position, CLOCK_MONOTONIC ns)``."""
        with self._news:
            return list(self._impulses)

    @property
    def late(self) -> list[tuple[int, int]]:
        """Stretches of graph positions, first and end, that may not have been heard."""
        return [(first, end) for first, end, _ in self.late_at]

    @property
    def late_at(self) -> list[tuple[int, int, int]]:
        """The same, each with the CLOCK_MONOTONIC ns at which it was noticed."""
        with self._news:
            return list(self._late)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait(self, timeout: float) -> tuple[int, int]:
        """Wait for the file's end; ``(cycles, late cycles)``."""
        try:
            self._process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise RigError(f"the player has not ended within {timeout} s") from error
        self._reader.join(timeout)
        if self._done is None:
            raise RigError(f"the player failed with status {self._process.returncode}")
        return self._done

    def stop(self) -> tuple[int, int]:
        """End it; ``(cycles, late cycles)``."""
        self._process.terminate()
        try:
            return self.wait(5)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
