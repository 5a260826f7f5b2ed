"""What is played: a loop of speech in noise, in which any few samples tell where they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rig.reference import SPEECH, prototype, speech_once

Floats = npt.NDArray[np.float32]

GRAPH_RATE = 48_000
#: Samples until it repeats, half a minute: divisible by three, so that it does at 16 kHz, too.
LENGTH = 3 << 19
#: So many samples in a row are in one place only.
ENOUGH = 24


@dataclass(frozen=True)
class Place:
    """Of a sample: whose it is, and its number in the loop at the graph's rate."""

    source: str
    index: int


class Table:
    """The loop at one rate, and where in it given samples are."""

    def __init__(self, values: Floats, step: int, tolerance: float) -> None:
        """`step`: from one sample to the next, in the loop at the graph's rate."""
        self.values, self.step, self.tolerance = values, step, tolerance
        self._order = np.argsort(values).astype(np.int32)
        self._sorted = values[self._order]

    def after(self, index: int, count: int) -> int:
        return (index + count * self.step) % LENGTH

    def take(self, index: int, count: int) -> Floats:
        """The samples from that place on."""
        return self.values[(index + self.step * np.arange(count)) % LENGTH]

    def same(self, samples: Floats, index: int) -> int:
        """How many of them, from the first on, are those of that place."""
        if len(samples) == 0:
            return 0
        other = np.abs(samples - self.take(index, len(samples))) > self.tolerance
        first = int(np.argmax(other))
        return first if other[first] else len(samples)

    def find(self, samples: Floats) -> int | None:
        """The place of the first of them, if `ENOUGH` of them are of one."""
        samples = samples[:ENOUGH]
        # The loudest has the fewest like it.
        at = int(np.argmax(np.abs(samples)))
        bounds = (samples[at] - self.tolerance, samples[at] + self.tolerance)
        low = np.searchsorted(self._sorted, bounds[0], "left")
        high = np.searchsorted(self._sorted, bounds[1], "right")
        places = (self._order[low:high].astype(np.int64) - at * self.step) % LENGTH
        for number, sample in enumerate(samples):
            there = self.values[(places + number * self.step) % LENGTH]
            places = places[np.abs(there - sample) <= self.tolerance]
        return int(places[0]) if len(places) == 1 else None


class Played:
    """One source's loop."""

    def __init__(self, name: str, seed: int) -> None:
        assert SPEECH, "no recordings in /usr/share/sounds/alsa: install alsa-utils"
        self.name = name
        rng = np.random.default_rng(seed)
        speech = speech_once()
        # Each begins elsewhere, with a second of silence after each round.
        whole = np.concatenate([speech, np.zeros(GRAPH_RATE)])
        talk = np.roll(np.resize(whole, LENGTH), int(rng.integers(LENGTH)))
        noise = 0.01 * rng.standard_normal(LENGTH)
        self.samples: Floats = (0.6 * talk + noise).astype(np.float32)
        # Silence is never what was played.
        self.samples[self.samples == 0] = 1e-6

    def write(self, directory: Path) -> Path:
        path = directory / f"{self.name}.f32"
        self.samples.tofile(path)
        return path

    @cached_property
    def at_48k(self) -> Table:
        """The source's own rate comes as it is."""
        return Table(self.samples, 1, 0.0)

    @cached_property
    def at_16k(self) -> Table:
        taps, delay = prototype()
        around = np.concatenate([self.samples[-len(taps) :], self.samples, self.samples[:delay]])
        filtered = np.convolve(around.astype(np.float64), taps)
        first = len(taps) + delay
        return Table(filtered[first : first + LENGTH].astype(np.float32), 3, 3e-6)

    def at(self, rate: int) -> Table:
        return {48_000: self.at_48k, 16_000: self.at_16k}[rate]
