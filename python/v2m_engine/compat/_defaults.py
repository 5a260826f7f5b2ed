"""`sounddevice.default`: what a stream takes where its arguments say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ._input import devices


def split(value: Any) -> tuple[Any, Any]:
    """Of a pair, or of one value for both."""
    if isinstance(value, str) or not isinstance(value, (tuple, list, Pair)):
        return value, value
    try:
        first, second = value.values if isinstance(value, Pair) else value
    except ValueError as error:
        raise ValueError(f"Only single values and pairs are allowed, not {value!r}") from error
    return first, second


class Pair:
    """A default for input and output; only the input's counts."""

    def __init__(self, value: Any, unset: Callable[[], Any] = lambda: None) -> None:
        self.values: list[Any] = list(split(value))
        self.unset: Callable[[], Any] = unset

    def __getitem__(self, index: int | str) -> Any:
        at = {"input": 0, "output": 1}.get(str(index), index)
        value = self.values[int(at)]
        if value is None:
            return self.unset() if at == 0 else -1
        return value

    def __setitem__(self, index: int | str, value: Any) -> None:
        self.values[int({"input": 0, "output": 1}.get(str(index), index))] = value

    def __iter__(self) -> Iterator[Any]:
        return iter((self[0], self[1]))

    def __repr__(self) -> str:
        return f"[{self[0]!r}, {self[1]!r}]"


def default_index() -> int:
    return next((device.index for device in devices() if device.default), -1)


class Defaults:
    """What a stream takes where its arguments say nothing."""

    _PAIRS = ("device", "channels", "dtype", "latency", "extra_settings")
    device: Any
    channels: Any
    dtype: Any
    latency: Any
    extra_settings: Any
    samplerate: float | None
    blocksize: int
    clip_off: bool
    dither_off: bool
    never_drop_input: bool
    prime_output_buffers_using_stream_callback: bool
    hostapi: int

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """All as they were at first."""
        values = vars(self)
        values.clear()
        values["device"] = Pair(None, default_index)
        values["channels"] = Pair(None)
        values["dtype"] = Pair("float32")
        values["latency"] = Pair("high")
        values["extra_settings"] = Pair(None)
        values.update(samplerate=None, blocksize=0, clip_off=False, dither_off=False)
        values.update(never_drop_input=False, prime_output_buffers_using_stream_callback=False)
        values["hostapi"] = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._PAIRS:
            pair: Pair = getattr(self, name)
            pair.values[:] = split(value)
        elif name in vars(self) and name != "hostapi":
            vars(self)[name] = value
        else:
            raise AttributeError(f"'default' object has no attribute {name!r}")


default: Defaults = Defaults()
