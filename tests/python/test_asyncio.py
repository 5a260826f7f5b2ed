"""The same on an event loop, waiting by io_uring and by a thread."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from rig import wait_until
from rig.playing import Recording, Service
from v2m_engine import AudioCapture, DeviceError, EngineUnavailableError, V2MError

Recorder = Callable[..., Recording]
Starter = Callable[..., Service]

pytestmark = pytest.mark.usefixtures("waiting")


def private(recording: Recording, **options: Any) -> AudioCapture:
    return AudioCapture(engine="private", source=recording.source, **options)


def helpers() -> list[str]:
    names = []
    for task in os.listdir("/proc/self/task"):
        # It may end meanwhile.
        with suppress(OSError), open(f"/proc/self/task/{task}/comm") as comm:
            names.append(comm.read().strip())
    return [name for name in names if name == "v2m-waiter"]


def test_every_sample_of_the_source(recording: Recorder, waiting: str) -> None:
    played = recording(1.5)

    async def main() -> None:
        async with private(played, buffer_size=1600).stream() as audio:
            assert len(np.asarray(audio)) == 1600
            chunks = []
            async for chunk in audio:
                chunks.append(chunk)
                if len(chunks) == 3:
                    assert len(helpers()) == (waiting == "thread")
        assert [chunk.position for chunk in chunks] == list(range(0, 24000, 1600))
        assert all(played.holds(chunk.position, chunk) for chunk in chunks)

    asyncio.run(main())
    wait_until(lambda: helpers() == [], "the end of the thread that waits")


def test_a_quantum_at_a_time(recording: Recorder) -> None:
    played = recording(1)

    async def main() -> None:
        async with private(played, buffer_size=1000).stream(hop="quantum") as audio:
            ends = [chunk.position + 1000 async for chunk in audio]
        assert ends[0] == 1000
        assert ends[-1] == 16000
        assert 0 < min(np.diff(ends)) <= max(np.diff(ends)) <= 1000

    asyncio.run(main())


def test_uvloop(recording: Recorder) -> None:
    uvloop = pytest.importorskip("uvloop")
    played = recording(1)

    async def main() -> list[int]:
        async with private(played, buffer_size=1600).stream() as audio:
            return [chunk.position async for chunk in audio]

    assert uvloop.run(main()) == list(range(0, 16000, 1600))


def test_the_loop_runs_on_meanwhile(recording: Recorder) -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with private(recording(1), buffer_size=8000).stream() as audio:
            async for _ in audio:
                pass
        ticking.cancel()
        return ticks

    assert asyncio.run(main()) > 20


def test_many_streams_on_one_loop(recording: Recorder) -> None:
    played = recording(1)
    capture = private(played, buffer_size=800)

    async def one(hop: int) -> list[int]:
        async with capture.stream(hop) as audio:
            return [chunk.position async for chunk in audio if played.holds(chunk.position, chunk)]

    async def main() -> None:
        results = await asyncio.gather(*(one(hop) for hop in (100, 200, 400, 800)))
        for hop, positions in zip((100, 200, 400, 800), results, strict=True):
            assert positions == list(range(positions[0], 16000 - 800 + 1, hop))

    asyncio.run(main())


def test_tasks_share_a_stream(recording: Recorder) -> None:
    async def main() -> None:
        async with private(recording(1), buffer_size=400).stream() as audio:

            async def some() -> list[int]:
                return [chunk.position async for chunk in audio]

            shares = await asyncio.gather(some(), some(), some())
        assert sorted(position for share in shares for position in share) == list(
            range(0, 16000, 400)
        )

    asyncio.run(main())


def test_cancelling_loses_nothing(recording: Recorder) -> None:
    async def main() -> None:
        positions = []
        cancelled = 0
        async with private(recording(1), buffer_size=800).stream() as audio:
            while True:
                try:
                    chunk = await asyncio.wait_for(anext(audio), 0.007)
                except TimeoutError:
                    cancelled += 1
                except StopAsyncIteration:
                    break
                else:
                    positions.append(chunk.position)
        assert positions == list(range(0, 16000, 800))
        assert cancelled > 10

    asyncio.run(main())


def test_cancelled_while_entering(recording: Recorder) -> None:
    async def main() -> None:
        stream = private(recording(5), buffer_size=64000).stream()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), stream:
                pass
        assert stream.closed

    asyncio.run(main())


def test_closing_from_another_task_and_thread(recording: Recorder) -> None:
    async def main() -> None:
        capture = private(recording(20), buffer_size=32000)
        for elsewhere in (False, True):
            async with capture.stream() as audio:
                await anext(audio)

                async def rest(audio: Any = audio) -> int:
                    return len([chunk async for chunk in audio])

                waits = asyncio.create_task(rest())
                await asyncio.sleep(0.05)
                if elsewhere:
                    thread = threading.Thread(target=audio.close)
                    thread.start()
                else:
                    audio.close()
                assert await asyncio.wait_for(waits, 5) <= 1
                with pytest.raises(V2MError, match="closed"):
                    aiter(audio)

    asyncio.run(main())


def test_another_loop_is_refused(recording: Recorder) -> None:
    with private(recording(3), buffer_size=8000).stream() as audio:

        async def take() -> int:
            return (await anext(audio)).position

        first = asyncio.new_event_loop()
        assert first.run_until_complete(take()) == 0
        first.run_until_complete(take())

        with pytest.raises(RuntimeError, match="different event loop"):
            asyncio.run(take())
        audio.close()
        first.run_until_complete(asyncio.sleep(0.01))
        first.close()


def test_errors_while_entering(recording: Recorder) -> None:
    async def enter(capture: AudioCapture) -> None:
        async with capture.stream():
            pass

    with pytest.raises(EngineUnavailableError):
        asyncio.run(enter(AudioCapture(engine="service")))
    with pytest.raises(DeviceError, match="1600 samples"):
        asyncio.run(enter(private(recording(0.1))))


def test_the_service_comes_back(recording: Recorder, service: Starter) -> None:
    played = recording(20)
    engine = service("--source", played.source)

    async def main() -> None:
        async with AudioCapture(buffer_size=800).stream() as audio:
            first = await anext(audio)
            engine.kill()
            restart = asyncio.get_running_loop().run_in_executor(None, engine.start)
            chunks = [chunk async for _, chunk in take(audio, 10)]
            await restart
            (gap,) = (i for i, chunk in enumerate(chunks) if chunk.gap)
            assert played.holds(first.position, first)
            for before, after in pairwise(chunks[gap:]):
                assert after.position == before.position + 800
            assert played.holds(chunks[-1].position, chunks[-1])

    async def take(audio: Any, after_gap: int) -> Any:
        left = after_gap
        async for chunk in audio:
            yield left, chunk
            if chunk.gap or left < after_gap:
                left -= 1
            if left == 0:
                return

    asyncio.run(main())


def test_a_service_that_is_gone_for_good(recording: Recorder, service: Starter) -> None:
    engine = service("--source", recording(20).source)

    async def main() -> None:
        async with AudioCapture(buffer_size=800).stream(timeout=0.5) as audio:
            await anext(audio)
            engine.kill()
            with pytest.raises(EngineUnavailableError, match="the engine is gone"):
                async for _ in audio:
                    pass

    asyncio.run(main())


def test_a_stopped_engine(recording: Recorder, service: Starter) -> None:
    """It hangs without hanging up: nobody waits for it longer than `timeout`."""
    engine = service("--source", recording(20).source)

    async def main() -> None:
        async with AudioCapture(buffer_size=800).stream(timeout=0.3) as audio:
            await anext(audio)
            os.kill(engine.pid, signal.SIGSTOP)
            with pytest.raises(DeviceError, match=r"no audio .* for 0\.3 s"):
                async for _ in audio:
                    pass
            os.kill(engine.pid, signal.SIGCONT)
            assert (await anext(audio)).position > 0

    asyncio.run(main())


def test_what_a_stream_awaits_is_a_coroutine_to_asyncio(recording: Recorder) -> None:
    async def main() -> None:
        async with private(recording(3), buffer_size=800).stream() as audio:
            first, second = await asyncio.gather(anext(audio), asyncio.create_task(anext(audio)))
            assert abs(second.position - first.position) == 800
            waits = asyncio.create_task(audio.__anext__())
            await asyncio.sleep(0)
            waits.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await waits
            step = audio.__anext__()
            assert asyncio.iscoroutine(step)
            with pytest.raises(KeyError, match="thrown"):
                step.throw(KeyError("thrown"))
            with pytest.raises(RuntimeError, match="already awaited"):
                step.send(None)
            audio.__anext__().close()
            # Nothing of that took a chunk.
            newest = max(first.position, second.position)
            assert (await anext(audio)).position == newest + 800

    asyncio.run(main())


def test_waits_that_are_given_up_are_collected(recording: Recorder) -> None:
    played = recording(3)

    async def main() -> weakref.ref[Any]:
        stream = await private(played, buffer_size=800).stream().__aenter__()
        await anext(stream)  # the one that entering waited for
        loop = asyncio.get_running_loop()
        given_up = loop.create_task(anext(stream))
        await asyncio.sleep(0)
        assert not given_up.done()
        return weakref.ref(loop)

    loop = asyncio.run(main())
    gc.collect()
    gc.collect()  # what went with the stream
    assert loop() is None


def test_no_wake_up_is_lost_among_many(recording: Recorder) -> None:
    played = recording(4)
    capture = private(played, buffer_size=400)

    async def listen() -> list[int]:
        positions: list[int] = []
        async with capture.stream(hop="quantum") as audio:
            while True:
                try:
                    chunk = await asyncio.wait_for(anext(audio), 5)
                except StopAsyncIteration:
                    return positions
                positions.append(chunk.position)

    async def main() -> list[list[int]]:
        return await asyncio.gather(*(listen() for _ in range(24)))

    for positions in asyncio.run(main()):
        assert positions[-1] == 4 * 16000 - 400
        assert all(0 < b - a <= 400 for a, b in pairwise(positions))
