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

import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from .. import V2MError
from ._input import (
    MOST_CHANNELS,
    QUANTUM,
    SAMPLE_SIZES,
    Block,
    Calling,
    Device,
    Reading,
    in_channels,
    open_input,
    why_not,
)
from ._input import devices as _all_devices

__version__ = "0.2.14"

paFloat32, paInt32, paInt24, paInt16, paInt8, paUInt8 = 1, 2, 4, 8, 16, 32
paCustomFormat = 0x10000

paInDevelopment, paDirectSound, paMME, paASIO, paSoundManager, paCoreAudio = 0, 1, 2, 3, 4, 5
paOSS, paALSA, paAL, paBeOS, paWDMKS, paJACK, paWASAPI = 7, 8, 9, 10, 11, 12, 13
paNoDevice = -1

paNoError = 0
paNotInitialized = -10000
paUnanticipatedHostError = -9999
paInvalidChannelCount = -9998
paInvalidSampleRate = -9997
paInvalidDevice = -9996
paInvalidFlag = -9995
paSampleFormatNotSupported = -9994
paBadIODeviceCombination = -9993
paInsufficientMemory = -9992
paBufferTooBig = -9991
paBufferTooSmall = -9990
paNullCallback = -9989
paBadStreamPtr = -9988
paTimedOut = -9987
paInternalError = -9986
paDeviceUnavailable = -9985
paIncompatibleHostApiSpecificStreamInfo = -9984
paStreamIsStopped = -9983
paStreamIsNotStopped = -9982
paInputOverflowed = -9981
paOutputUnderflowed = -9980
paHostApiNotFound = -9979
paInvalidHostApi = -9978
paCanNotReadFromACallbackStream = -9977
paCanNotWriteToACallbackStream = -9976
paCanNotReadFromAnOutputOnlyStream = -9975
paCanNotWriteToAnInputOnlyStream = -9974
paIncompatibleStreamHostApi = -9973

paContinue, paComplete, paAbort = 0, 1, 2
paInputUnderflow, paInputOverflow, paOutputUnderflow, paOutputOverflow = 1, 2, 4, 8
paPrimingOutput = 16
paFramesPerBufferUnspecified = 0

_HOST_API = "v2m-engine"
_FORMATS = {
    paFloat32: "float32",
    paInt32: "int32",
    paInt24: "int24",
    paInt16: "int16",
    paInt8: "int8",
    paUInt8: "uint8",
}
_Result: TypeAlias = tuple[bytes | None, int] | None
_Callback: TypeAlias = Callable[[bytes, int, dict[str, float], int], _Result]


def get_sample_size(format: int) -> int:
    """Bytes of a sample in this format.

    Raises:
        ValueError: no such format.
    """
    if format not in _FORMATS:
        raise ValueError("Invalid format")
    return SAMPLE_SIZES[_FORMATS[format]]


def get_format_from_width(width: int, unsigned: bool = True) -> int:
    """The format with samples of so many bytes, 1 to 4.

    Raises:
        ValueError: another width.
    """
    formats = {1: paUInt8 if unsigned else paInt8, 2: paInt16, 3: paInt24, 4: paFloat32}
    if width not in formats:
        raise ValueError(f"Invalid width: {width}")
    return formats[width]


def get_portaudio_version() -> int:
    """What PortAudio's would be; this is none."""
    return 0x130700


def get_portaudio_version_text() -> str:
    """What PortAudio's would be; this is none."""
    return f"{_HOST_API}, in the shape of PortAudio V19.7.0"


class PyAudio:
    """Opens streams, and lists devices. See `pyaudio.PyAudio`."""

    def __init__(self) -> None:
        self._streams: set[PyAudio.Stream] = set()

    class Stream:
        """What `PyAudio.open` gives."""

        def __init__(
            self,
            PA_manager: PyAudio,
            rate: int,
            channels: int,
            format: int,
            input: bool = False,
            output: bool = False,
            input_device_index: int | None = None,
            output_device_index: int | None = None,
            frames_per_buffer: int = paFramesPerBufferUnspecified,
            start: bool = True,
            input_host_api_specific_stream_info: object = None,
            output_host_api_specific_stream_info: object = None,
            stream_callback: _Callback | None = None,
        ) -> None:
            """As `PyAudio.open`."""
            if not (input or output):
                raise ValueError("Must specify an input or output stream.")
            if output:
                raise _no_output()
            source = None
            if input_device_index is not None:
                source = _device(input_device_index).source
            _check(rate, channels, format)
            self._parent, self._channels, self._format = PA_manager, channels, format
            self._rate, self._frames_per_buffer = rate, frames_per_buffer
            self._input = open_input(source, int(rate), _FORMATS[format], frames_per_buffer)
            self._reading = Reading(self._input)
            self._callback = stream_callback
            self._calling: Calling | None = None
            self._error: BaseException | None = None
            self._is_running = self._closed = False
            if start:
                try:
                    self.start_stream()
                except BaseException:
                    self.close()
                    raise

        def close(self) -> None:
            """Stops it and lets go of the engine."""
            self.stop_stream()
            self._input.close()
            self._closed = True
            self._parent._streams.discard(self)

        def get_input_latency(self) -> float:
            """Seconds from the capture of a buffer's first sample to the buffer."""
            return self._input.latency

        def get_output_latency(self) -> float:
            """0: there is no output."""
            return 0.0

        def get_time(self) -> float:
            """Now, on the clock of a callback's times."""
            return time.monotonic()

        def get_cpu_load(self) -> float:
            """Share of the time that the callbacks take; 0 without one."""
            return self._calling.load if self._calling else 0.0

        def start_stream(self) -> None:
            """Begins to capture, and waits for the first audio.

            Raises:
                OSError: no engine, no audio from the device, or closed.
            """
            if self._closed:
                raise OSError(paBadStreamPtr, "Stream closed")
            if self._is_running:
                return
            try:
                self._input.start()
            except V2MError as error:
                raise OSError(paDeviceUnavailable, str(error)) from error
            self._reading.drop()
            self._is_running = True
            if self._callback is not None:
                self._calling = Calling(self._input, self._call, lambda: None)
                self._calling.start()

        def stop_stream(self) -> None:
            """Ends capturing, after the callback that runs."""
            if not self._is_running:
                return
            self._is_running = False
            if self._calling is not None:
                self._calling.end()
            else:
                self._input.stop()

        def is_active(self) -> bool:
            """Whether audio comes: not once it is stopped, the callback said so, or the source
            ended."""
            if self._closed:
                raise OSError(paBadStreamPtr, "Stream closed")
            if self._callback is None:
                return self._is_running
            return self._is_running and self._calling is not None and self._calling.is_alive()

        def is_stopped(self) -> bool:
            """Whether it was not started, or was stopped."""
            if self._closed:
                raise OSError(paBadStreamPtr, "Stream closed")
            return not self._is_running

        def _call(self, block: Block) -> bool:
            assert self._callback is not None
            times = {
                "input_buffer_adc_time": block.captured,
                "current_time": time.monotonic(),
                "output_buffer_dac_time": 0.0,
            }
            flags = paInputOverflow if block.overflow else 0
            try:
                data = self._spread(block.samples)
                result = self._callback(data, block.frames, times, flags)
                return result is not None and result[1] == paContinue
            except BaseException:
                traceback.print_exc()
                return False

        def read(self, num_frames: int, exception_on_overflow: bool = True) -> bytes:
            """The next frames, waited for.

            Raises:
                OSError: with paInputOverflowed: samples were lost before, unless it is not to be
                    raised; the next `read` goes on. Else: a stream with a callback, or stopped;
                    or the source is gone or has ended.
            """
            if self._closed:
                raise OSError(paBadStreamPtr, "Stream closed")
            if self._callback is not None:
                raise OSError(
                    paCanNotReadFromACallbackStream, "Can not read from a callback stream"
                )
            if not self._is_running:
                raise OSError(paStreamIsStopped, "Stream is stopped")
            if num_frames < 0:
                raise ValueError("Invalid number of frames")
            try:
                data, overflow = self._reading.read(num_frames)
            except V2MError as error:
                raise OSError(paDeviceUnavailable, str(error)) from error
            if len(data) < num_frames * get_sample_size(self._format):
                raise OSError(paDeviceUnavailable, "The source has ended")
            if overflow and exception_on_overflow:
                raise OSError(paInputOverflowed, "Input overflowed")
            return self._spread(data)

        def _spread(self, samples: bytes) -> bytes:
            return in_channels(samples, get_sample_size(self._format), self._channels)

        def get_read_available(self) -> int:
            """Frames that `read` gives without waiting."""
            return self._reading.available

        def write(self, *arguments: Any, **more: Any) -> NoReturn:
            """There is no output: OSError."""
            raise OSError(paCanNotWriteToAnInputOnlyStream, "Can not write to an input stream")

        def get_write_available(self) -> NoReturn:
            """There is no output: OSError."""
            self.write()

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

    def open(self, *arguments: Any, **more: Any) -> PyAudio.Stream:
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
        stream = PyAudio.Stream(self, *arguments, **more)
        self._streams.add(stream)
        return stream

    def close(self, stream: PyAudio.Stream) -> None:
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
        """The one host API, which answers to paALSA and paInDevelopment.

        Raises:
            OSError: another type.
        """
        if host_api_type not in (paALSA, paInDevelopment):
            raise OSError(paHostApiNotFound, "Host API not found")
        return self.get_host_api_info_by_index(0)

    def get_host_api_info_by_index(self, host_api_index: int) -> dict[str, Any]:
        """The one host API.

        Raises:
            OSError: another number than 0.
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

        Raises:
            OSError: none has this number.
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


class Stream(PyAudio.Stream):
    """As `PyAudio.Stream`; programs take `PyAudio.open`."""


def _devices() -> list[Device]:
    try:
        return _all_devices()
    except V2MError as error:
        raise OSError(paDeviceUnavailable, str(error)) from error


def _device(index: int) -> Device:
    all_ = _devices()
    if not 0 <= index < len(all_):
        raise OSError(paInvalidDevice, "Invalid device")
    return all_[index]


def _check(rate: float, channels: int | None, format: int | None) -> None:
    if channels is None or not 1 <= channels <= MOST_CHANNELS:
        raise OSError(
            paInvalidChannelCount,
            f"Invalid number of channels: {channels}; 1 to {MOST_CHANNELS} can be had, with the "
            f"source's voice in each",
        )
    if format not in _FORMATS:
        raise OSError(paSampleFormatNotSupported, "Sample format not supported")
    if (problem := why_not(rate)) is not None:
        raise OSError(paInvalidSampleRate, f"Invalid sample rate: {problem}")


def _no_output() -> OSError:
    return OSError(
        paInvalidDevice, "v2m_engine captures and doesn't play: take the PyAudio package for output"
    )


def _info(device: Device) -> dict[str, Any]:
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
