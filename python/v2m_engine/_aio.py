"""What asyncio itself demands of a stream: futures, and a place in the loop.

The loop waits for the ring by one descriptor (io_uring's, which has a futex wait
under way on the ring's wake word). It is armed only while somebody awaits audio.
"""

from __future__ import annotations

import asyncio
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


class Link:
    """A stream's wake-ups on one event loop. Holds no reference to the stream."""

    def __init__(self, stream: AudioStream, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiter = stream._waiter()
        self._waiting: dict[asyncio.Future[bool], asyncio.TimerHandle | None] = {}
        self._open = True
        loop.add_reader(self._waiter.fileno(), self._woken)

    async def wait(self, stream: AudioStream) -> None:
        """Returns once there is something to take, or nothing to wait for."""
        while self._open and self._waiter.arm():
            future: asyncio.Future[bool] = self.loop.create_future()
            self._waiting[future] = self._timer(future, stream._timeout)
            try:
                came = await future
            finally:
                timer = self._waiting.pop(future)
                if timer is not None:
                    timer.cancel()
            if not came:
                raise await self.loop.run_in_executor(None, stream._stalled)

    def close(self) -> None:
        """Leaves the loop; whoever waits looks again."""
        if self._open:
            self._open = False
            self.loop.remove_reader(self._waiter.fileno())
            self._wake()

    def _woken(self) -> None:
        self._waiter.drain()
        if self._waiter.closed():
            self.close()
        # Less than a hop: wait on without troubling the task.
        elif self._waiting and not self._waiter.arm():
            self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(True)

    def _timer(
        self, future: asyncio.Future[bool], timeout: float | None
    ) -> asyncio.TimerHandle | None:
        if timeout is None:
            return None
        return self.loop.call_later(timeout, self._late, future, timeout, self._waiter.committed())

    def _late(self, future: asyncio.Future[bool], timeout: float, committed: int) -> None:
        """Ends the wait if nothing was committed for `timeout` seconds."""
        if future.done():
            return
        if self._waiter.committed() != committed:
            self._waiting[future] = self._timer(future, timeout)
        else:
            future.set_result(False)
