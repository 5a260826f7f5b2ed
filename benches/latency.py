"""How late readers are, and what the audio callback costs, on a private PipeWire.

In one run, at quantum 256 and 48 kHz: nanoseconds from the moment the graph's callback
writes samples to the moment a reader holds them, for a plain reader in another process
(the floor), for synchronous Python and for asyncio, each with and without a thread that
hogs the GIL; then the callback's own duration without readers and with 64 of them.

Usage: python benches/latency.py [--count 2000] [--quantum 256] [--rounds 9]
"""

from __future__ import annotations

import argparse
import array
import asyncio
import math
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage import PrivatePipeWire, build_bench, build_watcher, crowd, engine

from v2m_engine import AudioCapture


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
    """By nearest rank, in microseconds."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] / 1000


#: What is beside the one live reader: how many wait for every quantum, how many only hold the ring.
CROWDS = {"nobody": (0, 0), "64 that hold the ring": (0, 64), "64 that wait for it": (64, 0)}


def callback(
    rig: PrivatePipeWire, library: Path, reader: str, rounds: int, seconds: float
) -> dict[str, list[int]]:
    """Durations of one engine's callbacks in ns, by what was beside it.

    The crowds take turns, so that what the machine does meanwhile meets all of them.
    """
    spans: dict[str, list[tuple[int, int]]] = {name: [] for name in CROWDS}

    with tempfile.NamedTemporaryFile() as raw:
        watched = {"LD_PRELOAD": str(library), "RTCHECK_REPORT": os.devnull}
        with (
            engine(rig, **watched, RTCHECK_DURATIONS=raw.name) as (_, socket),
            crowd(reader, socket, 1),
        ):
            for turn in range(rounds):
                names = list(CROWDS)
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    with crowd(reader, socket, *CROWDS[name]):
                        time.sleep(0.2)
                        start = time.monotonic_ns()
                        time.sleep(seconds)
                        spans[name].append((start, time.monotonic_ns()))
        numbers = array.array("Q", Path(raw.name).read_bytes())
    cycles = list(zip(numbers[::2], numbers[1::2], strict=True))
    return {
        name: sorted(took for start, took in cycles if any(a <= start < b for a, b in all_of))
        for name, all_of in spans.items()
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="wake-ups for each reader")
    parser.add_argument("--quantum", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each crowd, 2 s each")
    options = parser.parse_args()
    reader = build_bench("reader")
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

        print("\nthe callback itself, µs, one live reader and beside it (taking turns):")
        print(f"  {'':<28}{'p50':>8}{'p99':>9}{'p99.9':>10}{'cycles':>9}   change of p50")
        durations = callback(rig, library, reader, options.rounds, 2.0)
        alone = percentile(durations["nobody"], 0.5)
        for name, took in durations.items():
            p50, p99, p999 = (percentile(took, share) for share in (0.5, 0.99, 0.999))
            change = f"{p50 / alone - 1:>+15.1%}"
            print(f"  {name:<28}{p50:>8.2f}{p99:>9.2f}{p999:>10.2f}{len(took):>9}{change}")


if __name__ == "__main__":
    main()
