"""PortAudio's idea of a stream, which sounddevice and PyAudio share: a program starts and stops it
any number of times, and reads it or is called back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from .. import V2MError
from ._input import Block, Input, Reading, Resampled

_Call: TypeAlias = Callable[[Block], bool]
_Finished: TypeAlias = Callable[[], None]

_logger = logging.getLogger("v2m_engine.compat")


class Calling(threading.Thread):
    """Calls a program's callback with each block, on a thread of its own."""

    def __init__(self, source: Input | Resampled, call: _Call, finished: _Finished) -> None:
        """
        Args:
            call: takes a block; False ends it.
            finished: called once, after the last block.
        """
        super().__init__(name="v2m_engine callback", daemon=True)
        self._source, self._call, self._finished = source, call, finished
        self._returned = threading.Event()
        self._ending = threading.Event()
        #: Why it ended, if not by `stop` or the callback.
        self.error: V2MError | None = None
        #: Share of the time that the callbacks take.
        self.load = 0.0

    def start(self) -> None:
        """The last thing that a program's own `start()` does: the first call comes after that
        has returned, by the time that a device takes for its first block."""
        try:
            super().start()
        finally:
            self._returned.set()

    def run(self) -> None:
        """The thread."""
        try:
            self._returned.wait()
            self._ending.wait(self._source.latency)
            for block in self._source:
                begun = time.monotonic()
                if not self._call(block):
                    break
                share = (time.monotonic() - begun) * self._source.rate / block.frames
                self.load += (share - self.load) / 8
        except V2MError as error:
            self.error = error
            _logger.error("no more audio: %s", error)
        finally:
            self._finished()

    def end(self) -> None:
        """Waits for the callback that runs, unless it is what calls."""
        self._source.stop()
        self._ending.set()
        if self is not threading.current_thread():
            self.join()


class Stream:
    """An input that is started and stopped: read, or calling back."""

    def __init__(
        self, source: Input | Resampled, call: _Call | None, finished: _Finished | None = None
    ) -> None:
        """
        Args:
            source: ours from now on.
            call: as of `Calling`. None: it is read.
            finished: called once after each run, on whichever thread ends it.
        """
        self._input: Input | Resampled = source
        self._to_call: _Call | None = call
        self._finished: _Finished = finished or (lambda: None)
        self._reading: Reading = Reading(source)
        self._calling: Calling | None = None
        self._running: bool = False
        self._closed: bool = False

    @property
    def _active(self) -> bool:
        """Whether blocks come."""
        if self._to_call is None:
            return self._running
        return self._running and self._calling is not None and self._calling.is_alive()

    @property
    def _load(self) -> float:
        """Share of the time that the callbacks take; 0 without one."""
        return self._calling.load if self._calling else 0.0

    def _start(self) -> None:
        """Begins to capture, and waits for the first audio. Once started: does nothing.

        Raises:
            V2MError: no engine, or no audio.
        """
        if self._running:
            return
        self._input.start()
        self._reading.drop()
        self._running = True
        if self._to_call is not None:
            self._calling = Calling(self._input, self._to_call, self._finished)
            self._calling.start()

    def _stop(self) -> V2MError | None:
        """Ends capturing, after the callback that runs; the error by which it ended before."""
        if not self._running:
            return None
        self._running = False
        calling, self._calling = self._calling, None
        if calling is None:
            self._input.stop()
            self._finished()
            return None
        calling.end()
        return calling.error

    def _close(self) -> None:
        """Lets go of the engine."""
        self._input.close()
        self._closed = True
