"""Wake words: 16-bit frames of a length of one's own, as openWakeWord takes them.

with Frames() as frames:
    for frame in frames:
        scores = model.predict(frame)
"""

from __future__ import annotations

from collections.abc import Iterator

from .. import AudioCapture, AudioStream, OverrunError
from . import missing

try:
    import numpy as np
    import numpy.typing as npt
except ImportError as _error:
    raise missing(__name__, "numpy", _error) from _error


class Frames:
    """Frames one after the other, without repeats: a context manager and an iterator, for `for`
    and `async for` (with `async with`)."""

    def __init__(
        self,
        source: str | None = None,
        *,
        samples: int = 1280,
        sample_rate: int = 16000,
        channel: str | int | None = None,
    ) -> None:
        """
        Args:
            source: as `AudioCapture` takes it; None: the service's, or the default one.
            samples: of a frame: 1280 for openWakeWord, 512 for Porcupine, 160 for microWakeWord.
            sample_rate: Hz.
            channel: as `AudioCapture` takes it.

        Raises:
            ValueError: an argument is none of these.
        """
        self._capture = AudioCapture(
            sample_rate, samples, source=source, channel=channel, dtype="int16"
        )
        self._stream: AudioStream | None = None
        #: Samples that were lost so far, by a consumer that is a minute late.
        self.lost: int = 0

    def __enter__(self) -> Frames:
        """Begins to capture.

        Raises:
            V2MError: no engine, or no audio.
        """
        self._stream = self._capture.stream()
        self._stream.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()
        self._capture.close()

    async def __aenter__(self) -> Frames:
        """As `__enter__`."""
        self._stream = self._capture.stream()
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._opened.__aexit__(None, None, None)
        self._capture.close()

    @property
    def _opened(self) -> AudioStream:
        assert self._stream is not None, "frames come while it is entered: with Frames() as frames"
        return self._stream

    def __iter__(self) -> Iterator[npt.NDArray[np.int16]]:
        return self

    def __next__(self) -> npt.NDArray[np.int16]:
        """The next frame, waited for: int16, shape (samples,), owned."""
        while True:
            try:
                return np.asarray(next(self._opened))
            except OverrunError as overrun:
                self.lost += overrun.lost

    def __aiter__(self) -> Frames:
        return self

    async def __anext__(self) -> npt.NDArray[np.int16]:
        """As `__next__`."""
        while True:
            try:
                return np.asarray(await anext(self._opened))
            except OverrunError as overrun:
                self.lost += overrun.lost
