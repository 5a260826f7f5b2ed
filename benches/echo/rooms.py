"""Rooms and talkers: what a microphone hears of a loudspeaker and of somebody beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rig.sounds import to
from rig.speech import read_pocketsphinx, say

RATE = 48_000
RECORDINGS = Path("/usr/share/pocketsphinx/test/data")
#: What the loudspeaker says, in several voices.
FAR = (
    "The weather tomorrow will be mostly sunny, with some clouds in the afternoon.",
    "Your next appointment is at half past three, in the office on the second floor.",
    "I have found four restaurants near you. The first one is open until ten o'clock.",
    "Turn left after two hundred meters, and then keep to the right at the roundabout.",
    "Here are the headlines of this morning, beginning with the news from abroad.",
    "The recipe takes three eggs, two cups of flour, and a little more than a pint of milk.",
)
VOICES = ("en", "en-us", "en+f3", "en-us+m4", "en+f5")
#: Who speaks beside it: a reader's sentences, and what they are.
NEAR = {
    "0870": "and mister john dashwood had then leisure to consider how much there might be "
    "prudently in his power to do for them",
    "0880": "he was not an ill disposed young man",
    "0890": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    "0920": "had he married a more amiable woman he might have been made still more respectable "
    "than he was",
    "0930": "he might even have been made amiable himself",
}
#: dBFS of a voice, where it speaks, and of the microphone's own noise.
LEVEL, NOISE = -26, -85
#: Straight lines between so many values a sample: two clocks alone colour nothing (a line from
#: sample to sample takes up to 1 dB off at 7 kHz, more and less in turns, which no clock does).
FINER = 8


@dataclass(frozen=True)
class Room:
    """A way from a loudspeaker to a microphone."""

    name: str
    delay_ms: float = 40
    """Until the direct sound comes."""
    reverberation_ms: float = 200
    """Until the reverberation is 60 dB down; 0 is a dry room."""
    gain_db: float = 0
    """Of the echo against the near voice."""
    drive: float = 0
    """How hard the loudspeaker is driven; 0 is linear."""
    drift_ppm: float = 0
    """By how much the microphone's clock is faster."""
    seed: int = 1

    def echo(self, far: Any) -> Any:
        """What the microphone hears of `far`, as long as that."""
        played = far.astype(np.float64)
        if self.drive:
            # Unsymmetrical, as a cone is.
            driven = played * self.drive
            played = np.tanh(driven + 0.2 * driven**2) / self.drive
        echo = convolve(played, self.response())[: len(far)]
        if self.drift_ppm:
            at = np.arange(len(far)) * (1 - self.drift_ppm * 1e-6) * FINER
            fine = resample(echo, RATE, FINER * RATE)
            echo = np.interp(at, np.arange(len(fine)), fine)
        return echo

    def response(self) -> Any:
        rng = np.random.default_rng(self.seed)
        start, tail = (int(ms * RATE / 1000) for ms in (self.delay_ms, self.reverberation_ms))
        response = np.zeros(start + tail + 1)
        if tail:
            decay = 10 ** (-3 * np.arange(tail) / tail)
            response[start : start + tail] = rng.standard_normal(tail) * decay
            # The walls' first answers stand out from the tail.
            for along in rng.random(6):
                index = start + int(along * tail * 0.3)
                response[index] += rng.standard_normal() * 4 * 10**-along
        # Direct sound and room are equally loud.
        response[start] += max(np.sqrt(np.sum(response**2)), 1)
        return response * 10 ** (self.gain_db / 20) / np.sqrt(np.sum(response**2))


ROOMS = (
    Room("dry", 40, 0),
    Room("5 ms", 5, 200),
    Room("living room"),
    Room("350 ms", 40, 350, seed=2),
    Room("350 ms, 24 dB softer", 40, 350, -24, seed=4),
    Room("500 ms", 40, 500, seed=5),
    Room("150 ms away", 150, 300, seed=6),
    Room("300 ms away", 300, 200, seed=7),
    Room("6 dB louder", gain_db=6, seed=8),
    Room("overdriven", drive=6, seed=9),
    Room("clocks 100 ppm apart", drift_ppm=-100, seed=11),
)


def convolve(a: Any, b: Any) -> Any:
    length = 1 << int(len(a) + len(b)).bit_length()
    return np.fft.irfft(np.fft.rfft(a, length) * np.fft.rfft(b, length), length)


def resample(samples: Any, rate: int, other: int) -> Any:
    """All of it at once, by its spectrum."""
    spectrum, length = np.fft.rfft(samples), len(samples) * other // rate
    return np.fft.irfft(spectrum[: length // 2 + 1], length) * (other / rate)


def voice(samples: Any) -> Any:
    """At 48 kHz, and as loud as everybody."""
    return to(LEVEL, resample(samples[: len(samples) // 2 * 2], 16_000, RATE))


def far_end(seconds: float, seed: int = 1, pauses: tuple[float, float] = (0.1, 0.6)) -> Any:
    """A loudspeaker that talks, with pauses of so many seconds at least and at most."""
    rng = np.random.default_rng(seed)
    texts = [(text, name) for text in FAR for name in VOICES]
    out = np.zeros(round(seconds * RATE), np.float32)
    at = 0
    while at < len(out):
        words = voice(say(*texts[int(rng.integers(len(texts)))]))[: len(out) - at]
        out[at : at + len(words)] = words
        at += len(words) + int(rng.uniform(*pauses) * RATE)
    return out


def near_end(lead: float) -> tuple[Any, list[tuple[int, int, str]]]:
    """A reader after `lead` seconds, with pauses; where each sentence begins and ends, and its
    words."""
    parts = [np.zeros(int(lead * RATE), np.float32)]
    told = []
    for number, words in NEAR.items():
        path = RECORDINGS / f"librivox/sense_and_sensibility_01_austen_64kb-{number}.wav"
        spoken = voice(read_pocketsphinx(path))
        begin = sum(map(len, parts))
        told.append((begin, begin + len(spoken), words))
        parts += [spoken, np.zeros(int(1.5 * RATE), np.float32)]
    return np.concatenate(parts), told


def noise(length: int) -> Any:
    """The microphone's own."""
    return to(NOISE, np.random.default_rng(99).standard_normal(length))
