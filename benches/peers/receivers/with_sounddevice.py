"""python-sounddevice: callback and queue, asyncio, or blocking reads, as its
documentation's examples do it. Usage: with_sounddevice.py callback|asyncio|blocking
default|best"""

from __future__ import annotations

import asyncio
import queue
import sys

import sounddevice
from common import GRAPH_RATE, QUANTUM, SPEECH_RATE, Recorder, now


def settings(form: str) -> dict:
    """Default: what is left out is the library's choice. Best: the graph's own terms."""
    if form == "best":
        return {
            "samplerate": GRAPH_RATE,
            "blocksize": QUANTUM,
            "latency": "low",
            "channels": 1,
            "dtype": "float32",
        }
    return {"samplerate": SPEECH_RATE, "channels": 1, "dtype": "float32"}


def callback(recorder: Recorder, form: str) -> None:
    """examples/rec_unlimited.py: the callback puts copies into a queue."""
    blocks: queue.Queue = queue.Queue()

    def arrived(indata, frames, time, status) -> None:
        if status:
            print(status, file=sys.stderr, flush=True)
        blocks.put(indata.copy())

    with sounddevice.InputStream(callback=arrived, **settings(form)):
        while not recorder.over:
            try:
                block = blocks.get(timeout=1)
            except queue.Empty:
                continue
            recorder.take(now(), block.tobytes())


async def in_asyncio(recorder: Recorder, form: str) -> None:
    """examples/asyncio_generators.py: the callback wakes the loop."""
    blocks: asyncio.Queue = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def arrived(indata, frames, time, status) -> None:
        loop.call_soon_threadsafe(blocks.put_nowait, indata.copy())

    with sounddevice.InputStream(callback=arrived, **settings(form)):
        while not recorder.over:
            block = await blocks.get()
            recorder.take(now(), block.tobytes())


def blocking(recorder: Recorder, form: str) -> None:
    """Stream.read(), a block at a time."""
    frames = QUANTUM if form == "best" else 1024
    with sounddevice.InputStream(**settings(form)) as stream:
        while not recorder.over:
            block, _overflowed = stream.read(frames)
            recorder.take(now(), block.tobytes())


def main() -> None:
    way, form = sys.argv[1:]
    recorder = Recorder(settings(form)["samplerate"])
    if way == "callback":
        callback(recorder, form)
    elif way == "asyncio":
        asyncio.run(in_asyncio(recorder, form))
    else:
        blocking(recorder, form)
    recorder.write()


main()
