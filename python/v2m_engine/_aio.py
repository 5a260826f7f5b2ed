"""A stream's place in an event loop, and what is rare: entering, recovering, timeouts.

Chunk after chunk is handed over without any of this (`python/src/task.rs`).

The loop waits for the ring by one descriptor (io_uring's, which has a futex wait
under way on the ring's wake word). It is armed only while somebody awaits audio.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ._native import _EngineLost, _Wakeup

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
    """What `AudioStream.__anext__` can't do by itself: the first wait, an engine that is
    gone, the end."""
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


async def stalled(stream: AudioStream) -> AudioChunk:
    """No audio came for as long as the timeout says."""
    raise await asyncio.get_running_loop().run_in_executor(None, stream._stalled)


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


class Link:
    """A stream's wake-ups on one event loop. Holds no reference to the stream."""

    def __init__(self, stream: AudioStream, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiter = stream._waiter(loop)
        self._since = time.monotonic_ns()
        self._timeout = stream._timeout
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(self.waiter.fileno(), self.waiter.woken)

    async def wait(self, stream: AudioStream) -> None:
        """Returns once there is something to take, or nothing to wait for."""
        while self.waiter.arm():
            self.watch()
            wakeup = _Wakeup(self.loop)
            self.waiter.remember(wakeup)
            try:
                came = await wakeup
            finally:
                self.waiter.forget(wakeup)
            if not came:
                await stalled(stream)

    def close(self) -> None:
        """Leaves the loop; whoever waits looks again."""
        if self._timer is not None:
            self._timer.cancel()
        self.waiter.close()

    def watch(self) -> None:
        """Has a timer look whether audio still comes: one timer, not one a wait."""
        if not self.waiter.watched:
            self.waiter.watched = True
            if self._timeout is not None:
                self._timer = self.loop.call_later(self._timeout, self._look)

    def _look(self) -> None:
        self.waiter.watched = False
        if self.waiter.waited_for() and self._timeout is not None:
            newest = max(self._since, self.waiter.written_ns())
            left = self._timeout - (time.monotonic_ns() - newest) / 1e9
            if left > 0:
                self.waiter.watched = True
                self._timer = self.loop.call_later(left, self._look)
            else:
                self._since = time.monotonic_ns()
                self.waiter.wake(False)
