"""PyAudio's stream."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from .. import V2MError
from . import _portaudio as pa
from . import _stream
from ._input import Block, in_channels, open_input
from ._pyaudio_devices import FORMATS, check, device, get_sample_size, no_output

if TYPE_CHECKING:
    from .pyaudio import PyAudio

Result: TypeAlias = tuple[bytes | None, int] | None
Callback: TypeAlias = Callable[[bytes, int, dict[str, float], int], Result]


class Stream(_stream.Stream):
    """What `PyAudio.open` gives. All but `close` raise OSError once it is closed."""

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
        frames_per_buffer: int = pa.paFramesPerBufferUnspecified,
        start: bool = True,
        input_host_api_specific_stream_info: object = None,
        output_host_api_specific_stream_info: object = None,
        stream_callback: Callback | None = None,
    ) -> None:
        """As `PyAudio.open`."""
        if not (input or output):
            raise ValueError("Must specify an input or output stream.")
        if output:
            raise no_output()
        source = None
        if input_device_index is not None:
            source = device(input_device_index).source
        check(rate, channels, format)
        self._parent, self._channels, self._format = PA_manager, channels, format
        self._rate, self._frames_per_buffer = rate, frames_per_buffer
        opened = open_input(source, int(rate), FORMATS[format], frames_per_buffer)
        super().__init__(opened, self._call if stream_callback else None)
        self._callback = stream_callback
        if start:
            try:
                self.start_stream()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Stops it and lets go of the engine."""
        self.stop_stream()
        self._close()
        self._parent._streams.discard(self)

    def get_input_latency(self) -> float:
        """Seconds from the capture of a buffer's first sample to the buffer."""
        return self._input.latency

    def get_output_latency(self) -> float:
        """0: there is no output."""
        return 0.0

    def get_time(self) -> float:
        """Now, in seconds on the clock of a callback's times."""
        return time.monotonic()

    def get_cpu_load(self) -> float:
        """Share of the time that the callbacks take; 0 without one."""
        return self._load

    def start_stream(self) -> None:
        """Begins to capture, and waits for the first audio.

        Raises:
            OSError: no engine, no audio from the device, or closed.
        """
        if self._closed:
            raise OSError(pa.paBadStreamPtr, "Stream closed")
        try:
            self._start()
        except V2MError as error:
            raise OSError(pa.paDeviceUnavailable, str(error)) from error

    def stop_stream(self) -> None:
        """Ends capturing, after the callback that runs."""
        self._stop()

    def is_active(self) -> bool:
        """Whether audio comes: not once it is stopped, the callback said so, or the source
        ended.

        Raises:
            OSError: it is closed.
        """
        if self._closed:
            raise OSError(pa.paBadStreamPtr, "Stream closed")
        return self._active

    def is_stopped(self) -> bool:
        """Whether it was not started, or was stopped.

        Raises:
            OSError: it is closed.
        """
        if self._closed:
            raise OSError(pa.paBadStreamPtr, "Stream closed")
        return not self._running

    def _call(self, block: Block) -> bool:
        assert self._callback is not None
        times = {
            "input_buffer_adc_time": block.captured,
            "current_time": time.monotonic(),
            "output_buffer_dac_time": 0.0,
        }
        flags = pa.paInputOverflow if block.overflow else 0
        try:
            data = self._spread(block.samples)
            result = self._callback(data, block.frames, times, flags)
            return result is not None and result[1] == pa.paContinue
        except BaseException:
            traceback.print_exc()
            return False

    def read(self, num_frames: int, exception_on_overflow: bool = True) -> bytes:
        """The next frames, waited for, in the stream's format.

        Args:
            num_frames: how many.
            exception_on_overflow: raise OSError where samples were lost.

        Raises:
            OSError: with paInputOverflowed: samples were lost before; the next `read` goes on.
                Else: a stream with a callback, or stopped; or the source is gone or has ended.
            ValueError: fewer than none.
        """
        if self._closed:
            raise OSError(pa.paBadStreamPtr, "Stream closed")
        if self._callback is not None:
            raise OSError(pa.paCanNotReadFromACallbackStream, "Can not read from a callback stream")
        if not self._running:
            raise OSError(pa.paStreamIsStopped, "Stream is stopped")
        if num_frames < 0:
            raise ValueError("Invalid number of frames")
        try:
            data, overflow = self._reading.read(num_frames)
        except V2MError as error:
            raise OSError(pa.paDeviceUnavailable, str(error)) from error
        if len(data) < num_frames * get_sample_size(self._format):
            raise OSError(pa.paDeviceUnavailable, "The source has ended")
        if overflow and exception_on_overflow:
            raise OSError(pa.paInputOverflowed, "Input overflowed")
        return self._spread(data)

    def _spread(self, samples: bytes) -> bytes:
        return in_channels(samples, get_sample_size(self._format), self._channels)

    def get_read_available(self) -> int:
        """Frames that `read` gives without waiting."""
        return self._reading.available

    def write(self, *arguments: Any, **more: Any) -> NoReturn:
        """There is no output: OSError."""
        raise OSError(pa.paCanNotWriteToAnInputOnlyStream, "Can not write to an input stream")

    def get_write_available(self) -> NoReturn:
        """There is no output: OSError."""
        self.write()
