"""What engines for clusters add to finding speech in recordings, on a local cluster.

    target/frameworks/bin/python benches/vad_clusters.py [HOURS [EXAMPLE ...]]

The programs of `python/examples/corpus_*.py` (`ray`, `dask`, `datasets`; all of them if none is
named), each with one worker and with two, over HOURS (30) in recordings of some minutes (speech
with pauses, 16 kHz, WAV); beside them `speech_timestamps_many` with one job and two. Each call for
a batch is timed: an hour of audio costs what it takes between the moment when all workers have
begun and the one when the first has nothing more to do, the engine's work between the calls
included; what is left of the whole is the start. The better of two runs counts.

An engine's overhead is what an hour of audio takes beyond ours, one worker each; two should be
twice as fast as one. How near to that they come is the engine's affair and the machine's: on two
cores two workers share them with the engine's own processes. So each program runs again with
nothing to do but arithmetic, which reads no file and needs no memory, as much for a recording as
detection takes: what is reached at best. For a quiet machine with two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from hashlib import pbkdf2_hmac
from pathlib import Path
from typing import NamedTuple

from rig import ROOT
from rig.speech import RATE, TEXTS, Talk

EXAMPLES = ROOT / "python/examples"
ENGINES = {"ray": "Ray Data", "dask": "Dask", "datasets": "Hugging Face datasets"}
HOURS = 30.0


class Times(NamedTuple):
    """Seconds."""

    whole: float
    #: Of a recording, with all workers busy.
    each: float


def recordings(folder: Path, first: Path, count: int) -> Path:
    """A folder of so many, all the same file."""
    folder.mkdir()
    for n in range(count):
        os.link(first, folder / f"{n:05}.wav")
    return folder


def timed(run: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ours(folder: Path, workers: int) -> Times:
    from v2m_engine import VADProcessor

    paths = sorted(folder.iterdir())
    vad = VADProcessor(min_silence_ms=300)
    whole = timed(lambda: vad.speech_timestamps_many(paths, workers))
    return Times(whole, whole / len(paths))


def program(name: str, folder: Path, workers: int, rounds: int = 0) -> Times:
    """One of the examples; with `rounds`, of arithmetic alone."""
    with tempfile.TemporaryDirectory() as place:
        calls = Path(place) / "calls"
        command = [sys.executable, EXAMPLES / name, folder, f"{place}/out.jsonl", str(workers)]
        env = os.environ | {
            # Nothing of one run is kept for the next; Ray waits for a machine that is busy.
            "HF_HOME": place,
            "HF_DATASETS_CACHE": place,
            "RAY_raylet_start_wait_time_s": "120",
            "PYTHONPATH": str(ROOT / "benches/timed"),
            "V2M_BENCH_CALLS": str(calls),
            "V2M_BENCH_ROUNDS": str(rounds),
        }
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=place)
        whole = time.perf_counter() - start
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return Times(whole, busy(calls.read_text(), workers))


def busy(calls: str, workers: int) -> float:
    """Seconds for a recording while all workers have some."""
    rows = [tuple(map(float, line.split())) for line in calls.splitlines()]
    of = {pid: [row for row in rows if row[0] == pid] for pid, *_ in rows}
    if len(of) != workers:
        raise RuntimeError(f"{len(of)} of {workers} workers had something to do: more hours")
    since = max(min(begin for _, begin, _, _ in mine) for mine in of.values())
    until = min(max(end for _, _, end, _ in mine) for mine in of.values())
    # Of calls that reach beyond, their part.
    done = sum(
        count * max(0.0, min(end, until) - max(begin, since)) / (end - begin)
        for _, begin, end, count in rows
    )
    return (until - since) / done


def better(run: Callable[[], Times]) -> Times:
    return min((run() for _ in range(2)), key=lambda times: times.each)


def main() -> None:
    given = sys.argv[1:]
    hours = float(given[0]) if given else HOURS
    with tempfile.TemporaryDirectory() as name:
        talk = Talk(Path(name) / "talk.wav", texts=TEXTS * 14, snr=30)
        each = len(talk.samples) / RATE / 3600
        count = round(hours / each)
        folder = recordings(Path(name) / "recordings", talk.path, count)
        print(f"{'seconds':24} {'start':>7} {'an hour of audio':>17} {'beyond ours':>12} ", end="")
        print(f"{'by two':>7} {'x as fast':>10} {'at best':>8}")
        alone, two = (better(partial(ours, folder, n)).each for n in (1, 2))
        print(f"{'speech_timestamps_many':24} {0:7.1f} {alone / each:17.3f} {'':12} ", end="")
        print(f"{two / each:7.3f} {alone / two:10.2f}", flush=True)
        tried = 100_000
        arithmetic = min(timed(lambda: pbkdf2_hmac("sha256", b"", b"", tried)) for _ in range(9))
        rounds = round(tried * alone / arithmetic)
        for short in given[1:] or ENGINES:
            what, example = ENGINES[short], f"corpus_{short}.py"
            try:
                one, two, least, floor = (
                    better(partial(program, example, folder, n, r))
                    for n, r in ((1, 0), (2, 0), (1, rounds), (2, rounds))
                )
            except RuntimeError as error:
                print(f"{what:24} does not run: {error}", flush=True)
                continue
            start, beyond = one.whole - count * one.each, one.each - alone
            print(f"{what:24} {start:7.1f} {one.each / each:17.3f} {beyond / each:12.3f} ", end="")
            print(f"{two.each / each:7.3f} {one.each / two.each:10.2f} ", end="")
            print(f"{least.each / floor.each:8.2f}", flush=True)


if __name__ == "__main__":
    main()
