"""A place in an event loop for streams and segments, and what is rare: entering,
recovering, timeouts. Chunk after chunk is handed over without any of this
(`python/src/task.rs`).

The loop waits for the ring by one descriptor (io_uring's, which has a futex wait
under way on the ring's wake word). It is armed only while somebody awaits audio.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from ._native import V2MError, _EngineLost, _SpeechUnheard, _Wakeup

if TYPE_CHECKING:
    from ._native import AudioStream, DeviceError, Recording, _Waiter

RETRY = 0.1  # seconds from one attempt to connect again to the next


Item = TypeVar("Item", covariant=True)


class Awaited(Protocol):
    """What a task can wait for."""

    def _reconnect(self) -> bool: ...
    def _stalled(self) -> DeviceError: ...
    def _waiter(self, event_loop: asyncio.AbstractEventLoop, /) -> _Waiter: ...
    @property
    def _timeout(self) -> float | None: ...

    _link: Any


class Source(Awaited, Protocol[Item]):
    """What can be iterated: a stream's chunks, or segments of it."""

    def _take(self) -> Item | None: ...
    def _over(self) -> bool: ...
    def _ask(self) -> None: ...


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


async def begin(recording: Recording) -> Recording:
    """`Recording.__aenter__`."""
    await asyncio.get_running_loop().run_in_executor(None, recording._open)
    return recording


async def end(recording: Recording) -> None:
    """`Recording.__aexit__`."""
    # Also when the task is cancelled: the file is finished by then.
    closing = asyncio.get_running_loop().run_in_executor(None, recording.close)
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait([closing])
        raise


async def leave_quietly(recording: Recording) -> None:
    """The same after an exception, which is worth more than what follows from it."""
    with contextlib.suppress(V2MError):
        await end(recording)


async def following(source: Source[Item]) -> Item:
    """`__anext__` of segments, and what that of streams can't do by itself: the first
    wait, an engine that is gone, the end."""
    while True:
        try:
            item = source._take()
        except _EngineLost:
            await _recover(source)
            continue
        except _SpeechUnheard:
            await asyncio.get_running_loop().run_in_executor(None, source._ask)
            continue
        if item is not None:
            return item
        if source._over():
            raise StopAsyncIteration
        await _link(source).wait(source)


async def stalled(source: Awaited) -> NoReturn:
    """No audio came for as long as the timeout says."""
    raise await asyncio.get_running_loop().run_in_executor(None, source._stalled)


async def _recover(source: Awaited) -> None:
    _unlink(source)
    loop = asyncio.get_running_loop()
    while not await loop.run_in_executor(None, source._reconnect):  # noqa: ASYNC110
        await asyncio.sleep(RETRY)


def _link(source: Awaited) -> Link:
    loop = asyncio.get_running_loop()
    link: Link | None = source._link
    if link is not None and link.loop is not loop:
        raise RuntimeError("the stream is bound to a different event loop")
    if link is not None and link.waiter.stale():
        _unlink(source)
        link = None
    if link is None:
        link = source._link = Link(source, loop)
    return link


def _unlink(source: Awaited) -> None:
    link, source._link = source._link, None
    if link is not None:
        link.close()


class Link:
    """A source's wake-ups on one event loop. Holds no reference to the source."""

    def __init__(self, source: Awaited, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiter = source._waiter(loop)
        self._since = time.monotonic_ns()
        self._timeout = source._timeout
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(self.waiter.fileno(), self.waiter.woken)

    async def wait(self, source: Awaited) -> None:
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
                await stalled(source)

    def close(self) -> None:
        """Leaves the loop; whoever waits looks again."""
        if self._timer is not None:
            self._timer.cancel()
        self.waiter.close()

    def abandon(self) -> None:
        """Leaves the loop when its source is collected, on whichever thread."""
        with contextlib.suppress(RuntimeError):  # a closed loop has nothing to leave
            self.loop.call_soon_threadsafe(self.close)

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
