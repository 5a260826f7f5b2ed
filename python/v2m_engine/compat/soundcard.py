"""The input side of soundcard 0.4 over v2m_engine:
`import v2m_engine.compat.soundcard as soundcard`.

Microphones, recorders and their arrays mean what they mean there. What differs:

* A microphone has one channel, the source's voice; where a program asks for more all are the same.
* Rates are 8000, 16000, 24000, 32000 and 48000 Hz; others, 44100 for instance, where `soxr` is
  installed.
* Nothing is lost within a minute; what is lost raises no error, as there, and is filled by no
  silence. (Silence stands where the sound server lost some.)
* There are no speakers.

Needs NumPy.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ._input import (
    DEFAULT_RATE,
    MOST_CHANNELS,
    Device,
    Reading,
    devices,
    is_source,
    open_input,
    why_not,
)

Samples = npt.NDArray[np.float32]


def all_microphones(
    include_loopback: bool = False, exclude_monitors: bool = True
) -> list[_Microphone]:
    """The sources that can be captured.

    Args:
        include_loopback: what sinks play, too.
        exclude_monitors: the same the other way round, as it was called earlier.
    """
    loopback = include_loopback or not exclude_monitors
    return [_Microphone(device) for device in devices() if loopback or not device.monitor]


def default_microphone() -> _Microphone:
    """The default source.

    Raises:
        RuntimeError: there is none.
    """
    for device in devices():
        if device.default:
            return _Microphone(device, follow=True)
    raise RuntimeError("no default microphone: v2m-engine sources lists what there is")


def get_microphone(
    id: str, include_loopback: bool = False, exclude_monitors: bool = True
) -> _Microphone:
    """The microphone that this names.

    Args:
        id: its `id`, part of its name, or letters of its name in their order; or a source in the
            engine's words, as `"monitor:default"` or `"file:speech.wav"`.
        include_loopback, exclude_monitors: as of `all_microphones`.

    Raises:
        IndexError: none.
    """
    if is_source(id):
        return _Microphone(Device(-1, id, id, False, id.startswith("monitor:"), DEFAULT_RATE))
    found = all_microphones(include_loopback, exclude_monitors)
    letters = re.compile(".*".join(map(re.escape, id)))
    for each in (
        *(each for each in found if each.id == id),
        *(each for each in found if id in each.name),
        *(each for each in found if letters.match(each.name)),
    ):
        return each
    raise IndexError(f"no soundcard with id {id}")


def all_speakers() -> list[Any]:
    """None: v2m_engine captures and doesn't play."""
    return []


def default_speaker() -> NoReturn:
    """There is none: RuntimeError."""
    raise RuntimeError(
        "v2m_engine captures and doesn't play: take the soundcard package for speakers"
    )


def get_speaker(id: object) -> NoReturn:
    """There is none, whatever the id: RuntimeError."""
    default_speaker()


class _Microphone:
    """A source. See `soundcard`."""

    def __init__(self, device: Device, *, follow: bool = False) -> None:
        self._device = device
        # The default source is followed, or is the service's.
        self._source = None if follow else device.source

    @property
    def name(self) -> str:
        """What the desktop calls it."""
        return self._device.name

    @property
    def id(self) -> str:
        """Its node's name."""
        return self._device.source

    @property
    def channels(self) -> int:
        """1."""
        return 1

    @property
    def isloopback(self) -> bool:
        """Whether it is what a sink plays."""
        return self._device.monitor

    def __repr__(self) -> str:
        kind = "Loopback" if self.isloopback else "Microphone"
        return f"<{kind} {self.name} (1 channels)>"

    def recorder(
        self,
        samplerate: int,
        channels: int | list[int] | None = None,
        blocksize: int | None = None,
        exclusive_mode: bool = False,
    ) -> _Recorder:
        """A context manager that records.

        Args:
            samplerate: Hz.
            channels: how many, or a list of their numbers; all are the same. None: 1.
            blocksize: frames that `record()` without a number gives. None: 10 ms.
            exclusive_mode: without effect.

        Raises:
            TypeError: no such number of channels.
            ValueError: another rate.
        """
        count = 1 if channels is None else channels if isinstance(channels, int) else len(channels)
        if not 1 <= count <= MOST_CHANNELS:
            raise TypeError(f"channels={channels}: 1 to {MOST_CHANNELS} can be had")
        if (problem := why_not(samplerate)) is not None:
            raise ValueError(f"samplerate={problem}")
        return _Recorder(self._source, samplerate, count, blocksize or 0)

    def record(
        self,
        numframes: int,
        samplerate: int,
        channels: int | list[int] | None = None,
        blocksize: int | None = None,
    ) -> Samples:
        """Records `numframes` from now on, as an array of shape (numframes, 1)."""
        with self.recorder(samplerate, channels, blocksize) as recorder:
            return recorder.record(numframes)


class _Recorder:
    """A recording, by `with`."""

    def __init__(self, source: str | None, samplerate: int, channels: int, blocksize: int) -> None:
        #: As asked for.
        self.channels = channels
        self._input = open_input(source, samplerate, "float32", blocksize)
        self._reading = Reading(self._input)

    def __enter__(self) -> _Recorder:
        self._input.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._input.close()

    @property
    def latency(self) -> float:
        """Seconds from the capture of a block's first sample to the block."""
        return self._input.latency

    def record(self, numframes: int | None = None) -> Samples:
        """The next `numframes`, waited for: an array of shape (numframes, channels), float32.
        None: what is there, at least a block.

        Raises:
            RuntimeError: the source has ended.
            V2MError: it is gone.
        """
        if numframes is None:
            numframes = max(self._reading.available, self._input.block)
        samples, _ = self._reading.read(numframes)
        if len(samples) < 4 * numframes:
            raise RuntimeError("Recording failed: the source has ended")
        return self._as_array(samples)

    def flush(self) -> Samples:
        """What was taken from the source and is not read yet."""
        return self._as_array(self._reading.drop())

    def _as_array(self, samples: bytes) -> Samples:
        one = np.frombuffer(samples, np.float32).reshape(-1, 1)
        return np.repeat(one, self.channels, axis=1)


_name = "v2m_engine"


def get_name() -> str:
    """What `set_name` was given."""
    return _name


def set_name(name: str) -> None:
    """Keeps the name for `get_name`: the desktop shows the engine, and who reads from it."""
    global _name
    _name = name
