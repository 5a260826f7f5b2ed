"""The native half of v2m_engine, and the reference of what it offers.

Positions are sample numbers at 16 kHz since the engine's ring was made. Times are
nanoseconds of CLOCK_MONOTONIC (`time.monotonic_ns()`) at which a sample was captured.
Samples are float32, full scale ±1.
"""

import sys
from array import array
from asyncio import AbstractEventLoop
from collections.abc import Generator
from types import TracebackType
from typing import Any, Literal, final

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    from typing_extensions import Buffer

__version__: str

class V2MError(Exception):
    """The base of this package's errors."""

class EngineUnavailableError(V2MError):
    """No engine can be reached or started, or it went away and did not come back."""

class OverrunError(V2MError):
    """Audio was overwritten before it was read."""

    lost: int
    """Samples that were lost."""

class DeviceError(V2MError):
    """The source is not there, no audio comes from it, or too little."""

class _EngineLost(EngineUnavailableError): ...

@final
class AudioCapture:
    """Audio from one source, for any number of streams.

    A private engine starts with the first stream and is kept for the next ones, until
    `close()` or the end of this object. Captures of one process that want the same
    source share it. It ends with this process, whatever happens.
    """

    def __new__(
        cls,
        sample_rate: int = 16000,
        buffer_size: int = 4096,
        *,
        source: str | None = None,
        engine: Literal["auto", "service", "private"] = "auto",
        latency: str | None = None,
    ) -> AudioCapture:
        """Nothing is opened yet.

        Args:
            sample_rate: Hz; the engine gives 16000 only.
            buffer_size: samples of one window, 1 to half of the engine's history.
            source: what to capture, as `v2m-engine run --source` takes it: a node's
                name, `monitor:<sink>`, `alsa:<pcm>`, `file:<path>`. None: whatever the
                service captures, or the default source.
            engine: `"service"`: the user's engine; `"private"`: one of this process;
                `"auto"`: the service if it runs and captures `source`, else a private one.
            latency: the quantum to ask the audio server for, `"samples/rate"`, for
                instance `"128/48000"`. None: the engine's own.

        Raises:
            ValueError: an argument is not one of the above.
        """

    def stream(
        self,
        hop: int | Literal["quantum"] | None = None,
        *,
        timeout: float | None = 10.0,
        switch_interval: float | None = None,
    ) -> AudioStream:
        """A stream of this capture, to be used by `with` or `async with`.

        Args:
            hop: samples from one chunk to the next, 1 to `buffer_size` (the default);
                `"quantum"`: a chunk each time audio arrives, none of which is left out.
            timeout: seconds without any audio, or without an engine, after which
                entering and iterating give up. None: never.
            switch_interval: while the stream is open, `sys.setswitchinterval` is set to
                this many seconds (0.000001 to 1) unless it is lower already. A thread
                that runs pure Python delays yours by one interval (5 ms by default)
                each time audio arrives; 0.0002 leaves a fifth of a millisecond. It
                holds for the whole process; when several streams ask, the lowest
                counts, and after the last of them what the program had set. None:
                left alone.

        Raises:
            ValueError: `hop`, `timeout` or `switch_interval` is not one of the above.
        """

    def close(self) -> None:
        """Lets go of the private engine; open streams keep it until they are closed."""

    @property
    def sample_rate(self) -> int:
        """Hz."""
    @property
    def buffer_size(self) -> int:
        """Samples of one window."""

@final
class AudioStream(Buffer):
    """Audio as it arrives: a context manager, an iterator, and a buffer.

    Entering connects and waits for the first full buffer. As a buffer it is its newest
    `buffer_size` samples (float32, read-only, not copied), each time it is asked.
    Iterating gives `AudioChunk`s in order without repeats or holes, the first being the
    newest window at the time of entering.

    If the engine goes away, iteration waits for the service to come back (at most
    `timeout`), or starts the private engine once more. The first chunk after that has
    `gap` set, and positions start anew. A file's end ends the iteration after the last
    full hop; what is left of it can be read from the stream as a buffer.

    May be used from several threads or tasks: each chunk goes to one of them. Ctrl-C
    interrupts a wait; cancelling an `await` loses nothing; a forked child has to open
    streams of its own.

    Raises, from entering and iterating:
        EngineUnavailableError: no engine, or it is gone for good.
        DeviceError: no audio for `timeout` seconds, or less than one buffer.
        OverrunError: the next window was overwritten; `lost` samples belong to no
            chunk. The next iteration goes on with the newest audio.
        ValueError: the buffer is longer than half of the engine's history.
        V2MError: the stream is not open, or closed.
    """

    def __enter__(self) -> AudioStream: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def __iter__(self) -> AudioStream: ...
    def __next__(self) -> AudioChunk: ...
    async def __aenter__(self) -> AudioStream: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def __aiter__(self) -> AudioStream: ...
    async def __anext__(self) -> AudioChunk: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def latest(self) -> AudioChunk:
        """The newest `buffer_size` samples; doesn't move the iteration."""

    def close(self) -> None:
        """Closes the stream, from any thread: iterations under way end. Chunks stay
        readable. Closing twice is fine."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
    @property
    def sample_rate(self) -> int:
        """Hz."""
    @property
    def buffer_size(self) -> int:
        """Samples of one window."""
    @property
    def hop(self) -> int | Literal["quantum"]:
        """Samples from one chunk to the next, or `"quantum"`."""
    @property
    def position(self) -> int:
        """The position that the next sample to arrive will have."""
    @property
    def written_ns(self) -> int:
        """When the engine wrote the newest samples, CLOCK_MONOTONIC nanoseconds."""
    @property
    def history(self) -> int:
        """Samples that the engine keeps."""
    @property
    def source(self) -> str:
        """What the engine captures, as its configuration says."""
    @property
    def private_engine_pid(self) -> int | None:
        """Process id of the private engine; None with the service."""

    def _open(self) -> None: ...
    def _reconnect(self) -> bool: ...
    def _check_first(self) -> None: ...
    def _take(self) -> AudioChunk | None: ...
    def _over(self) -> bool: ...
    def _stalled(self) -> DeviceError: ...
    def _waiter(self, event_loop: AbstractEventLoop, /) -> _Waiter: ...
    @property
    def _timeout(self) -> float | None: ...
    _link: Any

@final
class AudioChunk(Buffer):
    """A window of audio in the engine's own memory.

    As a buffer: one-dimensional, contiguous, read-only, format `f` (float32), shape
    `(buffer_size,)`. `memoryview(chunk)` and `np.asarray(chunk)` copy nothing and stay
    readable as long as they are held, whatever happens to the engine. Once the engine
    comes round (after its history, a minute by default) it writes newer audio there:
    `valid` asked after reading tells whether what was read was this chunk.
    """

    @property
    def position(self) -> int:
        """Position of the first sample."""
    @property
    def time_ns(self) -> int:
        """When the first sample was captured, CLOCK_MONOTONIC nanoseconds. Sample `i`
        was captured `i * 62500` ns later."""
    @property
    def speech(self) -> memoryview:
        """Speech probabilities (float32, 0 to 1) of the 512-sample windows that end in
        this chunk, as far as the engine has them now: empty without speech detection.
        Not copied.

        Raises:
            OverrunError: they were overwritten.
        """
    @property
    def gap(self) -> bool:
        """Whether it holds silence filled in for lost audio, or is the first chunk
        after the engine was lost."""
    @property
    def valid(self) -> bool:
        """False once any of it was overwritten."""
    def copy(self) -> array[float]:
        """An owned copy, `array.array("f")`; `np.asarray` takes it without another.

        Raises:
            OverrunError: `lost` of its samples were overwritten.
        """
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class _Wakeup:
    def __init__(self, event_loop: AbstractEventLoop, /) -> None: ...
    def __await__(self) -> Generator[_Wakeup, None, bool]: ...

class _Waiter:
    watched: bool
    def fileno(self) -> int: ...
    def woken(self) -> None: ...
    def arm(self) -> bool: ...
    def remember(self, wakeup: _Wakeup, /) -> None: ...
    def forget(self, wakeup: _Wakeup, /) -> None: ...
    def waited_for(self) -> bool: ...
    def wake(self, came: bool, /) -> None: ...
    def close(self) -> None: ...
    def written_ns(self) -> int: ...
