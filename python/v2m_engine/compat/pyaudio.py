"""The input side of PyAudio 0.2.14 over v2m_engine: `import v2m_engine.compat.pyaudio as pyaudio`.

Streams, callbacks, flags, errors and device infos mean what they mean there. What differs:

* A device has one channel, the source's voice; where a program asks for more all are the same.
* Samples are lost only once a program is a minute late, not some buffers.
* Rates are 8000, 16000, 24000, 32000 and 48000 Hz; others, 44100 for instance, where `soxr` is
  installed, and then come some 15 ms later.
* Times are those of `time.monotonic()`.
* There is no output.

NumPy is needed for paInt32, paInt24, paInt8 and paUInt8 only.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

from . import _pyaudio_stream
from ._portaudio import *  # noqa: F403 # all are the module's own names, as there
from ._portaudio import (
    paALSA,
    paHostApiNotFound,
    paInDevelopment,
    paInvalidDevice,
    paInvalidHostApi,
)
from ._pyaudio_devices import HOST_API as _HOST_API
from ._pyaudio_devices import check as _check
from ._pyaudio_devices import device as _device
from ._pyaudio_devices import devices as _devices
from ._pyaudio_devices import get_format_from_width as get_format_from_width
from ._pyaudio_devices import get_sample_size as get_sample_size
from ._pyaudio_devices import info as _info
from ._pyaudio_devices import no_output as _no_output
from ._pyaudio_stream import Stream as Stream

__version__ = "0.2.14"


def get_portaudio_version() -> int:
    """The number that PortAudio's would be; this is none."""
    return 0x130700


def get_portaudio_version_text() -> str:
    """What PortAudio's would be; this is none."""
    return f"{_HOST_API}, in the shape of PortAudio V19.7.0"


class PyAudio:
    """Opens streams, and lists devices. See `pyaudio.PyAudio`."""

    Stream: TypeAlias = _pyaudio_stream.Stream

    def __init__(self) -> None:
        self._streams: set[Stream] = set()

    def terminate(self) -> None:
        """Closes all streams."""
        for stream in tuple(self._streams):
            stream.close()

    def get_sample_size(self, format: int) -> int:
        """As the module's."""
        return get_sample_size(format)

    def get_format_from_width(self, width: int, unsigned: bool = True) -> int:
        """As the module's."""
        return get_format_from_width(width, unsigned)

    def open(self, *arguments: Any, **more: Any) -> Stream:
        """A stream.

        Args:
            rate: Hz.
            channels: how many, all the same.
            format: of the samples, paInt16 for instance.
            input: True.
            input_device_index: None: the service's source, or the default one.
            frames_per_buffer: of a callback. 0: 10 ms.
            start: begin at once.
            stream_callback: takes bytes, frames, times and flags; returns `(None, paContinue)`,
                or another of the codes to end. None: `read`.

        Raises:
            ValueError, OSError: the engine can't give that; the message says what it can.
        """
        stream = Stream(self, *arguments, **more)
        self._streams.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """As `stream.close()`.

        Raises:
            ValueError: it is not open.
        """
        if stream not in self._streams:
            raise ValueError(f"Stream {stream} not found")
        stream.close()

    def get_host_api_count(self) -> int:
        """1."""
        return 1

    def get_default_host_api_info(self) -> dict[str, Any]:
        """The one host API."""
        return self.get_host_api_info_by_index(0)

    def get_host_api_info_by_type(self, host_api_type: int) -> dict[str, Any]:
        """The one host API.

        Args:
            host_api_type: one of the codes to which it answers, paALSA or paInDevelopment.

        Raises:
            OSError: another type.
        """
        if host_api_type not in (paALSA, paInDevelopment):
            raise OSError(paHostApiNotFound, "Host API not found")
        return self.get_host_api_info_by_index(0)

    def get_host_api_info_by_index(self, host_api_index: int) -> dict[str, Any]:
        """The one host API.

        Args:
            host_api_index: 0.

        Raises:
            OSError: another number.
        """
        if host_api_index != 0:
            raise OSError(paInvalidHostApi, "Invalid host API")
        all_ = _devices()
        return {
            "index": 0,
            "structVersion": 1,
            "type": paInDevelopment,
            "name": _HOST_API,
            "deviceCount": len(all_),
            "defaultInputDevice": next((each.index for each in all_ if each.default), -1),
            "defaultOutputDevice": -1,
        }

    def get_device_info_by_host_api_device_index(
        self, host_api_index: int, host_api_device_index: int
    ) -> dict[str, Any]:
        """As `get_device_info_by_index`: there is one host API.

        Raises:
            OSError: no such host API, or device.
        """
        self.get_host_api_info_by_index(host_api_index)
        return self.get_device_info_by_index(host_api_device_index)

    def get_device_count(self) -> int:
        """How many sources there are."""
        return len(_devices())

    def get_default_input_device_info(self) -> dict[str, Any]:
        """The default source.

        Raises:
            OSError: there is none.
        """
        for device in _devices():
            if device.default:
                return _info(device)
        raise OSError("No Default Input Device Available")

    def get_default_output_device_info(self) -> NoReturn:
        """There is no output: OSError."""
        raise OSError("No Default Output Device Available")

    def get_device_info_by_index(self, device_index: int) -> dict[str, Any]:
        """A source.

        Args:
            device_index: its number.

        Raises:
            OSError: none has it.
        """
        return _info(_device(device_index))

    def is_format_supported(
        self,
        rate: float,
        input_device: int | None = None,
        input_channels: int | None = None,
        input_format: int | None = None,
        output_device: int | None = None,
        output_channels: int | None = None,
        output_format: int | None = None,
    ) -> bool:
        """True.

        Args:
            rate: Hz.
            input_device, input_channels, input_format: a device's number, how many channels, and
                the format, as `open` takes them.
            output_device, output_channels, output_format: a number and so on of an output;
                there is none.

        Raises:
            ValueError: a stream like that can't be; with PortAudio's code.
        """
        if input_device is None and output_device is None:
            raise ValueError(
                "Must specify stream format for input, output, or both", paInvalidDevice
            )
        try:
            if output_device is not None:
                raise _no_output()
            assert input_device is not None
            _device(input_device)
            _check(rate, input_channels, input_format)
        except OSError as error:
            raise ValueError(error.strerror, error.errno) from error
        return True
