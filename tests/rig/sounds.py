"""What sounds beside a voice: noise, hum and music, made here, at 16 kHz and an RMS of 1."""

from __future__ import annotations

from typing import Any

import numpy as np

RATE = 16000


def to(level: float, samples: Any) -> Any:
    """With an RMS of `level` dBFS, as float32."""
    rms = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return (samples * (10 ** (level / 20) / rms)).astype(np.float32)


def peak(level: float, samples: Any) -> Any:
    """With a peak of `level` dBFS, as float32."""
    return (samples * (10 ** (level / 20) / np.max(np.abs(samples)))).astype(np.float32)


def white(seconds: float, seed: int = 1) -> Any:
    return to(0, np.random.default_rng(seed).standard_normal(int(seconds * RATE)))


def pink(seconds: float, seed: int = 1) -> Any:
    """As much in each octave, from 20 Hz on."""
    spectrum = np.fft.rfft(white(seconds, seed))
    hertz = np.fft.rfftfreq(int(seconds * RATE), 1 / RATE)
    return to(0, np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 20)), int(seconds * RATE)))


def hum(seconds: float, hertz: float = 50) -> Any:
    """The mains in a cable: what a rectifier makes of it, odd harmonics above all."""
    t = np.arange(int(seconds * RATE)) / RATE
    parts = [(1, 1.0), (2, 0.1), (3, 0.2), (4, 0.03), (5, 0.07), (7, 0.03)]
    return to(0, sum(a * np.sin(2 * np.pi * hertz * n * t + n) for n, a in parts))


def rumble(seconds: float, seed: int = 1) -> Any:
    """Traffic, wind and hands on the table: noise below 30 Hz."""
    spectrum = np.fft.rfft(white(seconds, seed))
    hertz = np.fft.rfftfreq(int(seconds * RATE), 1 / RATE)
    return to(0, np.fft.irfft(spectrum * ((hertz > 2) & (hertz < 30)), int(seconds * RATE)))


def _string(hertz: float) -> Any:
    """One plucked string (Karplus and Strong): noise in a loop that a low-pass calms."""
    period, length = round(RATE / hertz), int(1.5 * RATE)
    y = np.zeros(length + 1)
    y[1 : period + 1] = np.random.default_rng(period).uniform(-1, 1, period)
    for at in range(period + 1, length, period):
        new = 0.498 * (y[at - period : at] + y[at - period - 1 : at - 1])
        y[at : at + period] = new[: length + 1 - at]
    return y[1:]


def strings(seconds: float, seed: int = 1) -> Any:
    """Plucked strings, one to three at a time, two to eight times a second."""
    rng = np.random.default_rng(seed)
    steps = [0, 2, 4, 5, 7, 9, 11]
    scale = [_string(110 * 2 ** (octave + step / 12)) for octave in range(3) for step in steps]
    out = np.zeros(int((seconds + 2) * RATE))
    at = 0
    while at < seconds * RATE:
        for _ in range(int(rng.integers(1, 4))):
            note = scale[int(rng.integers(len(scale)))]
            out[at : at + len(note)] += rng.uniform(0.3, 1) * note
        at += int(RATE * rng.choice([0.125, 0.25, 0.25, 0.5]))
    return to(0, out[: int(seconds * RATE)])


def babble(voices: list[Any], seconds: float, seed: int = 1, count: int = 12) -> Any:
    """A room full of people: `count` of them speak without a pause."""
    rng = np.random.default_rng(seed)
    out = np.zeros(int(seconds * RATE), np.float32)
    for _ in range(count):
        at = int(rng.integers(0, 3 * RATE))
        while at < len(out):
            voice = to(0, voices[int(rng.integers(len(voices)))])[: len(out) - at]
            out[at : at + len(voice)] += voice
            at += len(voice) + int(rng.integers(0, RATE // 3))
    return to(0, out)
