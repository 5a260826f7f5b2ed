"""The receivers in Python of `v2m-engine bench latency`, which brings them along:

`python3 receive.py sync|asyncio|floor|uvloop [--rate HZ] [--switch-interval SECONDS]`
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from importlib import import_module

from recorder import Recorder, now
from v2m_engine import AudioCapture, AudioChunk, AudioStream

BUFFER = 4096


def taker(recorder: Recorder, stream: AudioStream) -> Callable[[int, AudioChunk], None]:
    """Keeps of each chunk, in hand since the time given, what was not in the one before."""
    end = -1

    def take(held_ns: int, chunk: AudioChunk) -> None:
        nonlocal end
        written_ns = stream.written_ns
        if end >= 0:
            new = chunk.position + len(chunk) - end
            recorder.take(held_ns, memoryview(chunk)[-new:].tobytes(), written_ns)
        end = chunk.position + len(chunk)

    return take


def synchronous(capture: AudioCapture, switch_interval: float | None) -> None:
    """A `for` loop."""
    recorder = Recorder(capture.sample_rate)
    with capture.stream(hop="quantum", switch_interval=switch_interval) as stream:
        take = taker(recorder, stream)
        for chunk in stream:
            take(now(), chunk)
            if recorder.over:
                break
    recorder.write()


async def asynchronous(capture: AudioCapture, switch_interval: float | None) -> None:
    """An `async for` loop."""
    recorder = Recorder(capture.sample_rate)
    async with capture.stream(hop="quantum", switch_interval=switch_interval) as stream:
        take = taker(recorder, stream)
        async for chunk in stream:
            take(now(), chunk)
            if recorder.over:
                break
    recorder.write()


async def floor(capture: AudioCapture) -> None:
    """As little as a task on asyncio's loop can do to wait for the same wake-ups: one
    descriptor, one future at a time."""
    recorder = Recorder(capture.sample_rate)
    async with capture.stream(hop="quantum") as stream:
        take = taker(recorder, stream)
        loop = asyncio.get_running_loop()
        readiness = stream._readiness()
        waiting: asyncio.Future[None] = loop.create_future()

        def ready() -> None:
            if not waiting.done():
                waiting.set_result(None)

        loop.add_reader(readiness.fileno(), ready)
        while not recorder.over:
            chunk = stream._poll()
            if chunk is not None:
                take(now(), chunk)
                continue
            # What comes from here on makes the descriptor readable.
            readiness.drain()
            readiness.arm()
            if stream._pending():
                waiting = loop.create_future()
                await waiting
        loop.remove_reader(readiness.fileno())
    recorder.write()


def main() -> None:
    """Receives as the arguments say, until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("sync", "asyncio", "floor", "uvloop"))
    parser.add_argument("--switch-interval", type=float, default=None)
    parser.add_argument("--rate", type=int, default=16000)
    arguments = parser.parse_args()
    capture = AudioCapture(arguments.rate, BUFFER, engine="service")
    if arguments.way == "sync":
        synchronous(capture, arguments.switch_interval)
        return
    # `uvloop.run` would be the same from Python 3.12 on.
    factory = import_module("uvloop").new_event_loop if arguments.way == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        if arguments.way == "floor":
            runner.run(floor(capture))
        else:
            runner.run(asynchronous(capture, arguments.switch_interval))


if __name__ == "__main__":
    main()
