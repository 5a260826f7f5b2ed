"""Streams under anyio, on either of its backends: asyncio and trio.

    async with open_stream(capture) as audio:
        async for chunk in audio: ...
        async for segment in audio.segments(): ...

Under asyncio `async with capture.stream()` is quicker and needs no anyio. Cancelling loses nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, Literal, Protocol, TypeVar

from .. import AudioCapture, AudioChunk, AudioStream, Event, SpeechSegment
from .._native import NeedsRecovery
from . import missing

try:
    import anyio
    import anyio.lowlevel
    import anyio.to_thread
except ImportError as _error:
    raise missing(__name__, "anyio", _error) from _error

#: Seconds from one attempt to connect again to the next.
RETRY = 0.1

Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


class _Source(Protocol[Item_co]):
    """What is iterated: a stream's chunks, or segments of it."""

    def _poll(self) -> Item_co | None: ...
    def _pending(self) -> bool: ...
    def _recover(self) -> bool: ...
    @property
    def _stream(self) -> AudioStream: ...


class _News:
    """One descriptor of the stream's, and any number of tasks that wait for it: one of them does,
    and wakes the others."""

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self._readiness = stream._readiness()
        self._waits = False
        self._woken = anyio.Event()

    async def of(self, source: _Source[Any]) -> None:
        """Returns once `source` may have something to tell."""
        self._readiness.arm()
        if not source._pending():
            return
        timeout = self._stream._timeout
        with anyio.move_on_after(timeout) as scope:
            await self._wake_up()
        if scope.cancelled_caught and source._pending():
            raise await anyio.to_thread.run_sync(self._stream._stalled)

    async def _wake_up(self) -> None:
        if self._waits:
            await self._woken.wait()
            return
        self._waits = True
        try:
            await anyio.wait_readable(self._readiness.fileno())
            self._readiness.drain()
        finally:
            # Cancelled, too: another one waits then.
            self._waits = False
            woken, self._woken = self._woken, anyio.Event()
            woken.set()


class Items(Generic[Item]):
    """An iterator of chunks, segments or events, which `Stream` makes of their source and its
    news; tasks that share one get an item each."""

    def __init__(self, source: _Source[Item], news: _News) -> None:
        self._source, self._news = source, news

    def __aiter__(self) -> Items[Item]:
        return self

    async def __anext__(self) -> Item:
        """The next one, waited for; raises what `AudioStream` says."""
        await anyio.lowlevel.checkpoint()
        while True:
            try:
                item = self._source._poll()
            except NeedsRecovery:
                while not await anyio.to_thread.run_sync(self._source._recover):  # noqa: ASYNC110
                    await anyio.sleep(RETRY)
            else:
                if item is not None:
                    return item
                await self._news.of(self._source)


class Stream(Items[AudioChunk]):
    """An open stream: an iterator of its chunks."""

    def __init__(self, stream: AudioStream) -> None:
        super().__init__(stream, _News(stream))
        #: The stream itself, for all that doesn't wait.
        self.stream = stream

    def segments(self, *arguments: Any, **parameters: Any) -> Items[SpeechSegment]:
        """Utterances; the arguments are those of `AudioStream.segments`."""
        return Items(self.stream.segments(*arguments, **parameters), self._news)

    def events(self) -> Items[Event]:
        """What happens besides: speech, gaps, mute, source and state."""
        return Items(self.stream.events(), self._news)


@asynccontextmanager
async def open_stream(
    capture: AudioCapture,
    hop: int | Literal["quantum"] | None = None,
    *,
    timeout: float | None = 10.0,  # noqa: ASYNC109
    switch_interval: float | None = None,
) -> AsyncIterator[Stream]:
    """`capture.stream(...)`, open as long as the `async with` lasts.

    Args:
        capture: what to capture.
        hop, timeout, switch_interval: of `AudioCapture.stream`.

    Raises:
        V2MError: no engine, or no audio.
    """
    stream = capture.stream(hop, timeout=timeout, switch_interval=switch_interval)
    try:
        await anyio.to_thread.run_sync(stream._open)
        opened = Stream(stream)
        await opened._news.of(stream)
        stream._check_first()
        yield opened
    finally:
        stream.close()
