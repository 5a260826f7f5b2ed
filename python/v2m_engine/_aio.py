"""asyncio: the tasks that wait for a stream or for segments of it, on futures of the
event loop's own. The loop watches one descriptor for all of them, and resumes them.

Chunks that are there already are taken without a turn of the loop, and nothing is asked of
the engine while no task waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ._native import NeedsRecovery, V2MError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._native import AudioStream, Recording

RETRY = 0.1  # seconds from one attempt to connect again to the next

Item = TypeVar("Item", covariant=True)
Result = TypeVar("Result")


class Source(Protocol[Item]):
    """What is iterated: a stream's chunks, or segments of it."""

    def _poll(self) -> Item | None: ...
    def _pending(self) -> bool: ...
    def _recover(self) -> bool: ...
    @property
    def _stream(self) -> AudioStream: ...


async def enter(stream: AudioStream) -> AudioStream:
    """`AudioStream.__aenter__`."""
    try:
        await in_thread(stream._open)
    except asyncio.CancelledError:
        stream.close()
        raise
    try:
        await wait(stream)
        stream._check_first()
    except BaseException:
        await leave(stream)
        raise
    return stream


async def leave(stream: AudioStream) -> None:
    """`AudioStream.__aexit__`."""
    stream.close()
    tasks = TASKS.get(stream)
    if tasks is not None and tasks.loop is running_loop():
        tasks.close()


async def begin(recording: Recording) -> Recording:
    """`Recording.__aenter__`."""
    try:
        await in_thread(recording._open)
    except asyncio.CancelledError:
        # Nobody will leave what was not entered.
        recording._abandon()
        raise
    return recording


async def end(recording: Recording) -> None:
    """`Recording.__aexit__`."""
    # Whoever waits for it in a thread of the loop's gives that back first.
    recording._abandon()
    # Also when the task is cancelled: the file is finished by then.
    closing = running_loop().run_in_executor(None, recording.close)
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
    """`__anext__`."""
    while True:
        try:
            item = source._poll()
        except NeedsRecovery:
            while not await in_thread(source._recover):  # noqa: ASYNC110
                await asyncio.sleep(RETRY)
        else:
            if item is not None:
                return item
            await wait(source)


async def wait(source: Source[Any]) -> None:
    """Returns once `source` has something to tell."""
    stream = source._stream
    loop = running_loop()
    # Loops in two threads may begin at the same moment.
    with _binding:
        tasks = TASKS.get(stream)
        if tasks is None or tasks.closed:
            tasks = TASKS[stream] = Tasks(stream, loop)
    if tasks.loop is not loop:
        raise RuntimeError("the stream is bound to a different event loop")
    future = tasks.register(source)
    if future is None:
        return
    try:
        news = await future
    finally:
        tasks.forget(future)
    if not news:
        raise await in_thread(stream._stalled)


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop that this task runs on."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "v2m_engine awaits on an asyncio event loop, and none runs in this thread. Under "
            "trio use the blocking half in a worker thread: `with capture.stream() as audio:` "
            "and `await trio.to_thread.run_sync(next, audio, None)`"
        ) from None


async def in_thread(call: Callable[[], Result]) -> Result:
    """What `call`, which blocks, returns."""
    return await running_loop().run_in_executor(None, call)


class Tasks:
    """The tasks on one event loop that wait for one stream. Holds no reference to the
    stream unless one does."""

    def __init__(self, stream: AudioStream, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.closed = False
        self._readiness = stream._readiness()
        self._waiting: dict[asyncio.Future[bool], Source[Any]] = {}
        self._timeout = stream._timeout
        self._timer: asyncio.TimerHandle | None = None
        self._since = time.monotonic_ns()
        loop.add_reader(self._readiness.fileno(), self._ready)

    def register(self, source: Source[Any]) -> asyncio.Future[bool] | None:
        """What comes true once `source` has something to tell, or false after the timeout;
        None: it has."""
        self._readiness.arm()
        if not source._pending():
            # Closed by another thread, which may have found nobody to tell.
            if self._readiness.closed:
                self.close()
            return None
        future: asyncio.Future[bool] = self.loop.create_future()
        self._waiting[future] = source
        if self._timer is None and self._timeout is not None:
            self._timer = self.loop.call_later(self._timeout, self._look)
        return future

    def forget(self, future: asyncio.Future[bool]) -> None:
        """Its task goes on, or was cancelled."""
        self._waiting.pop(future, None)

    def close(self) -> None:
        """Leaves the loop; whoever waits looks again."""
        if not self.closed:
            self.closed = True
            self.loop.remove_reader(self._readiness.fileno())
            if self._timer is not None:
                self._timer.cancel()
            self._resume(list(self._waiting))
            # With it goes the descriptor.
            del self._readiness

    def _ready(self) -> None:
        """The descriptor is readable: perhaps there is news."""
        if self._readiness.closed:
            self.close()
        # Those whose audio came run first, without a system call before them: the
        # descriptor stays readable, and this is called again after them.
        elif not self._resume_ready():
            self._readiness.drain()
            if self._waiting:
                self._readiness.arm()
                # News that was drained with the rest.
                self._resume_ready()

    def _resume_ready(self) -> bool:
        ready = [future for future, source in self._waiting.items() if not source._pending()]
        self._resume(ready)
        return bool(ready)

    def _resume(self, futures: list[asyncio.Future[bool]], news: bool = True) -> None:
        for future in futures:
            del self._waiting[future]
            if not future.done():  # cancelled
                future.set_result(news)

    def _look(self) -> None:
        """Whether audio still comes: one timer for the stream, not one for each wait."""
        self._timer = None
        if self._waiting and self._timeout is not None:
            now = time.monotonic_ns()
            newest = max(self._since, self._readiness.written_ns)
            left = self._timeout - (now - newest) / 1e9
            if left > 0:
                self._timer = self.loop.call_later(left, self._look)
            else:
                self._since = now
                self._resume(list(self._waiting), news=False)


TASKS: weakref.WeakKeyDictionary[AudioStream, Tasks] = weakref.WeakKeyDictionary()
_binding = threading.RLock()
