"""RealtimeSTT: feeds a recorder, without PyAudio.

recorder = AudioToTextRecorder(use_microphone=False)
with Feed(recorder):
    print(recorder.text())
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from .. import AudioCapture, AudioStream, OverrunError, V2MError

#: Hz: what recorders work at.
RATE = 16000

_logger = logging.getLogger(__name__)


class Recorder(Protocol):
    """`RealtimeSTT.AudioToTextRecorder`, or another object that takes 16-bit audio so."""

    def feed_audio(self, chunk: bytes, original_sample_rate: int = RATE) -> None:
        """Takes a chunk of mono samples, int16, of original_sample_rate Hz."""


class Feed:
    """Feeds a recorder while it is entered, on a thread of its own."""

    def __init__(
        self,
        recorder: Recorder,
        source: str | None = None,
        *,
        channel: str | int | None = None,
    ) -> None:
        """
        Args:
            recorder: made with `use_microphone=False`.
            source: as `AudioCapture` takes it; None: the service's, or the default one.
            channel: as `AudioCapture` takes it.
        """
        self._recorder = recorder
        self._capture = AudioCapture(RATE, 512, source=source, channel=channel, dtype="int16")
        self._stream: AudioStream | None = None
        self._thread: threading.Thread | None = None
        #: Why it ended, if not by leaving.
        self.error: V2MError | None = None

    def __enter__(self) -> Feed:
        """Begins to capture.

        Raises:
            V2MError: no engine, or no audio.
        """
        self._stream = self._capture.stream()
        self._stream.__enter__()
        self._thread = threading.Thread(target=self._feed, name="v2m_engine feed", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._stream is not None and self._thread is not None
        self._stream.close()
        self._thread.join()
        self._capture.close()

    def _feed(self) -> None:
        assert self._stream is not None
        while True:
            try:
                chunk = next(self._stream)
            except StopIteration:
                return
            except OverrunError as overrun:
                _logger.warning("%d samples were lost: %s", overrun.lost, overrun)
            except V2MError as error:
                self.error = error
                _logger.error("no more audio: %s", error)
                return
            else:
                self._recorder.feed_audio(bytes(chunk), RATE)
