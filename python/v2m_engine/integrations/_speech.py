"""How likely 32 ms of a framework's audio are speech: the engine's own answer where they came from
the engine, so that no second model runs; else that of the model here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from .. import AudioChunk, OverrunError, VADProcessor

#: Seconds of one window, at any rate.
WINDOW = 0.032
#: Windows that may be under way between capture and detection: eight seconds.
UNDER_WAY = 250


def window(rate: int) -> int:
    """Samples of one window."""
    return rate * 32 // 1000


class Track:
    """The windows that were captured, in order, until they are asked for."""

    def __init__(self) -> None:
        self._windows: deque[tuple[bytes, AudioChunk]] = deque(maxlen=UNDER_WAY)

    def add(self, audio: bytes, chunk: AudioChunk) -> None:
        """One window, as it goes to the framework."""
        self._windows.append((audio, chunk))

    def take(self, audio: bytes) -> AudioChunk | None:
        """The chunk that this window is, found by its samples; those before it go.

        None: it isn't the engine's, or was changed on the way."""
        for index, (known, chunk) in enumerate(self._windows):
            if known == audio:
                for _ in range(index + 1):
                    self._windows.popleft()
                return chunk
        return None


class Judge:
    """Answers window by window, in the order of the audio."""

    def __init__(self, track: Track, model: Callable[[bytes], float]) -> None:
        """
        Args:
            track: what came from the engine.
            model: answers for a window that didn't.
        """
        self._track, self._model = track, model

    def probability(self, audio: bytes) -> float:
        """0 to 1. May wait 20 ms for the engine."""
        chunk = self._track.take(audio)
        if chunk is not None:
            try:
                known = list(chunk.speech)
            except OverrunError:
                known = []
            if known and not math.isnan(known[-1]):
                return float(known[-1])
        return self._model(audio)


#: Hz: what the model takes as it is.
MODEL_RATES = (8000, 16000)


class Model:
    """The model here, for 16-bit audio that comes in windows."""

    def __init__(self, rate: int, resample: Callable[[int, int], Callable[[bytes], bytes]]) -> None:
        """
        Args:
            rate: Hz.
            resample: the framework's own resampler, from a rate to a rate, piece by piece; for
                rates that the model doesn't take.
        """
        self._rate = rate if rate in MODEL_RATES else 16000
        self._resample = resample(rate, self._rate) if rate != self._rate else None
        self._processor = VADProcessor()
        self._last = 0.0

    def __call__(self, audio: bytes) -> float:
        """Probability of the newest window that `audio` completes."""
        if self._resample is not None:
            audio = self._resample(audio)
        if audio:
            samples = memoryview(audio).cast("h")
            answers = self._processor.probabilities(samples, sample_rate=self._rate, resume=True)
            if len(answers):
                self._last = float(answers[-1])
        return self._last
