"""What engines for clusters add to finding speech in recordings, on a local cluster.

    target/frameworks/bin/python benches/vad_clusters.py [HOURS [EXAMPLE ...]]

The programs of `python/examples/corpus_*.py`, each with one worker and with two, over a folder of
recordings of some minutes (speech with pauses, 16 kHz, WAV); beside them `speech_timestamps_many`
with one job and two. Each runs over a fifth of the HOURS (100) and over all of them: the difference
is what recordings cost, and what is left is the start. An engine's overhead is the wall time of an
hour of audio beyond ours, one worker each; a cluster of two should be twice as fast as of one.
EXAMPLES are of `ray`, `dask` and `datasets`; without any it is all of them.

How much faster it can be is the engine's affair and the machine's: on two cores two workers share
them with the engine's own processes. So each program runs again with nothing to do but arithmetic,
which reads no file and needs no memory, as much for a recording as our detection takes: its floor.
For a quiet machine with two cores.
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

from rig import ROOT
from rig.speech import RATE, TEXTS, Talk

EXAMPLES = ROOT / "python/examples"
ENGINES = {"ray": "Ray Data", "dask": "Dask", "datasets": "Hugging Face datasets"}
HOURS = 100.0


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


def ours(folder: Path, workers: int) -> None:
    from v2m_engine import VADProcessor

    paths = sorted(folder.iterdir())
    VADProcessor(min_silence_ms=300).speech_timestamps_many(paths, workers)


#: In place of our module: as many rounds for each recording, whatever it is.
ARITHMETIC = """
from hashlib import pbkdf2_hmac


class VADProcessor:
    def __init__(self, **parameters):
        pass

    def speech_timestamps_many(self, items, jobs=None, **form):
        for _ in items:
            pbkdf2_hmac("sha256", b"", b"", {rounds})
        return [[] for _ in items]
"""


def arithmetic(place: Path, duration: float) -> Path:
    """A folder with a module of our name that takes so many seconds for a recording."""
    tried = 100_000
    least = min(timed(lambda: pbkdf2_hmac("sha256", b"", b"", tried)) for _ in range(5))
    place.mkdir()
    rounds = max(1, round(tried * duration / least))
    (place / "v2m_engine.py").write_text(ARITHMETIC.format(rounds=rounds))
    return place


def program(name: str, modules: Path | None = None) -> Callable[[Path, int], None]:
    """One of the examples; with `modules` it finds its imports there first."""

    def run(folder: Path, workers: int) -> None:
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / "out.jsonl"
            command = [sys.executable, EXAMPLES / name, folder, out, str(workers)]
            # Nothing of one run is kept for the next; Ray waits for a machine that is busy.
            env = os.environ | {"HF_HOME": place, "HF_DATASETS_CACHE": place}
            env |= {"RAY_raylet_start_wait_time_s": "120"}
            env |= {"PYTHONPATH": str(modules)} if modules else {}
            done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=place)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])

    return run


def main() -> None:
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else HOURS
    with tempfile.TemporaryDirectory() as name:
        talk = Talk(Path(name) / "talk.wav", texts=TEXTS * 14, snr=30)
        each = len(talk.samples) / RATE / 3600
        few, many = round(hours / 5 / each), round(hours / each)
        folders = [recordings(Path(name) / str(count), talk.path, count) for count in (few, many)]
        print(f"{'seconds':24} {'start':>7} {'an hour of audio':>17} {'beyond ours':>12} ", end="")
        print(f"{'by two':>7} {'x as fast':>10} {'at best':>8}")

        def measured(run: Callable[[Path, int], None]) -> tuple[float, float, float]:
            """The start, and what an hour of audio takes one worker, and two."""
            times = [
                min(timed(partial(run, folder, workers)) for _ in range(2))
                for workers in (1, 2)
                for folder in folders
            ]
            one, two = ((times[n + 1] - times[n]) / ((many - few) * each) for n in (0, 2))
            return times[0] - one * few * each, one, two

        start, alone, two = measured(ours)
        print(f"{'speech_timestamps_many':24} {start:7.1f} {alone:17.3f} {'':12} ", end="")
        print(f"{two:7.3f} {alone / two:10.2f}", flush=True)
        modules = arithmetic(Path(name) / "arithmetic", alone * each)
        for short in sys.argv[2:] or ENGINES:
            what, example = ENGINES[short], f"corpus_{short}.py"
            try:
                start, one, two = measured(program(example))
                _, floor, both = measured(program(example, modules))
            except RuntimeError as error:
                print(f"{what:24} does not run: {error}", flush=True)
                continue
            print(f"{what:24} {start:7.1f} {one:17.3f} {one - alone:12.3f} ", end="")
            print(f"{two:7.3f} {one / two:10.2f} {floor / both:8.2f}", flush=True)


if __name__ == "__main__":
    main()
