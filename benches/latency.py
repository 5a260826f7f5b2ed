"""How late readers are, and what the audio callback costs, on a private PipeWire.

In one run, at quantum 256 and 48 kHz: nanoseconds from the moment the graph's callback
writes samples to the moment a reader holds them, for a plain reader in another process
(the floor), for synchronous Python and for asyncio, each with and without a thread that
hogs the GIL; then the callback's own duration without readers and with 64 of them.

Usage: python benches/latency.py [--count 2000] [--quantum 256]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/rig"))

from rig import PrivatePipeWire  # noqa: E402

from v2m_engine import AudioCapture  # noqa: E402

ENGINE = ROOT / "target/release/v2m-engine"


def build_reader() -> str:
    """The path of the plain reader."""
    built = subprocess.run(
        ["cargo", "bench", "--bench", "reader", "--no-run", "--message-format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "reader":
            return str(message["executable"])
    raise SystemExit("cargo built no reader")


def build_watcher(directory: Path) -> Path:
    """The library that measures the callback."""
    flags = subprocess.run(
        ["pkg-config", "--cflags", "libpipewire-0.3"], capture_output=True, text=True, check=True
    ).stdout.split()
    library = directory / "rtcheck.so"
    source = ROOT / "tests/realtime/rtcheck.c"
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), *flags, "-ldl"]
    subprocess.run(command, check=True)
    return library


@contextmanager
def engine(rig: PrivatePipeWire, **env: str) -> Iterator[None]:
    """The service, linked to the virtual microphone."""
    process = subprocess.Popen([ENGINE, "run", "--log", "error"], env=rig.env | env)
    try:
        rig.wait_for_links("rig-mic", "v2m-engine")
        os.environ["V2M_ENGINE_SOCKET"] = str(rig.directory / "v2m-engine/engine.sock")
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def gil_hog(wanted: bool) -> Iterator[None]:
    """A thread that does nothing but run Python."""
    stop = threading.Event()

    def hog() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=hog)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if wanted:
            thread.join()


def plain(reader: str, count: int) -> list[int]:
    """Latencies of the plain reader."""
    out = subprocess.run(
        [reader, "latency", str(count)], capture_output=True, text=True, check=True
    )
    return [int(line) for line in out.stdout.split()]


def synchronous(count: int) -> list[int]:
    """Latencies of a `for` loop."""
    latencies = []
    with AudioCapture(engine="service", buffer_size=512).stream(hop="quantum") as stream:
        for _chunk in stream:
            latencies.append(time.monotonic_ns() - stream.written_ns)
            if len(latencies) == count:
                break
    return latencies


def asynchronous(count: int) -> list[int]:
    """Latencies of an `async for` loop."""

    async def run() -> list[int]:
        latencies = []
        async with AudioCapture(engine="service", buffer_size=512).stream(hop="quantum") as stream:
            async for _chunk in stream:
                latencies.append(time.monotonic_ns() - stream.written_ns)
                if len(latencies) == count:
                    break
        return latencies

    return asyncio.run(run())


def percentile(ordered: list[int], share: float) -> float:
    """In microseconds."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1000


def callback(
    rig: PrivatePipeWire, library: Path, reader: str, waiting: int, stuck: int
) -> dict[str, Any]:
    """The watcher's report on some seconds of capture with a crowd of readers."""
    with tempfile.NamedTemporaryFile() as report:
        watched = {"LD_PRELOAD": str(library), "RTCHECK_REPORT": report.name}
        crowd = [reader, "crowd", str(waiting), str(stuck)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with engine(rig, **watched), subprocess.Popen(crowd, **pipes, env=os.environ) as readers:
            assert readers.stdin and readers.stdout
            readers.stdout.readline()
            time.sleep(6)
        result: dict[str, Any] = json.loads(Path(report.name).read_text())
        return result


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="wake-ups for each reader")
    parser.add_argument("--quantum", type=int, default=256)
    options = parser.parse_args()
    reader = build_reader()
    machine = os.uname()
    print(f"quantum {options.quantum}/48000, {os.cpu_count()} cores, Linux {machine.release}")

    with (
        tempfile.TemporaryDirectory() as directory,
        PrivatePipeWire(quantum=options.quantum) as rig,
    ):
        library = build_watcher(Path(directory))
        print(f"\nfrom the callback's write to the reader, µs, {options.count} wake-ups each:")
        print(f"  {'':<28}{'p50':>8}{'p99':>9}{'max':>10}   p50 - plain")
        with engine(rig):
            floor = 0.0
            for name, measure, hog in (
                ("plain reader", lambda: plain(reader, options.count), False),
                ("Python, sync", lambda: synchronous(options.count), False),
                ("Python, asyncio", lambda: asynchronous(options.count), False),
                ("plain reader, GIL hog beside", lambda: plain(reader, options.count), True),
                ("Python, sync, GIL hog", lambda: synchronous(options.count), True),
                ("Python, asyncio, GIL hog", lambda: asynchronous(options.count), True),
            ):
                with gil_hog(hog):
                    latencies = sorted(measure())
                p50 = percentile(latencies, 0.5)
                if name == "plain reader":
                    floor = p50
                p99, most = percentile(latencies, 0.99), latencies[-1] / 1000
                print(f"  {name:<28}{p50:>8.1f}{p99:>9.1f}{most:>10.1f}{p50 - floor:>+12.1f}")

        print("\nthe callback itself, µs (rounds in turn; every round has one live reader):")
        print(f"  {'beside it':<28}{'p50':>8}{'p99':>9}{'p99.9':>10}")
        crowds = {
            "nobody": (1, 0),
            "64 that hold the ring": (1, 64),
            "64 that wait for it": (65, 0),
        }
        medians: dict[str, list[float]] = {name: [] for name in crowds}
        for _ in range(3):
            for name, (waiting, stuck) in crowds.items():
                report = callback(rig, library, reader, waiting, stuck)
                p50, p99, p999 = (report[key] / 1000 for key in ("p50_ns", "p99_ns", "p999_ns"))
                medians[name].append(p50)
                print(f"  {name:<28}{p50:>8.2f}{p99:>9.2f}{p999:>10.2f}")
        alone = sorted(medians["nobody"])[1]
        for name in list(crowds)[1:]:
            change = sorted(medians[name])[1] / alone - 1
            print(f"  {name} change the median by {change:+.1%}")


if __name__ == "__main__":
    main()
