"""What samples cost a Python program in each of their forms, and how soon it hears of speech.

    python benches/samples.py [ROUNDS]

Costs are CPU time per second of audio, in windows of 1024 samples (64 ms), each beside NumPy's own
conversion of the float window in the same run. Speech is played from a file in real time: how
much audio had come after the window that began it when `stream.events()` told of it; and how
much had come that `record - --format s16le` had not given by then.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rig import BINARY
from rig.playing import Recording, Service, begin_of
from rig.speech import Talk
from v2m_engine import AudioCapture

RATE, SIZE, WINDOW = 16_000, 1024, 512


def us_per_second(act: Callable[[], object], rounds: int) -> float:
    """The least of five runs."""

    def once() -> float:
        begun = time.thread_time_ns()
        for _ in range(rounds):
            act()
        return (time.thread_time_ns() - begun) / rounds

    return min(once() for _ in range(5)) / 1000 * RATE / SIZE


def costs(place: Path, rounds: int) -> None:
    source = Recording(place / "noise.wav", 60).source
    capture = {
        dtype: AudioCapture(engine="private", source=source, buffer_size=SIZE, dtype=dtype)
        for dtype in ("float32", "int16")
    }
    with capture["float32"].stream() as floats, capture["int16"].stream() as integers:

        def by_numpy() -> object:
            scaled = np.rint(np.asarray(floats.latest()) * np.float32(32768))
            return np.clip(scaled, -32768, 32767).astype(np.int16)

        forms: dict[str, Callable[[], object]] = {
            "float32, where it lies": floats.latest,
            "the same, copied": lambda: floats.latest().copy(),
            "int16": integers.latest,
            "int16, as bytes": lambda: bytes(integers.latest()),
            "int16 by NumPy": by_numpy,
        }
        peer = us_per_second(by_numpy, rounds)
        for name, act in forms.items():
            cost = us_per_second(act, rounds)
            print(f"{name:24} {cost:7.1f} us per second of audio, {cost / peer:4.2f} x NumPy's")


def speech(place: Path) -> None:
    talk = Talk(place / "talk.wav")
    capture = AudioCapture(engine="private", source=talk.source, buffer_size=WINDOW)
    after = []
    with capture.stream() as audio:
        for event in audio.events():
            if event.kind == "speech-start":
                after.append((audio.position - event.position - WINDOW) / WINDOW)
    print(
        f"speech is known {statistics.median(after):.2f} windows of audio after the one that "
        f"began it (median of {len(after)}; at most {max(after):.2f})"
    )


def pipe(place: Path) -> None:
    recording = Recording(place / "piped.wav", 8)
    os.environ["V2M_ENGINE_SOCKET"] = str(place / "engine.sock")
    service = Service("--source", recording.source)
    command = [BINARY, "record", "-", "--format", "s16le", "--seconds", "5"]
    behind, end = [], 0
    try:
        with (
            AudioCapture(buffer_size=WINDOW).stream() as audio,
            subprocess.Popen(command, stdout=subprocess.PIPE) as record,
        ):
            assert record.stdout is not None
            while piece := os.read(record.stdout.fileno(), 1 << 16):
                there = audio.position
                samples = np.frombuffer(piece, "<i2")
                end = (end or begin_of(recording.int16, samples)) + len(samples)
                behind.append((there - end) / RATE * 1000)
    finally:
        service.kill()
    print(
        f"16-bit PCM in a pipe is {statistics.median(behind):.1f} ms behind the ring "
        f"(median of {len(behind)} pieces; at most {max(behind):.1f}), which takes blocks of 20 ms"
    )


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as place:
        costs(Path(place), rounds)
        speech(Path(place))
        pipe(Path(place))


if __name__ == "__main__":
    main()
