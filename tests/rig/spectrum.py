"""What was played and what arrived, compared frequency by frequency.

An output frequency holds what was played there and what folds onto it. Which is which
many short segments tell: what was played varies from one to the next, and the gains that
explain all of them are a least-squares solution (a transfer function by Welch's method,
with several inputs).
"""

from __future__ import annotations

import wave

import numpy as np
import numpy.typing as npt

from rig.reference import SPEECH, Samples

OUTPUT = 16_000
#: 50 ms: frequencies 20 Hz apart, and whole samples at every rate.
SEGMENT = OUTPUT // 20
#: From one segment to the next; a whole number of samples at 44.1 kHz, too.
HOP = 320
BAND = (20, 20_000)


def speech_in_noise(seconds: float, rate: int) -> Samples:
    """Speech, and noise of every frequency in the band, at ``rate``."""
    parts = []
    for path in SPEECH:
        with wave.open(str(path)) as file:
            raw = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            parts.append(raw.reshape(-1, file.getnchannels())[:, 0] / 32_768)
    speech = np.resize(np.concatenate(parts), int(seconds * 48_000))
    # At another rate by its spectrum: the same frequencies, fewer or more.
    count = int(seconds * rate)
    spectrum = np.zeros(count // 2 + 1, complex)
    frequencies = np.arange(len(spectrum)) / seconds
    rng = np.random.default_rng(rate)
    spectrum += rng.standard_normal(len(spectrum)) + 1j * rng.standard_normal(len(spectrum))
    spectrum[(frequencies < BAND[0]) | (frequencies > BAND[1])] = 0
    noise = np.fft.irfft(spectrum, count)
    of_speech = np.fft.rfft(speech)[: int(min(rate, 48_000) * seconds / 2)]
    spectrum[:] = 0
    spectrum[: len(of_speech)] = of_speech
    voice = np.fft.irfft(spectrum, count)
    mixed = 0.3 * voice / np.abs(voice).max() + 0.1 * noise / noise.std()
    return mixed.astype(np.float32)


def at_16k(played: Samples, rate: int) -> npt.NDArray[np.float64]:
    """``played`` by its spectrum below 8 kHz: to be found in what arrived."""
    count = len(played) * OUTPUT // rate
    return np.fft.irfft(np.fft.rfft(played)[: count // 2 + 1], count) * count / len(played)


def clean_stretches(flagged: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of what holds no gap and is long enough for a segment, longest first."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], flagged, [True]])))
    stretches = [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= SEGMENT + HOP]
    return sorted(stretches, key=lambda stretch: stretch[0] - stretch[1])


def segments(
    played: Samples, rate: int, arrived: Samples, begin: int, end: int, shift: int
) -> tuple[list[npt.NDArray[np.complex128]], list[npt.NDArray[np.complex128]]]:
    """Spectra of played and arrived segments of a stretch; ``arrived[n]`` is at
    ``(n + shift) / 16000`` seconds of ``played``."""
    length = rate // 20
    inputs, outputs = [], []
    for at in range(begin + (-begin - shift) % HOP, end - SEGMENT + 1, HOP):
        start = (at + shift) * rate // OUTPUT
        piece = played[start : start + length]
        if start < 0 or len(piece) < length:
            continue
        inputs.append(np.fft.rfft(piece * np.hanning(length + 1)[:-1]) / length)
        outputs.append(
            np.fft.rfft(arrived[at : at + SEGMENT] * np.hanning(SEGMENT + 1)[:-1]) / SEGMENT
        )
    return inputs, outputs


def gains(
    inputs: list[npt.NDArray[np.complex128]], outputs: list[npt.NDArray[np.complex128]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Frequencies from 20 Hz to 20 kHz and what became of each, in dB."""
    x, y = np.array(inputs), np.array(outputs)
    found: dict[int, float] = {}
    for k in range(1, SEGMENT // 2):
        # What folds once comes mirrored.
        sources = [(k, False), (SEGMENT - k, True), (SEGMENT + k, False)]
        sources = [(bin, mirrored) for bin, mirrored in sources if bin * 20 <= BAND[1]]
        columns = [np.conj(x[:, bin]) if mirrored else x[:, bin] for bin, mirrored in sources]
        factors = np.linalg.lstsq(np.stack(columns, 1), y[:, k], rcond=None)[0]
        found |= {bin: abs(factor) for (bin, _), factor in zip(sources, factors, strict=True)}
    bins = np.array(sorted(found))
    return bins * 20.0, 20 * np.log10(np.array([found[bin] for bin in bins]) + 1e-12)
