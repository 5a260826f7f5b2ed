"""A recogniser that carries its model, and what it is to hear."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pocketsphinx import Decoder

RECORDING = Path("/usr/share/pocketsphinx/test/data/goforward.raw")
WORDS = "go forward ten meters"
#: Seconds of audio in which they are said twice.
LIMIT = 12

Samples = npt.NDArray[Any]


def resampled(samples: Samples, rate: int, to: int) -> Samples:
    """By way of the spectrum: a whole recording."""
    if rate == to:
        return samples
    count = len(samples) * to // rate
    spectrum = np.fft.rfft(samples)[: count // 2 + 1]
    return np.fft.irfft(spectrum, count) * (count / len(samples))


def recognised(samples: Samples, rate: int = 16000) -> str:
    """The words in it. `samples` are int16, or float of full scale 1."""
    audio = samples / 32768 if samples.dtype == np.int16 else samples
    audio = np.rint(np.clip(resampled(audio, rate, 16000), -1, 1) * 32767).astype(np.int16)
    decoder = Decoder(samprate=16000, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw(audio.tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found else ""


class Ear:
    """Takes audio piece by piece, until it has heard the words."""

    def __init__(self, rate: int = 16000) -> None:
        self.rate = rate
        self.pieces: list[Samples] = []
        self.seconds = 0.0
        self.text = ""
        #: Seconds of audio before it first listens.
        self.wanted = 2.5

    def heard(self, piece: bytes | Samples) -> bool:
        """Whether they were said by now. Fails if they have not been for too long."""
        samples = np.frombuffer(piece, "<i2") if isinstance(piece, bytes) else piece.ravel()
        self.pieces.append(np.array(samples))
        self.seconds += len(samples) / self.rate
        if self.seconds >= self.wanted:
            self.wanted += 1
            self.text = recognised(np.concatenate(self.pieces), self.rate)
        if WORDS in self.text:
            return True
        assert self.seconds < LIMIT, f"heard only {self.text!r}"
        return False

    def listen(self, pieces: Iterator[Any]) -> str:
        """The words in what an iterator gives."""
        for piece in pieces:
            if self.heard(piece):
                break
        return self.text

    async def listen_async(self, pieces: AsyncIterator[Any]) -> str:
        """The words in what an iterator gives."""
        async for piece in pieces:
            if self.heard(piece):
                break
        return self.text


def framework(name: str) -> Any:
    """That package; the module's tests are passed over without it, unless they were asked for
    (`make test-integrations`)."""
    if os.environ.get("V2M_TEST_INTEGRATIONS"):
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name}: make test-integrations")
