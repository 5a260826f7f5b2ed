"""What the engine ought to make of a 48 kHz recording, computed independently.

The prototype filter is read from the source of the resampler; the rest is one
convolution in double precision. From 48 kHz the resampler is just that: every
third sample of the filtered signal, moved back by the filter's delay. Of the
prototype it takes every fourth tap.
"""

from __future__ import annotations

import re
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rig import ROOT

Samples = npt.NDArray[np.float32]

SPEECH = sorted(Path("/usr/share/sounds/alsa").glob("*_*.wav"))


def prototype() -> tuple[npt.NDArray[np.float64], int]:
    """The filter's taps at 48 kHz and the delay that is compensated, in samples."""
    text = (ROOT / "crates/dsp/src/resample/prototype.rs").read_text()
    density = re.search(r"DENSITY: u32 = (\d+);", text)
    delay = re.search(r"DELAY: usize = (\d+);", text)
    taps = re.search(r"TAPS: \[f64; \d+\] = \[(.*?)\];", text, re.DOTALL)
    assert density and delay and taps
    every = int(density[1]) * 16 // 48
    samples, phase = divmod(int(delay[1]), every)
    dense = np.array([float(tap) for tap in taps[1].split(",") if tap.strip()])
    return dense[phase::every] * every, samples


def at_16k(played: Samples) -> list[npt.NDArray[np.float64]]:
    """`played` at 16 kHz, for each of the three samples that output 0 may stand on."""
    taps, delay = prototype()
    filtered = np.convolve(played.astype(np.float64), taps)[delay:]
    return [filtered[phase::3][: (len(played) - phase) // 3] for phase in range(3)]


def speech_once() -> npt.NDArray[np.float64]:
    """All of the recorded speech at 48 kHz."""
    assert SPEECH, "no recordings in /usr/share/sounds/alsa: install alsa-utils"
    parts = []
    for path in SPEECH:
        with wave.open(str(path)) as file:
            assert file.getframerate() == 48_000 and file.getsampwidth() == 2
            raw = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            parts.append(raw.reshape(-1, file.getnchannels())[:, 0] / 32_768)
    return np.concatenate(parts)


def speech_with_marker(seconds: float) -> Samples:
    """Recorded speech at 48 kHz, under it noise that makes every stretch unique."""
    once = speech_once()
    count = int(seconds * 48_000)
    speech = np.tile(once, -(-count // len(once)))[:count]
    marker = np.random.default_rng(20_261).standard_normal(count)
    return (0.7 * speech + 0.03 * marker).astype(np.float32)


def locate(captured: Samples, references: list[npt.NDArray[np.float64]]) -> tuple[int, int]:
    """Phase and offset at which a stretch of captured audio fits the references best."""
    best = (np.inf, 0, 0)
    for phase, reference in enumerate(references):
        size = 1 << (len(reference) + len(captured) - 1).bit_length()
        product = np.fft.rfft(reference, size) * np.conj(np.fft.rfft(captured, size))
        fits = len(reference) - len(captured) + 1
        correlation = np.fft.irfft(product, size)[:fits]
        energy = np.concatenate([[0.0], np.cumsum(reference**2)])
        error = energy[len(captured) :] - energy[:fits] - 2 * correlation
        at = int(np.argmin(error))
        best = min(best, (float(error[at]), phase, at))
    return best[1], best[2]


#: The resampler's filter, in samples at 48 kHz.
KERNEL = 96
#: A stretch without a gap that is long enough to be found in what was played.
CLEAN = 2400


def first_clean(flagged: np.ndarray, from_: int) -> int:
    run = 0
    for index in range(from_, len(flagged)):
        run = 0 if flagged[index] else run + 1
        if run == CLEAN:
            return index - run + 1
    raise AssertionError(f"no {CLEAN} samples in a row without a gap")
