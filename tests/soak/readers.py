"""A Python program that reads, and hands over all that it gets: run by `clients`.

    python -m soak.readers sync|asyncio|segments|clean

Records on standard output; what they are says `RECORD`.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import time
from typing import Any

from v2m_engine import AudioCapture, EngineUnavailableError, OverrunError, V2MError

#: Kind, whether it is flagged, samples that follow, position (or samples lost), time.
RECORD = struct.Struct("=cBIqq")
#: `CLEANED` is a chunk that is not the microphone as it is.
CHUNK, CLEANED, OVERRUN, OPENED = b"c", b"e", b"o", b"n"

#: The rate of each, and samples of a chunk.
RATES = {"sync": 48_000, "asyncio": 16_000, "segments": 16_000, "clean": 48_000}
HOPS = {"sync": 480, "asyncio": 160, "segments": 512, "clean": 1536}
#: The machine may stand still for a while.
TIMEOUT_S = 300.0
#: Three quarters of the shortest history are more.
MAX_S = 2.5


def hand_over(kind: bytes, flagged: bool, position: int, time_ns: int, samples: bytes) -> None:
    out = sys.stdout.buffer
    out.write(RECORD.pack(kind, flagged, len(samples) // 4, position, time_ns) + samples)
    out.flush()


def took(chunk: Any, *, cleaned: bool = False) -> None:
    try:
        samples = bytes(chunk)
    except OverrunError:
        # Gone since: all of it is as good as never read.
        hand_over(OVERRUN, False, len(chunk), 0, b"")
        return
    kind = CLEANED if cleaned else CHUNK
    hand_over(kind, chunk.gap, chunk.position, chunk.time_ns, samples)


def capture(kind: str) -> AudioCapture:
    return AudioCapture(
        sample_rate=RATES[kind],
        buffer_size=HOPS[kind],
        source="clean" if kind == "clean" else None,
        engine="service",
    )


def read(kind: str) -> None:
    with capture(kind).stream(timeout=TIMEOUT_S) as stream:
        hand_over(OPENED, False, 0, 0, b"")
        items: Any = stream.segments(max_s=MAX_S) if kind == "segments" else stream
        played = False
        while True:
            try:
                chunk = next(items)
                plays = kind == "clean" and any(window.plays for window in chunk.echo)
                # It fades back within a frame that follows.
                took(chunk, cleaned=plays or played)
                played = plays
            except OverrunError as late:
                hand_over(OVERRUN, False, late.lost, 0, b"")


async def read_in_a_task(kind: str) -> None:
    async with capture(kind).stream(timeout=TIMEOUT_S) as stream:
        hand_over(OPENED, False, 0, 0, b"")
        while True:
            try:
                took(await anext(stream))
            except OverrunError as late:
                hand_over(OVERRUN, False, late.lost, 0, b"")


def main() -> None:
    kind = sys.argv[1]
    while True:
        try:
            if kind == "asyncio":
                asyncio.run(read_in_a_task(kind))
            else:
                read(kind)
        except EngineUnavailableError:
            # There is none just now.
            time.sleep(0.1)
        except V2MError as error:
            print(f"{kind}: {error}", file=sys.stderr, flush=True)
            time.sleep(0.1)
        except BrokenPipeError:
            os._exit(0)


if __name__ == "__main__":
    main()
