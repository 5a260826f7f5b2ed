"""Shows live audio: position, a level bar, and how old the newest sample is.

Usage: python live.py [SOURCE]; Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time

from v2m_engine import AudioCapture, AudioChunk, OverrunError, V2MError

NS_PER_SAMPLE = 62_500
REFRESH = 0.05  # seconds
FLOOR = -60.0  # dB below full scale: the bar's left end
WIDTH = 40


def level(chunk: AudioChunk) -> float:
    """RMS in dB of full scale."""
    power = math.fsum(sample * sample for sample in memoryview(chunk)) / len(chunk)
    return max(FLOOR, 10 * math.log10(power)) if power > 0 else FLOOR


async def show(source: str | None) -> None:
    # Small windows: the level of the last 32 ms.
    capture = AudioCapture(buffer_size=512, source=source)
    async with capture.stream(hop="quantum") as audio:
        whose = "a private engine" if audio.private_engine_pid else "the service"
        print(f"{audio.source}, by {whose}; Ctrl-C ends", file=sys.stderr)
        next_line = 0.0
        ages: list[float] = []
        while True:
            try:
                chunk = await anext(audio)
            except OverrunError as overrun:
                print(f"\n{overrun.lost} samples lost")
                continue
            except StopAsyncIteration:
                return
            # Of the newest sample, as of now.
            newest = chunk.time_ns + len(chunk) * NS_PER_SAMPLE
            ages.append((time.monotonic_ns() - newest) / 1e6)
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + REFRESH
                loud = level(chunk)
                bar = "#" * round((loud - FLOOR) / -FLOOR * WIDTH)
                gap = "gap" if chunk.gap else "   "
                line = (
                    f"{(chunk.position + len(chunk)) / audio.sample_rate:8.2f} s "
                    f"|{bar:<{WIDTH}}| {loud:5.1f} dB "
                    f"{sum(ages) / len(ages):6.2f} ms old {gap}"
                )
                ages.clear()
                print(f"\r{line}" if sys.stdout.isatty() else line, end="", flush=True)
                if not sys.stdout.isatty():
                    print(flush=True)


def main() -> int:
    try:
        asyncio.run(show(sys.argv[1] if len(sys.argv) > 1 else None))
    except KeyboardInterrupt:
        pass
    except (V2MError, ValueError) as error:
        print(f"live.py: {error}", file=sys.stderr)
        return 1
    finally:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
