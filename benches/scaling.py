"""What more readers, sources, rates and engines cost: on a private PipeWire at quantum 256.

1 to 64 reading clients of one stream; 1 to 16 sources in one engine, 1 to 4 rates of one source,
and 1 to 8 engines of one source each, each with a reader. For each: the callback's own duration
and how long its thread wakes clients afterwards, how late one more reader is (they are woken one
after the other, and share the cores), CPU time and memory of the engine (of all of them), and
what its streams lost. As floors, one engine beside as many threads that a clock wakes for nothing,
and beside as many filters that do nothing, in real time as it is; and filters of one process that
only copy what they hear, as many as there are sources. In rounds, in turn, so that the machine's
moods meet all of them; medians are compared within the round, of several sources each with one
alone.

At last 64 files, played in real time by one engine that has one core, through the detector.

Usage: python benches/scaling.py [--rounds 3] [--seconds 4] [--only sources]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from stage import (
    ENGINE,
    PrivatePipeWire,
    build_bench,
    build_filters,
    build_watcher,
    cpu_s,
    crowd,
    engine,
    linked_filters,
    output_of,
    timers,
)

from rig.peer import Peer
from rig.user import SPEECH

QUANTUM = 256
READERS = (1, 8, 32, 64)
SOURCES = (1, 4, 8, 16)
RATES = (1, 2, 3, 4)
ENGINES = (1, 2, 4, 8)
#: Beside the one at 16 kHz, which each source has.
HERTZ = (8_000, 24_000, 48_000)
FILES = 64
#: How much longer the callback may take, and of what.
FLAT = {"readers": 0.05, "sources": 0.10, "engines": 0.05}
#: Share of a core that 16 sources may take, in percent.
SIXTEEN = 10.0


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


def status(socket: str) -> dict[str, Any]:
    """What an engine says of itself."""
    out = subprocess.run(
        [ENGINE, "status", "--json"],
        env=os.environ | {"V2M_ENGINE_SOCKET": socket},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(out.stdout)
    return found


def memory_mib(pid: int) -> float:
    """What a process has for itself, and its part of what it shares."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (line,) = [line for line in rollup.splitlines() if line.startswith("Pss:")]
    return int(line.split()[1]) / 1024


@contextmanager
def holding(socket: str, wanted: list[dict[str, Any]]) -> Iterator[None]:
    """Clients that hold these streams; their audio comes."""
    with ExitStack() as stack:
        for stream in wanted:
            peer = Peer(socket, **stream)
            stack.callback(peer.close)
            ring = peer.ring
            if ring is None:
                raise SystemExit(f"{stream}: {peer.reply}")
            begin, deadline = ring.committed(), time.monotonic() + 20
            while ring.committed() < begin + ring.rate // 10:
                if time.monotonic() > deadline:
                    raise SystemExit(f"{stream}: no audio")
                time.sleep(0.01)
        yield


@dataclass
class Cost:
    """One round of one number of something."""

    callback_us: float
    #: Of each source, in the order in which they began.
    each_us: list[float]
    waking_us: float
    lateness_us: float
    engine_percent: float
    readers_percent: float
    memory_mib: float
    lost_ms: float


@dataclass
class Bench:
    """Where it is measured, and with what."""

    rig: PrivatePipeWire
    watcher: Path
    reader: str
    filters: Path
    seconds: float

    def measure(
        self,
        *,
        readers: int = 1,
        sources: int = 1,
        rates: int = 1,
        clocks: int = 0,
        engines: int = 1,
        filters: int = 0,
    ) -> Cost:
        """The first engine, watched, beside others, or what does nothing."""
        with tempfile.NamedTemporaryFile() as report:
            watched = {"LD_PRELOAD": str(self.watcher), "RTCHECK_REPORT": report.name}
            with ExitStack() as stack:
                pid, socket = stack.enter_context(engine(self.rig, "engine-0", **watched))
                pids, sockets = [pid], [socket]
                streams = [{"source": f"mic-{n}"} for n in range(1, sources)]
                streams += [{"rate": rate} for rate in HERTZ[: rates - 1]]
                stack.enter_context(holding(socket, streams))
                readers_pid = stack.enter_context(crowd(self.reader, socket, readers))
                stack.enter_context(timers(self.reader, clocks))
                for n in range(1, engines):
                    other, its = stack.enter_context(engine(self.rig, f"engine-{n}"))
                    stack.enter_context(crowd(self.reader, its, 1))
                    pids.append(other)
                    sockets.append(its)
                heard = output_of(self.rig, "engine-0")
                for n in range(filters):
                    beside = {f"filter-{n}": heard}
                    stack.enter_context(linked_filters(self.rig, self.filters, "empty", beside))
                time.sleep(0.5)

                def used() -> float:
                    return sum(cpu_s(pid) for pid in pids)

                def lost_s() -> float:
                    return sum(
                        stream["lost_samples"] / stream["rate"]
                        for socket in sockets
                        for stream in status(socket)["streams"]
                    )

                lost, start = lost_s(), time.monotonic()
                before, before_readers = used(), cpu_s(readers_pid)
                late = lateness_us(self.reader, socket, int(self.seconds * 48000 / QUANTUM))
                taken = time.monotonic() - start
                cpu, cpu_readers = used() - before, cpu_s(readers_pid) - before_readers
                cost = Cost(
                    callback_us=0,
                    each_us=[],
                    waking_us=0,
                    lateness_us=late,
                    engine_percent=cpu / taken * 100,
                    readers_percent=cpu_readers / taken * 100,
                    memory_mib=sum(memory_mib(pid) for pid in pids),
                    lost_ms=(lost_s() - lost) * 1000,
                )
            # Written when the engine ended.
            watch = json.loads(Path(report.name).read_text())
        cost.callback_us, cost.waking_us = watch["p50_ns"] / 1000, watch["waking_p50_ns"] / 1000
        cost.each_us = [took / 1000 for took in watch["each_p50_ns"]]
        return cost

    def copy(self, count: int) -> Cost:
        """Filters that only copy, and no engine."""
        with tempfile.NamedTemporaryFile() as report:
            watched = {"LD_PRELOAD": str(self.watcher), "RTCHECK_REPORT": report.name}
            heard = {
                f"copy-{n}": f"{f'mic-{n}' if n else 'rig-mic'}:capture_MONO" for n in range(count)
            }
            with linked_filters(self.rig, self.filters, "copy", heard, **watched):
                time.sleep(self.seconds + 200 * QUANTUM / 48_000)
            watch = json.loads(Path(report.name).read_text())
        each = [took / 1000 for took in watch["each_p50_ns"]]
        return Cost(watch["p50_ns"] / 1000, each, *[0.0] * 6)


Rounds = dict[int, list[Cost]]


def middle(costs: list[Cost], what: Callable[[Cost], float]) -> float:
    return median(what(cost) for cost in costs)


def show(what: str, rounds: Rounds) -> None:
    """Its part of the table."""
    for number, costs in rounds.items():
        # Of whatever else there are many, one client reads.
        readers = number if what == "readers" else 1
        each = middle(costs, lambda cost: cost.readers_percent) / readers
        print(
            f"{what:<9}{number:>3}"
            f"{middle(costs, lambda cost: cost.callback_us):>13.2f}"
            f"{middle(costs, lambda cost: cost.waking_us):>17.2f}"
            f"{middle(costs, lambda cost: cost.lateness_us):>16.1f}"
            f"{middle(costs, lambda cost: cost.engine_percent):>14.2f}"
            f"{each:>18.3f}"
            f"{middle(costs, lambda cost: cost.memory_mib):>12.1f}"
            f"{sum(cost.lost_ms for cost in costs):>9.1f}"
        )


def growth(rounds: Rounds, most: int | None = None) -> float:
    """How much longer the callback takes with more of them, at most so many; of several sources
    the one whose callback takes longest.

    Compared round by round: the machine's moods are those of a round.
    """

    def ratio(number: int) -> float:
        pairs = list(zip(rounds[number], rounds[1], strict=True))
        # One whose thread got no cycles after its warm-up has no median.
        sources = range(min(len(many.each_us) for many, _ in pairs))
        return max(
            median(many.each_us[source] / one.each_us[0] for many, one in pairs)
            for source in sources
        )

    return max(ratio(number) for number in rounds if most is None or number <= most) - 1


def further(rounds: Rounds, what: Callable[[Cost], float]) -> float:
    """What each after the first costs."""
    most = max(rounds)
    return (middle(rounds[most], what) - middle(rounds[1], what)) / (most - 1)


def on_one_thread() -> None:
    """What sources cost each other that share a thread, and nothing else has it."""
    printed = subprocess.run([build_bench("sources")], capture_output=True, text=True, check=True)
    took = {int(line.split(":")[0]): line.split()[-2] for line in printed.stdout.splitlines()[1:]}
    one, many = (float(took[count]) / 1000 for count in (1, 8))
    print(
        f"  floor    each of 8 sources that take their cycles in turn on one thread, without a "
        f"graph: {many / one - 1:+.1%} ({one:.2f} to {many:.2f} us)"
    )


def judge(found: dict[str, Rounds]) -> None:
    """The aims, and what a further one costs."""
    for what, floor in [("threads", "threads that a clock wakes"), ("filters", "filters")]:
        if rounds := found.get(what):
            print(f"  floor    the callback among {floor} for nothing: {growth(rounds):+.1%}")
    if rounds := found.get("copies"):
        one, many = (middle(rounds[number], lambda cost: cost.callback_us) for number in (1, 8))
        print(
            f"  floor    each callback with up to 8 that only copy what they hear: "
            f"{growth(rounds, 8):+.1%} ({one:.2f} to {many:.2f} us)"
        )
    if "sources" in found:
        on_one_thread()
    for what, aim in FLAT.items():
        if rounds := found.get(what):
            # 16 sources are more than the graph's cycle is asked to bear unchanged.
            most = 8 if what == "sources" else None
            change = growth(rounds, most)
            met = "met" if change <= aim else "NOT MET"
            many = most or max(rounds)
            callback = "each source's callback" if what == "sources" else "the callback"
            beyond = ""
            if (copies := found.get("copies")) and what == "sources":
                ratio = (1 + change) / (1 + growth(copies, most))
                beyond = f"; beyond those that only copy: {ratio - 1:+.1%}"
            print(
                f"  {met:<8} {callback} with up to {many} {what}: {change:+.1%} "
                f"(aim: {aim:.0%}){beyond}"
            )
    for what in ("sources", "rates", "engines"):
        if rounds := found.get(what):
            cpu = further(rounds, lambda cost: cost.engine_percent)
            mib = further(rounds, lambda cost: cost.memory_mib)
            print(f"  a further one of the {what}: {cpu:.2f} % of a core, {mib:.1f} MiB")
    if rounds := found.get("sources"):
        percent = middle(rounds[16], lambda cost: cost.engine_percent)
        lost = sum(cost.lost_ms for cost in rounds[16])
        met = "met" if percent < SIXTEEN and lost == 0 else "NOT MET"
        print(
            f"  {met:<8} 16 sources in one engine: {percent:.1f} % of a core, {lost:.1f} ms lost "
            f"(aim: {SIXTEEN:.0f} %, nothing)"
        )


def files(directory: Path, seconds: float) -> None:
    """64 files through the detector, in real time, on one core."""
    paths = [directory / f"{n}.wav" for n in range(FILES)]
    with wave.open(SPEECH) as spoken, wave.open(str(directory / "minute.wav"), "wb") as minute:
        minute.setparams(spoken.getparams())
        words = spoken.readframes(spoken.getnframes())
        for _ in range(60 * spoken.getframerate() // spoken.getnframes()):
            minute.writeframes(words)
    for path in paths:
        path.symlink_to(directory / "minute.wav")
    socket = str(directory / "files.sock")
    environment = os.environ | {"V2M_ENGINE_SOCKET": socket, "XDG_RUNTIME_DIR": str(directory)}
    command = ["taskset", "-c", "0", ENGINE, "run", "--log", "error"]
    process = subprocess.Popen([*command, "--source", f"file:{paths[0]}"], env=environment)
    try:
        deadline = time.monotonic() + 10
        while not Path(socket).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        streams = [{"source": f"file:{path}"} for path in paths]
        with holding(socket, streams):
            before, start = cpu_s(process.pid), time.monotonic()
            time.sleep(seconds)
            percent = (cpu_s(process.pid) - before) / (time.monotonic() - start) * 100
            now = status(socket)
        behind = max(stream["vad_lag_ms"] for stream in now["streams"])
        cost, delay = now["vad"]["cost_us"], now["vad"]["delay_us"]
        met = "met" if percent < 100 and behind <= 64 else "NOT MET"
        print(
            f"  {met:<8} {FILES} files through the detector on one core: {percent:.1f} % of it, "
            f"{cost['p50']:.0f} us a window, published {delay['p50']:.0f} us after its samples "
            f"(p99 {delay['p99']:.0f}), {behind} ms behind at the end"
        )
    finally:
        process.terminate()
        process.wait(20)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="for each line and round")
    parser.add_argument("--only", action="append", help="readers, sources, rates, engines, files …")
    options = parser.parse_args()
    reader = build_bench("reader")
    print(f"quantum {QUANTUM}/48000, {os.cpu_count()} cores, Linux {os.uname().release}\n")
    kinds: dict[str, tuple[tuple[int, ...], Callable[[Bench, int], Cost]]] = {
        "readers": (READERS, lambda bench, n: bench.measure(readers=n)),
        "threads": (READERS, lambda bench, n: bench.measure(clocks=n - 1)),
        "sources": (SOURCES, lambda bench, n: bench.measure(sources=n)),
        "rates": (RATES, lambda bench, n: bench.measure(rates=n)),
        "engines": (ENGINES, lambda bench, n: bench.measure(engines=n)),
        "filters": (ENGINES, lambda bench, n: bench.measure(filters=n - 1)),
        "copies": (SOURCES[:-1], Bench.copy),
    }
    if options.only:
        kinds = {name: kind for name, kind in kinds.items() if name in options.only}
    found: dict[str, Rounds] = {
        name: {number: [] for number in numbers} for name, (numbers, _) in kinds.items()
    }
    with tempfile.TemporaryDirectory() as directory:
        programs = Path(directory)
        with PrivatePipeWire(quantum=QUANTUM) as rig:
            for n in range(1, max(SOURCES)):
                rig.create_source(f"mic-{n}")
            watcher = build_watcher(programs)
            bench = Bench(rig, watcher, reader, build_filters(programs), options.seconds)
            for _ in range(options.rounds):
                for name, (_, measure) in kinds.items():
                    for number, costs in found[name].items():
                        costs.append(measure(bench, number))
        print(f"{'':<12}{'callback µs':>13}{'waking after it':>17}{'reader late µs':>16}", end="")
        print(f"{'engine CPU %':>14}{'CPU % per reader':>18}{'engine MiB':>12}{'lost ms':>9}")
        for name, rounds in found.items():
            # Copies have no engine: only a floor.
            if name != "copies":
                show(name, rounds)
        judge(found)
        if not options.only or "files" in options.only:
            files(programs, options.seconds * 2)


if __name__ == "__main__":
    main()
