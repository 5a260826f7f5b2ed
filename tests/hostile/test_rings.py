"""Clients of an engine that lies: wrong audio or an error, and nothing worse."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rig import BINARY
from rig.hostile import LONG, is_clean
from rig.lying_engine import LyingEngine

#: What a client may take beyond what it takes anyway.
MEMORY = 400 << 20

READERS = {
    "chunks": """
with AudioCapture(engine="service").stream() as stream:
    for chunk in stream:
        bytes(chunk), chunk.time_ns, chunk.gap, chunk.position
""",
    "segments": """
with AudioCapture(engine="service").stream() as stream:
    for segment in stream.segments(partial_ms=100):
        len(segment), segment.duration
""",
    "asyncio": """
async def main():
    async with AudioCapture(engine="service").stream() as stream:
        async def chunks():
            async for chunk in stream:
                chunk.gap
        async def segments():
            async for segment in stream.segments():
                segment.duration
        await asyncio.gather(chunks(), segments())
asyncio.run(main())
""",
    "recorder": """
with AudioCapture(engine="service").record(sys.argv[1] + "/python.wav") as recording:
    time.sleep(60)
""",
}
BEGIN = "import asyncio, sys, time\nfrom v2m_engine import AudioCapture\n"


def clients(directory: Path) -> dict[str, list[str]]:
    """Everything that reads a ring, as commands."""
    python = {
        name: [sys.executable, "-c", BEGIN + code, str(directory)] for name, code in READERS.items()
    }
    engine = str(BINARY)
    return python | {
        "record": [engine, "record", str(directory / "command.wav")],
        "record speech": [engine, "record", str(directory / "s.flac"), "--speech"],
        "record the past": [engine, "record", str(directory / "p.wav"), "--last", "1h"],
        "listen": [engine, "listen", "--json"],
        "monitor": [engine, "monitor", "--once"],
    }


def peak(pid: int) -> int:
    """The most that a process had of its own memory at once: shared pages are the ring's."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    # None any more when it has just ended.
    return int(fields.get("RssAnon", "0 kB").split()[0]) * 1024


def run(command: list[str], env: dict[str, str], log: Path) -> None:
    """Runs a client for a moment; then it must end when it is told to."""
    what = f"{command[:3]}: "
    with log.open("w") as err:
        process = subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=err,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, 64 << 20)),
        )
    try:
        end = time.monotonic() + 2.5
        while process.poll() is None and time.monotonic() < end:
            assert peak(process.pid) < MEMORY, f"{what}memory"
            time.sleep(0.05)
        for _ in range(2):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(6)
                except subprocess.TimeoutExpired:
                    continue
        assert process.poll() is not None, f"{what}does not end"
        # By an error, by Ctrl-C, or because the file grew too large; never by a fault.
        ended = (-signal.SIGINT, -signal.SIGXFSZ)
        assert process.returncode >= 0 or process.returncode in ended, (
            f"{what}{process.returncode}: {log.read_text()}"
        )
        said = log.read_text()
        assert "panicked" not in said and is_clean(said), said
    finally:
        process.kill()
        process.wait()


@contextmanager
def lying(directory: Path, seed: int, **how: Any) -> Iterator[dict[str, str]]:
    directory.mkdir()
    engine = LyingEngine(directory / "s", seed, **how)
    try:
        yield {"V2M_ENGINE_SOCKET": str(directory / "s")}
    finally:
        engine.close()


def test_rings_that_lie(user: Any, tmp_path: Path) -> None:
    count = 500 if LONG else 18

    def one(seed: int) -> None:
        directory = tmp_path / str(seed)
        with lying(directory, seed) as env:
            readers = list(clients(directory).values())
            run(readers[seed % len(readers)], user.env | env, directory / "log")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(count)))


def test_headers_that_lie(user: Any, tmp_path: Path) -> None:
    """Refused, as long as what they say can't be; else it is read, and may be anything."""
    draw = random.Random(8)

    class LyingFromTheStart(LyingEngine):
        def header(self) -> bytes:
            header = bytearray(super().header())
            for _ in range(draw.randrange(1, 4)):
                place = draw.choice([*range(0, 0x40), *range(0x80, 0x140)])
                header[place] = draw.choice([0, 1, 2, 0x7F, 0x80, 0xFF])
            return bytes(header)

    for seed in range(200 if LONG else 8):
        directory = tmp_path / str(seed)
        directory.mkdir()
        engine = LyingFromTheStart(directory / "s", seed)
        env = user.env | {"V2M_ENGINE_SOCKET": str(directory / "s")}
        run([str(BINARY), "monitor", "--once"], env, directory / "log")
        engine.close()


def test_a_ring_without_memory_behind_it(user: Any, tmp_path: Path) -> None:
    """A gigabyte of holes must not become a gigabyte of memory by being looked at."""
    directory = tmp_path / "sparse"
    with lying(directory, 1, samples=1 << 28, sparse=True) as env:
        for name, command in clients(directory).items():
            done = subprocess.run(
                command, env=user.env | env, capture_output=True, text=True, timeout=30, check=False
            )
            assert done.returncode == 1 and "holes" in done.stderr, f"{name}: {done.stderr}"
