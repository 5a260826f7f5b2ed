"""SpeechRecognition: a microphone for its recognizers, without PyAudio.

    with Microphone() as source:
        print(recognizer.recognize_sphinx(recognizer.listen(source)))

or, with speech found by the engine instead of by loudness:

    with Microphone() as source:
        for phrase in source.phrases():
            print(recognizer.recognize_sphinx(phrase))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import AudioCapture, AudioStream, OverrunError
from . import missing

try:
    from speech_recognition import AudioData, AudioSource
except ImportError as _error:
    raise missing(__name__, "SpeechRecognition", _error) from _error


class Microphone(AudioSource):
    """A source's audio, as `speech_recognition.Microphone` gives it: a context manager."""

    SAMPLE_WIDTH = 2

    def __init__(
        self,
        source: str | None = None,
        *,
        sample_rate: int = 16000,
        chunk_size: int = 1024,
        channel: str | int | None = None,
    ) -> None:
        """
        Args:
            source: as `AudioCapture` takes it; None: the service's, or the default one.
            sample_rate: Hz.
            chunk_size: samples that the recognizer takes at a time.
            channel: as `AudioCapture` takes it.

        Raises:
            ValueError: an argument is none of these.
        """
        self.SAMPLE_RATE, self.CHUNK = sample_rate, chunk_size
        self._capture = AudioCapture(
            sample_rate, chunk_size, source=source, channel=channel, dtype="int16"
        )
        #: What recognizers read from while it is entered.
        self.stream: _Reader | None = None

    def __enter__(self) -> Microphone:
        """Begins to capture.

        Raises:
            V2MError: no engine, or no audio.
        """
        assert self.stream is None, "This audio source is already inside a context manager"
        stream = self._capture.stream()
        stream.__enter__()
        self.stream = _Reader(stream)
        return self

    def __exit__(self, *exception: object) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()
        self._capture.close()

    def phrases(self, **parameters: Any) -> Iterator[AudioData]:
        """What is said, phrase by phrase, as the engine's speech detection finds it.

        Args:
            parameters: of `AudioStream.segments`.

        Raises:
            V2MError: it is not entered, or the engine has no speech detection.
        """
        assert self.stream is not None, "Audio source must be entered before recording"
        segments = self.stream.audio.segments(**parameters)
        while True:
            try:
                segment = next(segments)
            except StopIteration:
                return
            except OverrunError:
                continue
            yield AudioData(bytes(segment), self.SAMPLE_RATE, self.SAMPLE_WIDTH)


class _Reader:
    """What recognizers call a stream."""

    def __init__(self, audio: AudioStream) -> None:
        self.audio = audio

    def read(self, size: int) -> bytes:
        """The next `size` samples, 16 bit; fewer at the source's end. What was lost, by a minute's
        delay, is left out."""
        while True:
            try:
                return self.audio.read(size).tobytes()
            except OverrunError:
                continue

    def close(self) -> None:
        """Captures no longer."""
        self.audio.close()
