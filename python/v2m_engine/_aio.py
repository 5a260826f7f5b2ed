"""What asyncio itself demands of streams and segments: futures, and a place in the loop.

The loop waits for the ring by one descriptor (io_uring's, which has a futex wait
under way on the ring's wake word). It is armed only while somebody awaits audio.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ._native import V2MError, _EngineLost, _SpeechUnheard

if TYPE_CHECKING:
    from ._native import AudioStream, DeviceError, Recording, _Waiter

RETRY = 0.1  # seconds from one attempt to connect again to the next


Item = TypeVar("Item", covariant=True)


class Awaited(Protocol):
    """What a task can wait for."""

    def _reconnect(self) -> bool: ...
    def _stalled(self) -> DeviceError: ...
    def _waiter(self) -> _Waiter: ...
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
    """`__anext__` of streams and segments."""
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
    if link is not None and link.is_stale():
        _unlink(source)
        link = None
    if link is None:
        link = source._link = Link(source, loop)
    return link


def _unlink(source: Awaited) -> None:
    link, source._link = source._link, None
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
    """A source's wake-ups on one event loop. Holds no reference to the source."""

    def __init__(self, source: Awaited, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiter = source._waiter()
        self._waiting: set[Wakeup] = set()
        self._open = True
        self._since = time.monotonic_ns()
        self._timeout = source._timeout
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(self._waiter.fileno(), self._woken)

    async def wait(self, source: Awaited) -> None:
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
                raise await self.loop.run_in_executor(None, source._stalled)

    def close(self) -> None:
        """Leaves the loop; whoever waits looks again."""
        if self._open:
            self._open = False
            if self._timer is not None:
                self._timer.cancel()
            self.loop.remove_reader(self._waiter.fileno())
            self._wake(True)

    def is_stale(self) -> bool:
        """Whether it was closed or belongs to an engine that was replaced."""
        return not self._open or self._waiter.stale()

    def abandon(self) -> None:
        """Leaves the loop when its source is collected, on whichever thread."""
        with contextlib.suppress(RuntimeError):  # a closed loop has nothing to leave
            self.loop.call_soon_threadsafe(self.close)

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
