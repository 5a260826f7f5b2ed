"""PyAudio's devices, and what a stream's arguments mean."""

from __future__ import annotations

from typing import Any

from .. import V2MError
from . import _portaudio as pa
from ._input import MOST_CHANNELS, QUANTUM, SAMPLE_SIZES, Device, why_not
from ._input import devices as _all_devices

HOST_API = "v2m-engine"
FORMATS = {
    pa.paFloat32: "float32",
    pa.paInt32: "int32",
    pa.paInt24: "int24",
    pa.paInt16: "int16",
    pa.paInt8: "int8",
    pa.paUInt8: "uint8",
}


def get_sample_size(format: int) -> int:
    """Bytes of a sample in a format.

    Args:
        format: one of the codes, paInt16 for instance.

    Raises:
        ValueError: no such format.
    """
    if format not in FORMATS:
        raise ValueError("Invalid format")
    return SAMPLE_SIZES[FORMATS[format]]


def get_format_from_width(width: int, unsigned: bool = True) -> int:
    """The format's code with samples of so many bytes.

    Args:
        width: bytes, 1 to 4.
        unsigned: of one byte: paUInt8 rather than paInt8.

    Raises:
        ValueError: another width.
    """
    formats = {
        1: pa.paUInt8 if unsigned else pa.paInt8,
        2: pa.paInt16,
        3: pa.paInt24,
        4: pa.paFloat32,
    }
    if width not in formats:
        raise ValueError(f"Invalid width: {width}")
    return formats[width]


def devices() -> list[Device]:
    try:
        return _all_devices()
    except V2MError as error:
        raise OSError(pa.paDeviceUnavailable, str(error)) from error


def device(index: int) -> Device:
    all_ = devices()
    if not 0 <= index < len(all_):
        raise OSError(pa.paInvalidDevice, "Invalid device")
    return all_[index]


def check(rate: float, channels: int | None, format: int | None) -> None:
    if channels is None or not 1 <= channels <= MOST_CHANNELS:
        raise OSError(
            pa.paInvalidChannelCount,
            f"Invalid number of channels: {channels}; 1 to {MOST_CHANNELS} can be had, with the "
            f"source's voice in each",
        )
    if format not in FORMATS:
        raise OSError(pa.paSampleFormatNotSupported, "Sample format not supported")
    if (problem := why_not(rate)) is not None:
        raise OSError(pa.paInvalidSampleRate, f"Invalid sample rate: {problem}")


def no_output() -> OSError:
    return OSError(
        pa.paInvalidDevice,
        "v2m_engine captures and doesn't play: take the PyAudio package for output",
    )


def info(device: Device) -> dict[str, Any]:
    return {
        "index": device.index,
        "structVersion": 2,
        "name": device.name,
        "hostApi": 0,
        "maxInputChannels": 1,
        "maxOutputChannels": 0,
        "defaultLowInputLatency": QUANTUM,
        "defaultLowOutputLatency": 0.0,
        "defaultHighInputLatency": QUANTUM,
        "defaultHighOutputLatency": 0.0,
        "defaultSampleRate": float(device.rate),
    }
