"""sounddevice's streams."""

from __future__ import annotations

import time as _time
import traceback
from collections.abc import Callable
from typing import Any

from .. import V2MError
from ._callback import (
    INPUT_OVERFLOW,
    CallbackAbort,
    CallbackFlags,
    CallbackStop,
    PortAudioError,
    TimeInfo,
)
from ._defaults import default
from ._devices import DEVICE_UNAVAILABLE, Settings
from ._input import SAMPLE_SIZES, Block, in_channels, open_input
from ._stream import Stream

#: PortAudio's codes.
_BAD_STREAM, _STREAM_IS_STOPPED, _NO_READ_FROM_CALLBACK = -9988, -9983, -9977


class RawInputStream(Stream):
    """A stream whose blocks are buffers of bytes. See `sounddevice.RawInputStream`."""

    def __init__(
        self,
        samplerate: float | None = None,
        blocksize: int | None = None,
        device: int | str | None = None,
        channels: int | None = None,
        dtype: Any = None,
        latency: Any = None,
        extra_settings: Any = None,
        callback: Callable[..., None] | None = None,
        finished_callback: Callable[[], None] | None = None,
        clip_off: bool | None = None,
        dither_off: bool | None = None,
        never_drop_input: bool | None = None,
        prime_output_buffers_using_stream_callback: bool | None = None,
    ) -> None:
        """The engine is asked for audio by `start()`.

        Args:
            samplerate: Hz. None: the device's.
            blocksize: frames of a block. None or 0: 10 ms.
            device: see `query_devices`. None: the service's source, or the default one.
            channels: how many, all the same. None: 1.
            dtype: `"float32"` (full scale ±1), `"int32"`, `"int24"` (raw streams), `"int16"`,
                `"int8"`, `"uint8"`.
            callback: called with a block, its frames, times and `CallbackFlags`. None: `read()`.
            finished_callback: called after the last block.
            latency, clip_off, dither_off, never_drop_input: without effect; samples are always
                clipped, never dithered, and never dropped within a minute.

        Raises:
            PortAudioError, ValueError: the engine can't give that; the message says what it can.
        """
        settings = Settings(device, channels, dtype, extra_settings, samplerate)
        self._device, self._channels = settings.device, settings.channels
        self._dtype = settings.dtype
        self._blocksize = default.blocksize if blocksize is None else blocksize
        rate = int(settings.rate)
        try:
            source = open_input(settings.source, rate, self._dtype, self._blocksize)
        except ValueError as error:
            raise PortAudioError(f"Error opening {type(self).__name__}: {error}") from error
        super().__init__(source, self._call if callback else None, finished_callback)
        self._callback = callback

    @property
    def samplerate(self) -> float:
        """Hz."""
        return float(self._input.rate)

    @property
    def blocksize(self) -> int:
        """Frames of a block, as asked for: 0 leaves it to the engine."""
        return self._blocksize

    @property
    def device(self) -> int:
        """The device's number."""
        return self._device

    @property
    def channels(self) -> int:
        """How many, as asked for."""
        return self._channels

    @property
    def dtype(self) -> str:
        """The samples' format."""
        return self._dtype

    @property
    def samplesize(self) -> int:
        """Bytes of a sample."""
        return SAMPLE_SIZES[self._dtype]

    @property
    def latency(self) -> float:
        """Seconds from the capture of a block's first sample to the block."""
        return self._input.latency

    @property
    def active(self) -> bool:
        """Whether blocks come: from `start()` until it is stopped, the callback had enough, or
        the source ended."""
        return self._active

    @property
    def stopped(self) -> bool:
        """Whether it was not started, or was stopped."""
        return not self._running

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def time(self) -> float:
        """Now, in seconds on the clock of a block's times."""
        return _time.monotonic()

    @property
    def cpu_load(self) -> float:
        """Share of the time that the callbacks take; 0 without one."""
        return self._load

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self.close()

    def start(self) -> None:
        """Begins to capture, and waits for the first audio. Once started: does nothing.

        Raises:
            PortAudioError: no engine, or no audio from the device.
        """
        if self._closed:
            raise PortAudioError("Error starting stream: it is closed", _BAD_STREAM)
        try:
            self._start()
        except V2MError as error:
            raise PortAudioError(f"Error starting stream: {error}", DEVICE_UNAVAILABLE) from error

    def _call(self, block: Block) -> bool:
        assert self._callback is not None
        status = CallbackFlags(INPUT_OVERFLOW if block.overflow else 0)
        try:
            self._callback(
                self._as_block(self._spread(block.samples)),
                block.frames,
                TimeInfo(block.captured),
                status,
            )
        except (CallbackStop, CallbackAbort):
            return False
        except BaseException:
            # As with PortAudio: it is printed, and the program goes on without blocks.
            traceback.print_exc()
            return False
        return True

    def _spread(self, samples: bytes) -> bytes:
        return in_channels(samples, self.samplesize, self._channels)

    def _as_block(self, samples: bytes) -> Any:
        return memoryview(bytearray(samples))

    def stop(self, ignore_errors: bool = True) -> None:
        """Ends capturing, after the callback that runs.

        Args:
            ignore_errors: False: raise the error by which audio ended before, if one did.

        Raises:
            PortAudioError: that error.
        """
        error = self._stop()
        if error is not None and not ignore_errors:
            raise PortAudioError(f"Error stopping stream: {error}") from error

    def abort(self, ignore_errors: bool = True) -> None:
        """As `stop()`."""
        self.stop(ignore_errors)

    def close(self, ignore_errors: bool = True) -> None:
        """Stops it and lets go of the engine.

        Args:
            ignore_errors: as of `stop`.
        """
        self.stop(ignore_errors)
        self._close()

    @property
    def read_available(self) -> int:
        """Frames that `read()` gives without waiting."""
        return self._reading.available

    def _read(self, frames: int) -> tuple[bytes, bool]:
        if self._callback is not None:
            raise PortAudioError("Can't read from a callback stream", _NO_READ_FROM_CALLBACK)
        if not self._running:
            raise PortAudioError("Stream is stopped", _STREAM_IS_STOPPED)
        try:
            data, overflow = self._reading.read(frames)
        except V2MError as error:
            raise PortAudioError(str(error), DEVICE_UNAVAILABLE) from error
        if len(data) < frames * self.samplesize:
            raise PortAudioError("The source has ended", DEVICE_UNAVAILABLE)
        return self._spread(data), overflow

    def read(self, frames: int) -> tuple[Any, bool]:
        """The next frames, waited for, as bytes or (of an `InputStream`) an array of the shape
        (frames, channels), in the stream's format; and whether samples were lost before.

        Args:
            frames: how many.

        Raises:
            PortAudioError: a stream with a callback, or stopped; or the source ended.
        """
        data, overflow = self._read(frames)
        return self._as_block(data), overflow


class InputStream(RawInputStream):
    """A stream whose blocks are NumPy arrays of shape (frames, channels)."""

    def _as_block(self, samples: bytes) -> Any:
        import numpy as np

        return np.frombuffer(bytearray(samples), self._dtype).reshape(-1, self._channels)
