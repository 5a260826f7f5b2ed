"""The speech track of a ring beside what the reference model says of its samples.

Read by `rig.independent_reader`, which knows the ring from its document alone.
"""

from __future__ import annotations

import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rig import independent_reader as ring_reader
from rig.independent_reader import GAPS, SAMPLES, SPEECH, TURNS, Record, Ring
from rig.vad_reference import Reference

Floats = npt.NDArray[np.float32]
WINDOW = 512
TOLERANCE = 1e-4
START, END = 2, 3


class Track(NamedTuple):
    """What a ring holds from window `first` on, all of it whole."""

    first: int
    samples: Floats
    probabilities: Floats
    gaps: npt.NDArray[np.bool_]
    turns: list[Record]


def read(ring: Ring, first: int = 0) -> Track:
    """Every window from `first` on that has a probability."""
    end = ring.committed(SPEECH)
    samples = np.asarray(ring.samples(first * WINDOW, (end - first) * WINDOW), np.float32)
    probabilities = np.asarray(ring.speech(first, end - first), np.float32)
    gaps = np.zeros(end - first, bool)
    for gap in ring.records(GAPS):
        last = (gap.position + gap.length - 1) // WINDOW
        gaps[max(0, gap.position // WINDOW - first) : max(0, last + 1 - first)] = True
    return Track(first, samples, probabilities, gaps, ring.records(TURNS))


def connect(socket: str | Path) -> tuple[object, Ring]:
    """The connection, to be kept, and the ring."""
    peer, descriptor, _ = ring_reader.connect(str(socket))
    return peer, Ring(descriptor)


def difference(track: Track) -> float:
    """How far the track is from the reference at most, which starts with it."""
    expected = Reference().probabilities(track.samples, track.gaps)
    return float(np.max(np.abs(expected - track.probabilities)))


def turns(probabilities: Floats, silence_ms: int = 500) -> list[tuple[int, int]]:
    """Speech starts and ends by the engine's rules, each with its position."""
    found: list[tuple[int, int]] = []
    pause = None
    for position, p in zip(range(0, len(probabilities) * WINDOW, WINDOW), probabilities):  # noqa: B905
        on = bool(found) and found[-1][0] == START
        if p >= 0.5:
            pause = None
            if not on:
                found.append((START, position))
        elif on and p < 0.35:
            pause = position if pause is None else pause
            if position - pause >= silence_ms * 16:
                found.append((END, pause))
                pause = None
    return found


def write_wav(path: Path, *parts: Floats) -> None:
    """16 kHz mono, 16 bits; samples that are multiples of 1/32768 stay what they are."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        for part in parts:
            out.writeframes(np.round(part * 32768).astype("<i2").tobytes())


__all__ = ["SAMPLES", "SPEECH", "Ring", "Track", "connect", "difference", "read", "turns"]
