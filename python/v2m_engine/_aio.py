"""What asyncio itself demands of a stream: futures, and a place in the loop.

The loop waits for the ring by one descriptor (io_uring's, which has a futex wait
under way on the ring's wake word). It is armed only while somebody awaits audio.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING

from ._native import _EngineLost

if TYPE_CHECKING:
    from ._native import AudioChunk, AudioStream

RETRY = 0.1  # seconds from one attempt to connect again to the next


async def enter(stream: AudioStream) -> AudioStream:
    """`AudioStream.__aenter__`."""
    loop = asyncio.get_running_loop()
    try:
        # Connecting blocks: an engine may have to be started.
        await loop.run_in_executor(None, stream._open)
        await _link(stream).wait(stream)
        stream._check_first()
    except BaseException:
        await leave(stream)
        raise
    return stream


async def leave(stream: AudioStream) -> None:
    """`AudioStream.__aexit__`."""
    _unlink(stream)
    stream.close()


async def next_chunk(stream: AudioStream) -> AudioChunk:
    """`AudioStream.__anext__`."""
    while True:
        try:
            chunk = stream._take()
        except _EngineLost:
            await _recover(stream)
            continue
        if chunk is not None:
            return chunk
        if stream._over():
            raise StopAsyncIteration
        await _link(stream).wait(stream)


async def _recover(stream: AudioStream) -> None:
    _unlink(stream)
    loop = asyncio.get_running_loop()
    while not await loop.run_in_executor(None, stream._reconnect):  # noqa: ASYNC110
        await asyncio.sleep(RETRY)


def _link(stream: AudioStream) -> Link:
    loop = asyncio.get_running_loop()
    link: Link | None = stream._link
    if link is None:
        link = stream._link = Link(stream, loop)
    elif link.loop is not loop:
        raise RuntimeError("the stream is bound to a different event loop")
    return link


def _unlink(stream: AudioStream) -> None:
    link, stream._link = stream._link, None
    if link is not None:
        link.close()


class Wakeup:
    """What a task waits on: a future that resumes the task at once when it comes,
    without another turn of the loop. Of the future's interface it has what tasks use.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._came: bool | None = None
        self._cancelled = False
        self._resume: tuple[Callable[[Wakeup], object], Context | None] | None = None

    def __await__(self) -> Generator[Wakeup, None, bool]:
        if not self.done():
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def come(self, came: bool) -> None:
        """Ends the wait, with True for a wake-up and False for a timeout."""
        if self.done():
            return
        self._came = came
        if self._resume is not None:
            callback, context = self._resume
            self._resume = None
            if context is None:
                callback(self)
            else:
                context.run(callback, self)

    def add_done_callback(
        self, callback: Callable[[Wakeup], object], *, context: Context | None = None
    ) -> None:
        self._resume = callback, context

    def remove_done_callback(self, callback: Callable[[Wakeup], object]) -> int:
        known = self._resume is not None and self._resume[0] == callback
        if known:
            self._resume = None
        return int(known)

    def cancel(self, msg: object = None) -> bool:
        if self.done():
            return False
        self._cancelled = True
        if self._resume is not None:
            callback, context = self._resume
            self._resume = None
            self._loop.call_soon(callback, self, context=context)
        return True

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def done(self) -> bool:
        return self._cancelled or self._came is not None

    def cancelled(self) -> bool:
        return self._cancelled

    def exception(self) -> None:
        self.result()

    def result(self) -> bool:
        if self._cancelled:
            raise asyncio.CancelledError
        if self._came is None:
            raise asyncio.InvalidStateError
        return self._came


class Link:
    """A stream's wake-ups on one event loop. Holds no reference to the stream."""

    def __init__(self, stream: AudioStream, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiter = stream._waiter()
        self._waiting: set[Wakeup] = set()
        self._open = True
        self._since = time.monotonic_ns()
        self._timeout = stream._timeout
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(self._waiter.fileno(), self._woken)

    async def wait(self, stream: AudioStream) -> None:
        """Returns once there is something to take, or nothing to wait for."""
        while self._open and self._waiter.arm():
            if self._timer is None:
                self._watch(self._timeout)
            wakeup = Wakeup(self.loop)
            self._waiting.add(wakeup)
            try:
                came = await wakeup
            finally:
                self._waiting.discard(wakeup)
            if not came:
                raise await self.loop.run_in_executor(None, stream._stalled)

    def close(self) -> None:
        """Leaves the loop; whoever waits looks again."""
        if self._open:
            self._open = False
            if self._timer is not None:
                self._timer.cancel()
            self.loop.remove_reader(self._waiter.fileno())
            self._wake(True)

    def _woken(self) -> None:
        # Not for less than a hop: then it is armed again, and the task left alone.
        if self._waiter.woken(bool(self._waiting)):
            self._wake(True)
            if self._waiter.closed():
                self.close()

    def _wake(self, came: bool) -> None:
        # Whoever is resumed may wait again at once: not in this round.
        for wakeup in tuple(self._waiting):
            wakeup.come(came)

    def _watch(self, seconds: float | None) -> None:
        """Looks in `seconds` whether audio still comes: one timer, not one a wait."""
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiting and self._timeout is not None:
            newest = max(self._since, self._waiter.written_ns())
            left = self._timeout - (time.monotonic_ns() - newest) / 1e9
            if left > 0:
                self._watch(left)
            else:
                self._since = time.monotonic_ns()
                self._wake(False)
