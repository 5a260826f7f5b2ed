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
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from rig.playing import Recording
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
        factory().close()  # with the first one come two descriptors of the process' own

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


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def chunks(audio: AudioStream) -> None:
    async for _ in audio:
        pass


async def segments(audio: AudioStream) -> None:
    async for _ in audio.segments():
        pass


async def events(audio: AudioStream) -> None:
    async for _ in audio.events():
        pass


async def leave(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    pass


async def close(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    audio.close()


async def close_elsewhere(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    thread = threading.Thread(target=audio.close)
    thread.start()
    await until(lambda: not thread.is_alive())


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
    await until(lambda: audio.private_engine_pid not in (before, None))


async def lose_and_close(audio: AudioStream, tasks: list[asyncio.Task[None]]) -> None:
    assert audio.private_engine_pid is not None
    os.kill(audio.private_engine_pid, signal.SIGKILL)
    await asyncio.sleep(random.choice((0, 0.01)))
    audio.close()


Way = Callable[[AudioStream, list[asyncio.Task[None]]], Awaitable[None]]
WAYS: list[Way] = [leave, close, close_elsewhere, cancel, cancel_one, lose, lose_and_close]
WAITS = [chunks, segments, events]


async def told(wait: Awaitable[None]) -> None:
    """Cancelling reaches the task with its message, by which some tell it apart."""
    try:
        await wait
    except asyncio.CancelledError as error:
        if error.args != ("enough",):
            raise AssertionError(error.args) from error
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


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return Recording(tmp_path_factory.mktemp("long") / "recording.wav", 600)


@pytest.fixture
def capture(long: Recording) -> Iterator[AudioCapture]:
    with_engine = AudioCapture(engine="private", source=long.source, buffer_size=160)
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


def test_recordings_end_while_others_wait(
    capture: AudioCapture, run: Callable[[Any], Any], tmp_path: Path
) -> None:
    """As many as fill the threads that a loop has for what blocks."""

    async def one(number: int, count: int, way: str) -> None:
        recording = capture.record(tmp_path / f"{number}.wav", sync=0.05)
        async with asyncio.timeout(HANGS):
            try:
                async with asyncio.timeout(None) as limit, recording:
                    limit.reschedule(asyncio.get_running_loop().time() + 0.1)
                    tasks = [
                        asyncio.create_task(asyncio.to_thread(recording.wait)) for _ in range(count)
                    ]
                    await asyncio.sleep(0.01)
                    if way == "time out":
                        await asyncio.sleep(HANGS)
                    elif way == "cancel":
                        tasks[0].cancel()
                    elif way == "close":
                        recording.close()
            except TimeoutError:
                pass
            assert recording.done
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                assert ended is True or isinstance(ended, asyncio.CancelledError)

    async def main() -> None:
        async with capture.stream() as audio:
            await anext(audio)
        await one(0, 10, "leave")
        before = held()
        ways = itertools.product((1, 2, 10), ("leave", "close", "cancel", "time out"))
        for number, (count, way) in enumerate(ways, 1):
            await one(number, count, way)
        assert held() == before

    run(main())


def test_a_recording_that_nobody_entered_after_all(
    capture: AudioCapture, run: Callable[[Any], Any], tmp_path: Path
) -> None:
    async def one(number: int) -> None:
        recording = capture.record(tmp_path / f"{number}.wav", sync=0.05)
        entering = asyncio.create_task(recording.__aenter__())
        await asyncio.sleep(number / 2000)
        entering.cancel()
        if (await asyncio.gather(entering, return_exceptions=True))[0] is recording:
            recording.close()

    async def main() -> None:
        async with capture.stream() as audio:
            await anext(audio)
        before = held()
        for number in range(20):
            await one(number)
        async with asyncio.timeout(HANGS):
            await until(lambda: held() == before)

    run(main())


def engines() -> set[int]:
    """Children of this process, zombies as well."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        # It may end meanwhile.
        with suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def test_opens_that_are_cancelled(long: Recording, run: Callable[[Any], Any]) -> None:
    """At any moment of the way, a hundred times: no engine is left, nor what it gave."""

    async def main() -> None:
        for _ in range(4):
            # Each has an engine of its own, or would.
            captures = [
                AudioCapture(engine="private", source=long.source, buffer_size=160, channel=one)
                for one in (1, "mix", "auto")
            ]
            opens = [
                asyncio.ensure_future(captures[number % 3].stream().__aenter__())
                for number in range(25)
            ]
            for one in random.sample(opens, len(opens)):
                await asyncio.sleep(random.choice((0, 0.001, 0.02)))
                one.cancel()
            found = await asyncio.gather(*opens, return_exceptions=True)
            for stream in found:
                if isinstance(stream, AudioStream):
                    stream.close()
                else:
                    assert isinstance(stream, asyncio.CancelledError), stream
            for capture in captures:
                capture.close()

    async def settled() -> None:
        # Threads that were connecting come to an end of that.
        await until(lambda: not engines())

    async def bounded() -> None:
        # A busy machine takes its time for a hundred of them.
        async with asyncio.timeout(6 * HANGS):
            await main()
            await settled()

    before = held()
    run(bounded())
    assert held() == before


def test_tasks_share_a_stream_whose_engine_dies(
    capture: AudioCapture, run: Callable[[Any], Any]
) -> None:
    async def main() -> None:
        async with asyncio.timeout(HANGS), capture.stream() as audio, asyncio.TaskGroup() as group:
            gone = 0

            async def listen() -> None:
                nonlocal gone
                async for chunk in audio:
                    gone += chunk.gap or gone > 0
                    if gone > 50:
                        audio.close()

            for _ in range(5):
                group.create_task(listen())
            await lose(audio, [])
        assert gone > 50

    run(main())


def test_no_engine_stands_in(recording: Recorder, run: Callable[[Any], Any]) -> None:
    """Everybody who waits is told."""
    source = recording(20)

    async def main() -> None:
        capture = AudioCapture(engine="private", source=source.source, buffer_size=160)
        async with asyncio.timeout(HANGS), capture.stream() as audio:
            tasks = [asyncio.create_task(wait(audio)) for wait in WAITS * 5]
            await asyncio.sleep(0.05)
            source.path.unlink()
            assert audio.private_engine_pid is not None
            os.kill(audio.private_engine_pid, signal.SIGKILL)
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(ended, EngineUnavailableError), ended

    run(main())


def test_anyio_scopes_and_groups(capture: AudioCapture) -> None:
    anyio = import_module("anyio")

    async def main() -> None:
        async with capture.stream() as audio:
            with anyio.move_on_after(0.05) as scope:
                await chunks(audio)
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                await segments(audio)
            async with anyio.create_task_group() as group:
                for wait in WAITS * 5:
                    group.start_soon(wait, audio)
                await anyio.sleep(0.02)
                group.cancel_scope.cancel()
            await anext(audio)
            async with anyio.create_task_group() as group:
                for wait in WAITS:
                    group.start_soon(wait, audio)
                await anyio.sleep(0.02)
                audio.close()
        stream = capture.stream()
        with anyio.move_on_after(0):
            await stream.__aenter__()
        assert stream.closed

    anyio.run(main)


def test_trio_is_told_the_way(capture: AudioCapture) -> None:
    trio = import_module("trio")

    async def main() -> int:
        stream = capture.stream()
        with pytest.raises(RuntimeError, match=r"asyncio.*trio\.to_thread\.run_sync"):
            await stream.__aenter__()
        with capture.stream() as audio:
            return len(await trio.to_thread.run_sync(next, audio, None))

    assert trio.run(main) == 160
