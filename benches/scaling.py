"""What more readers, and more engines, cost: on a private PipeWire at quantum 256.

1 to 64 reading clients: the callback's own duration and how long its thread wakes clients
afterwards, how late one more reader is (they are woken one after the other, and share
the cores), and CPU time for each reader. Then 1 to 8 engines beside each other, each with a
reader. As floors, one engine beside as many threads that a clock wakes for nothing, and beside
as many filters that do nothing, in real time as it is. In rounds, in turn, so that the machine's
moods meet all of them; medians are compared within the run.

Usage: python benches/scaling.py [--rounds 3] [--seconds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from stage import (
    PrivatePipeWire,
    build_filter,
    build_reader,
    build_watcher,
    cpu_s,
    crowd,
    empty_filter,
    engine,
    timers,
)

READERS = (1, 8, 32, 64)
ENGINES = (1, 2, 4, 8)
QUANTUM = 256
FLAT = 0.05


def lateness_us(reader: str, socket: str, count: int) -> float:
    """Median from the writing into the ring to one more reader's hand."""
    out = subprocess.run(
        [reader, "latency", str(count)],
        env=os.environ | {"V2M_ENGINE_SOCKET": socket},
        capture_output=True,
        text=True,
        check=True,
    )
    return median(int(line) for line in out.stdout.split()) / 1000


@dataclass
class Cost:
    """One round of one number of readers or engines."""

    callback_us: float
    waking_us: float
    lateness_us: float
    engine_percent: float
    readers_percent: float


@dataclass
class Bench:
    """Where it is measured, and with what."""

    rig: PrivatePipeWire
    watcher: Path
    reader: str
    filter: Path
    seconds: float

    def measure(
        self, *, readers: int = 1, clocks: int = 0, engines: int = 1, filters: int = 0
    ) -> Cost:
        """The first engine, watched, beside others, or what does nothing."""
        with tempfile.NamedTemporaryFile() as report:
            watched = {"LD_PRELOAD": str(self.watcher), "RTCHECK_REPORT": report.name}
            with ExitStack() as stack:
                pid, socket = stack.enter_context(engine(self.rig, "engine-0", **watched))
                readers_pid = stack.enter_context(crowd(self.reader, socket, readers))
                stack.enter_context(timers(self.reader, clocks))
                for n in range(1, engines):
                    _, other = stack.enter_context(engine(self.rig, f"engine-{n}"))
                    stack.enter_context(crowd(self.reader, other, 1))
                for n in range(filters):
                    name = f"filter-{n}"
                    stack.enter_context(empty_filter(self.rig, self.filter, name, "engine-0"))
                time.sleep(0.5)
                before, start = (cpu_s(pid), cpu_s(readers_pid)), time.monotonic()
                late = lateness_us(self.reader, socket, int(self.seconds * 48000 / QUANTUM))
                taken = time.monotonic() - start
                used = (cpu_s(pid) - before[0], cpu_s(readers_pid) - before[1])
            # Written when the engine ended.
            watch = json.loads(Path(report.name).read_text())
        callback, waking = watch["p50_ns"] / 1000, watch["waking_p50_ns"] / 1000
        return Cost(callback, waking, late, used[0] / taken * 100, used[1] / taken * 100)


def show(
    what: str, rounds: dict[int, list[Cost]], *, per_reader: bool = False, floor: str = ""
) -> None:
    """A table of medians, and whether the callback notices."""
    print(f"\n{what:<10}{'callback µs':>13}{'waking after it':>17}", end="")
    print(f"{'reader late µs':>16}{'engine CPU %':>14}", end="")
    print(f"{'CPU % per reader':>18}" if per_reader else "")
    callbacks: list[float] = []
    for number, costs in rounds.items():
        callbacks.append(median(cost.callback_us for cost in costs))
        waking = median(cost.waking_us for cost in costs)
        late = median(cost.lateness_us for cost in costs)
        percent = median(cost.engine_percent for cost in costs)
        each = median(cost.readers_percent / number for cost in costs)
        print(
            f"{number:<10}{callbacks[-1]:>13.2f}{waking:>17.2f}{late:>16.1f}{percent:>14.2f}",
            end="",
        )
        print(f"{each:>18.3f}" if per_reader else "")
    change = max(callbacks) / callbacks[0] - 1
    if floor:
        print(f"  floor    an engine among {floor}: {change:+.1%}")
        return
    met = "met" if change <= FLAT else "NOT MET"
    print(f"  {met:<8} the callback: at most {change:+.1%} with more of them (aim: {FLAT:.0%})")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="for each line and round")
    options = parser.parse_args()
    reader = build_reader()
    print(f"quantum {QUANTUM}/48000, {os.cpu_count()} cores, Linux {os.uname().release}")
    by_readers: dict[int, list[Cost]] = {number: [] for number in READERS}
    by_engines: dict[int, list[Cost]] = {number: [] for number in ENGINES}
    by_clocks: dict[int, list[Cost]] = {number: [] for number in READERS}
    by_filters: dict[int, list[Cost]] = {number: [] for number in ENGINES}
    with tempfile.TemporaryDirectory() as directory, PrivatePipeWire(quantum=QUANTUM) as rig:
        programs = Path(directory)
        bench = Bench(rig, build_watcher(programs), reader, build_filter(programs), options.seconds)
        for _ in range(options.rounds):
            for number, costs in by_readers.items():
                costs.append(bench.measure(readers=number))
            for number, costs in by_clocks.items():
                costs.append(bench.measure(clocks=number - 1))
            for number, costs in by_engines.items():
                costs.append(bench.measure(engines=number))
            for number, costs in by_filters.items():
                costs.append(bench.measure(filters=number - 1))
    show("readers", by_readers, per_reader=True)
    show("threads", by_clocks, floor="threads that a clock wakes for nothing")
    show("engines", by_engines)
    show("filters", by_filters, floor="filters that do nothing, in real time")


if __name__ == "__main__":
    main()
