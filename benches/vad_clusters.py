"""What engines for clusters add to finding speech in recordings, on a local cluster.

    target/frameworks/bin/python benches/vad_clusters.py [HOURS]

The programs of `python/examples/corpus_*.py`, each with one worker and with two, over a folder of
recordings of some minutes (speech with pauses, 16 kHz, WAV); beside them `speech_timestamps_many`
with one job and two. Each runs over a fifth of the HOURS (100) and over all of them: the difference
is what recordings cost, and what is left is the start. An engine's overhead is the wall time of an
hour of audio beyond ours, one worker each; a cluster of two should be twice as fast as of one. For
a quiet machine with two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rig import ROOT
from rig.speech import RATE, TEXTS, Talk

EXAMPLES = ROOT / "python/examples"
HOURS = 100.0


def recordings(folder: Path, first: Path, count: int) -> Path:
    """A folder of so many, all the same file."""
    folder.mkdir()
    for n in range(count):
        os.link(first, folder / f"{n:05}.wav")
    return folder


def seconds(run: Callable[[Path, int], None], folder: Path, workers: int) -> float:
    start = time.perf_counter()
    run(folder, workers)
    return time.perf_counter() - start


def ours(folder: Path, workers: int) -> None:
    from v2m_engine import VADProcessor

    paths = sorted(folder.iterdir())
    VADProcessor(min_silence_ms=300).speech_timestamps_many(paths, workers)


def program(name: str) -> Callable[[Path, int], None]:
    def run(folder: Path, workers: int) -> None:
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / "out.jsonl"
            command = [sys.executable, EXAMPLES / name, folder, out, str(workers)]
            # Nothing of one run is kept for the next; Ray waits for a machine that is busy.
            env = os.environ | {"HF_HOME": place, "HF_DATASETS_CACHE": place}
            env |= {"RAY_raylet_start_wait_time_s": "120"}
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
        print(f"{'by two':>7} {'x as fast':>10}")
        alone = 0.0
        for what, run in {
            "speech_timestamps_many": ours,
            "Ray Data": program("corpus_ray.py"),
            "Dask": program("corpus_dask.py"),
            "Hugging Face datasets": program("corpus_datasets.py"),
        }.items():
            try:
                times = [
                    min(seconds(run, folder, workers) for _ in range(2))
                    for workers in (1, 2)
                    for folder in folders
                ]
            except RuntimeError as error:
                print(f"{what:24} does not run: {error}", flush=True)
                continue
            one, two = ((times[n + 1] - times[n]) / ((many - few) * each) for n in (0, 2))
            alone = alone or one
            start = times[0] - one * few * each
            print(f"{what:24} {start:7.1f} {one:17.3f} {one - alone:12.3f} ", end="")
            print(f"{two:7.3f} {one / two:10.2f}", flush=True)


if __name__ == "__main__":
    main()
