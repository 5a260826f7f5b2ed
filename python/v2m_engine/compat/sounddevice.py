"""The input side of sounddevice 0.5 over v2m_engine: `import v2m_engine.compat.sounddevice as sd`.

Streams, blocks, flags and times mean what they mean there. What differs:

* A device has one channel, the source's voice; where a program asks for more all are the same.
* Samples are lost only once a program is a minute late, not some blocks; the next block then has
  `status.input_overflow`, as it has where the sound server lost some.
* Rates are 8000, 16000, 24000, 32000 and 48000 Hz; others, 44100 for instance, where `soxr` is
  installed, and then come some 15 ms later.
* Times are those of `time.monotonic()`.
* `device` is a number or a name as `query_devices()` lists them, or a source in the engine's words:
  `"monitor:default"`, `"app:Firefox"`, `"file:speech.wav"`.
* There is no output: `play`, `OutputStream` and `Stream` raise PortAudioError.

Arrays need NumPy; `RawInputStream` with float32 or int16 doesn't.
"""

from __future__ import annotations

import atexit
import threading
import time as _time
from collections.abc import Callable
from typing import Any, NoReturn

from ._callback import CallbackAbort, CallbackFlags, CallbackStop, PortAudioError
from ._defaults import default
from ._devices import (
    HOST_API,
    DeviceList,
    Settings,
    dtype_name,
    no_output,
    query_devices,
    query_hostapis,
)
from ._sounddevice_stream import InputStream, RawInputStream

__version__ = "0.5.6"

__all__ = [
    "CallbackAbort",
    "CallbackFlags",
    "CallbackStop",
    "DeviceList",
    "InputStream",
    "OutputStream",
    "PortAudioError",
    "RawInputStream",
    "RawOutputStream",
    "RawStream",
    "Stream",
    "check_input_settings",
    "check_output_settings",
    "default",
    "get_portaudio_version",
    "get_status",
    "get_stream",
    "play",
    "playrec",
    "query_devices",
    "query_hostapis",
    "rec",
    "sleep",
    "stop",
    "wait",
]


def check_input_settings(
    device: int | str | None = None,
    channels: int | None = None,
    dtype: Any = None,
    extra_settings: Any = None,
    samplerate: float | None = None,
) -> None:
    """Raises what `InputStream` with this samplerate, device, channels, dtype and extra_settings
    would: see there."""
    Settings(device, channels, dtype, extra_settings, samplerate)


class _Recording:
    """What `rec()` began."""

    def __init__(self, out: Any, mapping: Any, samplerate: float | None, **arguments: Any) -> None:
        self.status = CallbackFlags()
        self._out, self._mapping, self._at = out, mapping, 0
        self._over = threading.Event()
        self.stream = InputStream(
            samplerate, callback=self._take, finished_callback=self._over.set, **arguments
        )
        self.stream.start()

    def _take(self, indata: Any, frames: int, time: Any, status: CallbackFlags) -> None:
        self.status |= status
        count = min(frames, len(self._out) - self._at)
        for column, channel in enumerate(self._mapping):
            self._out[self._at : self._at + count, column] = indata[:count, channel]
        self._at += count
        if self._at == len(self._out):
            raise CallbackStop

    def wait(self, ignore_errors: bool) -> CallbackFlags | None:
        try:
            self._over.wait()
        finally:
            self.stream.close(ignore_errors)
        return self.status or None


_recording: _Recording | None = None


def rec(
    frames: int | None = None,
    samplerate: float | None = None,
    channels: int | None = None,
    dtype: Any = None,
    out: Any = None,
    mapping: Any = None,
    blocking: bool = False,
    **arguments: Any,
) -> Any:
    """Records into an array of shape (frames, channels), which is complete after `wait()`.

    Args:
        frames: how many; not needed with `out`.
        samplerate: Hz. None: the device's.
        channels: 1; not needed with `mapping` or `out`.
        dtype: as of `InputStream`, and `"float64"`.
        out: the array to fill.
        mapping: the channels' numbers, from 1.
        blocking: return once it is complete.
        arguments: of `InputStream`.

    Raises:
        TypeError: neither `frames` nor `out`, or no number of channels.
        ValueError, PortAudioError: as `InputStream`.
    """
    global _recording
    import numpy as np

    stop()
    if out is None:
        if frames is None:
            raise TypeError("frames must be specified")
        count = len(np.atleast_1d(mapping)) if mapping is not None else channels
        count = default.channels[0] if count is None else count
        if count is None:
            raise TypeError("Unable to determine number of input channels")
        out = np.empty((frames, count), default.dtype[0] if dtype is None else dtype)
    columns = np.arange(out.shape[1]) if mapping is None else np.atleast_1d(mapping) - 1
    if len(columns) != out.shape[1]:
        raise ValueError("number of input channels != size of input mapping")
    if columns.min() < 0:
        raise ValueError("channel numbers must not be < 1")
    name = dtype_name(out.dtype)
    _recording = _Recording(
        out,
        columns,
        samplerate,
        channels=int(columns.max()) + 1,
        dtype="float32" if name == "float64" else name,
        **arguments,
    )
    if blocking:
        wait()
    return out


def wait(ignore_errors: bool = True) -> CallbackFlags | None:
    """Waits until `rec()` is complete: the flags of its blocks, if any is set.

    Args:
        ignore_errors: False: raise the error by which audio ended, if one did.

    Raises:
        PortAudioError: that error.
    """
    return _recording.wait(ignore_errors) if _recording else None


def stop(ignore_errors: bool = True) -> None:
    """Ends `rec()`; the rest of its array stays as it is.

    Args:
        ignore_errors: as of `wait`.
    """
    if _recording:
        _recording.stream.close(ignore_errors)


def get_status() -> CallbackFlags:
    """The flags of the last `rec()`."""
    return _last().status


def get_stream() -> InputStream:
    """The stream of the last `rec()`."""
    return _last().stream


def _last() -> _Recording:
    if _recording is None:
        raise RuntimeError("play()/rec()/playrec() was not called yet")
    return _recording


def sleep(msec: int) -> None:
    """Sleeps.

    Args:
        msec: milliseconds.
    """
    _time.sleep(msec / 1000)


def get_portaudio_version() -> tuple[int, str]:
    """What PortAudio's would be; this is none."""
    return 0x130700, f"{HOST_API}, in the shape of PortAudio V19.7.0"


def play(*arguments: Any, **more: Any) -> NoReturn:
    """There is no output: PortAudioError."""
    raise no_output()


playrec: Callable[..., NoReturn] = play
check_output_settings: Callable[..., NoReturn] = play


class _OutputStream:
    """There is no output: PortAudioError."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        raise no_output()


OutputStream = RawOutputStream = Stream = RawStream = _OutputStream


atexit.register(stop)
