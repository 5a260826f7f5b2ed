"""Waits that end otherwise than by audio: tasks that wait for chunks, segments and
recordings while their stream is left or closed, while they are cancelled or run out of
time, and while their engine dies. Nothing hangs, and nothing outlives the stream."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support import Recording, process_is_gone

from v2m_engine import AudioCapture, AudioStream, EngineUnavailableError, V2MError

Recorder = Callable[..., Recording]

# A thousand rounds on each loop take some minutes.
ROUNDS = int(os.environ.get("V2M_TEST_ROUNDS", "60"))
HANGS = 20  # seconds; turns a hang into a failure


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """`asyncio.run` on both loops."""
    factory: Any = None
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    def run(main: Any) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    return run


@pytest.fixture(autouse=True)
def _nothing_is_unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    said: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: said.append(told.exc_value))
    yield
    gc.collect()
    assert said == []


def held() -> tuple[int, int]:
    """Descriptors, and maps of engines' memory."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text()
    return len(os.listdir("/proc/self/fd")), len(re.findall("memfd:v2m", maps))


def timers(loop: Any) -> int:
    """Of asyncio's own loop; uvloop doesn't tell."""
    scheduled = getattr(loop, "_scheduled", [])
    return sum(not handle.cancelled() for handle in scheduled)


async def chunks(audio: AudioStream) -> None:
    async for _ in audio:
        pass


async def segments(audio: AudioStream) -> None:
    async for _ in audio.segments():
        pass


async def leave(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    pass


async def close(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    audio.close()


async def close_elsewhere(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    thread = threading.Thread(target=audio.close)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)


async def cancel(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel("enough")


async def cancel_one(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    tasks[0].cancel("enough")


async def lose(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    """Goes on once another engine stands in."""
    before = audio.private_engine_pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    while audio.private_engine_pid in (before, None):
        await asyncio.sleep(0.005)


async def lose_and_close(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    assert audio.private_engine_pid is not None
    os.kill(audio.private_engine_pid, signal.SIGKILL)
    await asyncio.sleep(random.choice((0, 0.01)))
    audio.close()


Way = Callable[[AudioStream, list[asyncio.Task[None]]], Awaitable[None]]
WAYS: list[Way] = [leave, close, close_elsewhere, cancel, cancel_one, lose, lose_and_close]
WAITS = [chunks, segments]


async def told(wait: Awaitable[None]) -> None:
    """Cancelling reaches the task with its message, by which some tell it apart."""
    try:
        await wait
    except asyncio.CancelledError as error:
        assert error.args == ("enough",)
        raise


async def one_round(capture: AudioCapture, count: int, way: Way) -> None:
    """Tasks of their own, which may end in any order around the stream's end."""
    async with asyncio.timeout(HANGS):
        async with capture.stream(random.choice([None, 80, "quantum"])) as audio:
            waits = itertools.cycle(random.sample(WAITS, 2))
            tasks = [asyncio.create_task(told(next(waits)(audio))) for _ in range(count)]
            await asyncio.sleep(random.choice((0, 0.001, 0.03)))
            await way(audio, tasks)
        assert audio.closed
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            # One that had not begun finds the stream closed.
            assert ended is None or isinstance(ended, asyncio.CancelledError | V2MError), ended
            assert not isinstance(ended, V2MError) or "the stream is closed" in str(ended)


async def one_group(capture: AudioCapture, count: int) -> None:
    """A group inside of the stream, which ends by a timeout."""
    async with asyncio.timeout(HANGS), capture.stream() as audio:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(random.choice((0, 0.001, 0.02))):
                async with asyncio.TaskGroup() as group:
                    for wait in itertools.islice(itertools.cycle(WAITS), count):
                        group.create_task(wait(audio))
        # And the stream is as good as before.
        await anext(audio)


@pytest.fixture
def capture(recording: Recorder) -> Iterator[AudioCapture]:
    source = recording(400).source
    with_engine = AudioCapture(engine="private", source=source, buffer_size=160)
    yield with_engine
    with_engine.close()


@pytest.mark.usefixtures("waiting")
def test_any_way_out(capture: AudioCapture, run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        said: list[Any] = []
        loop.set_exception_handler(lambda _, context: said.append(context))
        async with capture.stream() as audio:  # the engine, and the loop's own threads
            await anext(audio)
        await one_round(capture, 1, leave)
        before = held()
        quick = [way for way in WAYS if way not in (lose, lose_and_close)]
        for number in range(ROUNDS):
            count = (1, 2, 10)[number % 3]
            random.seed(number)
            if number % 4 == 3:
                await one_group(capture, count)
            elif number % 20 == 1:
                await one_round(capture, count, random.choice((lose, lose_and_close)))
            else:
                await one_round(capture, count, random.choice(quick))
            # A close from elsewhere reaches the loop at its next turn.
            await asyncio.sleep(0)
            assert timers(loop) == 0
        await asyncio.sleep(0.01)
        async with capture.stream():  # a private engine that died is still kept
            pass
        await asyncio.sleep(0.01)
        assert held() == before
        assert said == []

    run(main())
