"""Ends the interpreter while daemon threads are inside of the module, or tasks wait for it on
loops that nobody ended: of the main thread, and of daemon threads.

`python ends_inside.py SOURCE detecting|chunks|segments|events|reading|waiting|tasks OUT.wav`
"""

import array
import asyncio
import sys
import threading
import time
from collections.abc import Callable

from v2m_engine import AudioCapture, VADProcessor


class Late:
    """Is collected when the interpreter ends, and lets others have the GIL meanwhile."""

    def __del__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        sleep(0.2)


late, vad, noise = Late(), VADProcessor(), array.array("f", bytes(64_000))
source, what, out = sys.argv[1:]
capture = AudioCapture(engine="private", source=source, buffer_size=160)
if what == "waiting":
    recording = capture.record(out).__enter__()
elif what not in ("detecting", "tasks"):
    stream = capture.stream().__enter__()


async def listen() -> None:
    async with capture.stream() as audio:
        async for _ in audio:
            pass


def work() -> None:
    if what == "tasks":
        asyncio.run(listen())
    while True:
        if what == "detecting":
            vad.probabilities(noise)
        elif what == "chunks":
            next(stream)
        elif what == "segments":
            next(stream.segments())
        elif what == "events":
            list(stream.events())
        elif what == "reading":
            stream.read(333)
        else:
            recording.wait(0.01)


for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
if what == "tasks":
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(listen()) for _ in range(2)]
    loop.run_until_complete(asyncio.sleep(0.2))
time.sleep(0.2)
print("the end", flush=True)
