"""A recogniser that carries its model, and what it is to hear."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pocketsphinx import Decoder

from rig import BINARY, PrivatePipeWire

RECORDING = Path("/usr/share/pocketsphinx/test/data/goforward.raw")
WORDS = "go forward ten meters"
#: Seconds of the recording in which they are said, and of silence after them.
SAID, PAUSE = (0.4, 2.4), 0.8
#: Seconds of audio in which they are said from beginning to end, whenever it begins; and a few
#: times.
ONCE, LIMIT = 2 * (SAID[1] - SAID[0]) + PAUSE + 0.2, 15

Samples = npt.NDArray[Any]


def resampled(samples: Samples, rate: int, to: int) -> Samples:
    """By way of the spectrum: a whole recording."""
    if rate == to:
        return samples
    count = len(samples) * to // rate
    spectrum = np.fft.rfft(samples)[: count // 2 + 1]
    return np.fft.irfft(spectrum, count) * (count / len(samples))


@functools.cache
def decoder() -> Decoder:
    """Takes most of a second to make."""
    return Decoder(samprate=16000, loglevel="FATAL")


def recognised(samples: Samples, rate: int = 16000) -> str:
    """The words in it. `samples` are int16, or float of full scale 1."""
    audio = samples / 32768 if samples.dtype == np.int16 else samples
    audio = np.rint(np.clip(resampled(audio, rate, 16000), -1, 1) * 32767).astype(np.int16)
    one = decoder()
    one.start_utt()
    one.process_raw(audio.tobytes(), full_utt=True)
    one.end_utt()
    found = one.hyp()
    return str(found.hypstr) if found else ""


def speech() -> Samples:
    """What is played again and again, at 48 kHz."""
    begin, end = (int(at * 16000) for at in SAID)
    said = resampled(np.fromfile(RECORDING, "<i2")[begin:end] / 32768, 16000, 48000)
    # As loud as somebody near a microphone.
    said *= 0.7 / np.max(np.abs(said))
    return np.concatenate([said, np.zeros(int(PAUSE * 48000))]).astype(np.float32)


class Ear:
    """Takes audio piece by piece, until it has heard the words."""

    def __init__(self, rate: int = 16000) -> None:
        self.rate = rate
        self.pieces: list[Samples] = []
        self.seconds = 0.0
        self.text = ""
        #: Seconds of audio before it first listens.
        self.wanted = ONCE

    def heard(self, piece: bytes | Samples) -> bool:
        """Whether they were said by now. Fails if they have not been for too long."""
        samples = np.frombuffer(piece, "<i2") if isinstance(piece, bytes) else piece.ravel()
        self.pieces.append(np.array(samples))
        self.seconds += len(samples) / self.rate
        if self.seconds >= self.wanted:
            self.wanted += 3
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


def environment(rig: PrivatePipeWire) -> dict[str, str]:
    """For programs that are to hear it."""
    return rig.env | {"V2M_ENGINE_BIN": str(BINARY), "HOME": str(rig.directory)}


def run_until(rig: PrivatePipeWire, said: str, *command: object, **env: str) -> str:
    """Runs a program until it says that; what it said."""
    running = subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment(rig) | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None and running.stderr is not None
    limit = threading.Timer(60, running.kill)
    limit.start()
    out = ""
    try:
        for line in running.stdout:
            out += line
            if re.search(said, line):
                return out
        raise AssertionError(f"it never said {said!r}: {out}{running.stderr.read()}")
    finally:
        limit.cancel()
        running.kill()
        running.communicate()
