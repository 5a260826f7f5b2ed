"""sounddevice's devices, and what a stream's arguments mean."""

from __future__ import annotations

from typing import Any

from .. import V2MError
from ._callback import PortAudioError
from ._defaults import default, split
from ._input import MOST_CHANNELS, QUANTUM, SAMPLE_SIZES, Device, is_source, why_not
from ._input import devices as _all_devices

HOST_API = "v2m-engine"
#: PortAudio's codes.
INVALID_CHANNEL_COUNT, INVALID_SAMPLE_RATE, INVALID_DEVICE = -9998, -9997, -9996
DEVICE_UNAVAILABLE, OTHER_HOST_API, INVALID_HOST_API = -9985, -9984, -9978


class DeviceList(tuple[dict[str, Any], ...]):
    """What `query_devices()` gives; `str()` is a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        try:
            chosen = _device(None).index
        except (PortAudioError, ValueError):
            chosen = -1
        width = len(str(len(self) - 1))
        return "\n".join(
            f"{'>' if info['index'] == chosen else ' '} {info['index']:{width}} {info['name']}, "
            f"{HOST_API} ({info['max_input_channels']} in, 0 out)"
            for info in self
        )

    __str__ = __repr__


def query_devices(device: int | str | None = None, kind: str | None = None) -> Any:
    """The sources that can be captured, as a `DeviceList`; or one of them, as a dict.

    Args:
        device: which one: a number, or words of its name. None with a `kind`: the default one.
        kind: `"input"` or None.

    Raises:
        ValueError: none or several answer to `device`; they are listed.
        PortAudioError: no device has that number; or `kind="output"`.
    """
    if kind not in ("input", "output", None):
        raise ValueError(f"Invalid kind: {kind!r}")
    if kind == "output":
        raise no_output()
    if device is None and kind is None:
        return DeviceList(_info(each) for each in _devices())
    return _info(_device(device))


def query_hostapis(index: int | None = None) -> Any:
    """The one host API, with the devices' numbers."""
    if index not in (None, 0):
        raise PortAudioError(f"Error querying host API {index}", INVALID_HOST_API)
    all_ = _devices()
    info = {
        "name": HOST_API,
        "devices": [device.index for device in all_],
        "default_input_device": next((device.index for device in all_ if device.default), -1),
        "default_output_device": -1,
    }
    return (info,) if index is None else info


class Settings:
    """A stream's arguments, with the defaults in."""

    def __init__(
        self,
        device: int | str | None,
        channels: int | None,
        dtype: Any,
        extra_settings: Any,
        samplerate: float | None,
    ) -> None:
        if extra_settings is not None:
            raise PortAudioError("extra_settings belong to other host APIs", OTHER_HOST_API)
        chosen = _device(device)
        self.device = chosen.index
        # None where nothing is asked for: the service's source then, which it follows.
        asked = device if device is not None else default.device.values[0]
        self.source = chosen.source if asked is not None else None
        count = default.channels[0] if channels is None else split(channels)[0]
        self.channels = 1 if count is None else count
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise PortAudioError(
                f"Invalid number of channels: {count}; 1 to {MOST_CHANNELS} can be had, with the "
                f"source's voice in each",
                INVALID_CHANNEL_COUNT,
            )
        self.dtype = dtype_name(default.dtype[0] if dtype is None else split(dtype)[0])
        if self.dtype not in SAMPLE_SIZES:
            raise ValueError("Invalid input sample format")
        rate = samplerate if samplerate is not None else default.samplerate
        self.rate = chosen.rate if rate is None else rate
        if (problem := why_not(self.rate)) is not None:
            raise PortAudioError(f"Invalid sample rate: {problem}", INVALID_SAMPLE_RATE)


def _devices() -> list[Device]:
    """All sources.

    Raises:
        PortAudioError: there is nothing that could list them.
    """
    try:
        return _all_devices()
    except V2MError as error:
        raise PortAudioError(str(error), DEVICE_UNAVAILABLE) from error


def _device(asked: Any) -> Device:
    """The device that is meant; None: the default one."""
    asked = asked if asked is not None else default.device.values
    asked = split(asked)[0]
    if isinstance(asked, str) and is_source(asked):
        return Device(-1, asked, asked, False, asked.startswith("monitor:"), 48000)
    all_ = _devices()
    if asked is None:
        found = [device for device in all_ if device.default]
        if not found:
            raise PortAudioError("Error querying device -1", INVALID_DEVICE)
        return found[0]
    if isinstance(asked, int):
        if not 0 <= asked < len(all_):
            raise PortAudioError(f"Error querying device {asked}", INVALID_DEVICE)
        return all_[asked]
    exact = [d for d in all_ if asked.lower() in (d.name.lower(), d.source.lower())]
    matching = [d for d in all_ if d.answers_to(asked)]
    if len(exact) == 1 or len(matching) == 1:
        return exact[0] if len(exact) == 1 else matching[0]
    if not matching:
        raise ValueError(f"No input device matching {asked!r}")
    names = "\n".join(f"[{device.index}] {device.name}" for device in matching)
    raise ValueError(f"Multiple input devices found for {asked!r}:\n{names}")


def _info(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "index": device.index,
        "hostapi": 0,
        "max_input_channels": 1,
        "max_output_channels": 0,
        "default_low_input_latency": QUANTUM,
        "default_low_output_latency": 0.0,
        "default_high_input_latency": QUANTUM,
        "default_high_output_latency": 0.0,
        "default_samplerate": float(device.rate),
    }


def no_output(*_arguments: Any, **_more: Any) -> PortAudioError:
    return PortAudioError(
        "v2m_engine captures and doesn't play: take the sounddevice package for output",
        INVALID_DEVICE,
    )


def dtype_name(dtype: Any) -> str:
    """A format's name: of a string, a NumPy dtype or one of its types."""
    if isinstance(dtype, str) and dtype in SAMPLE_SIZES:
        return dtype
    try:
        import numpy as np

        return str(np.dtype(dtype).name)
    except (ImportError, TypeError):
        return str(dtype)
