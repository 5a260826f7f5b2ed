"""Shows live audio: a level bar, how likely it is speech, and how old the newest sample is;
and each utterance once it is over.

Usage: python live.py [SOURCE]; Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time

from v2m_engine import AudioCapture, AudioChunk, AudioStream, OverrunError, V2MError

NS_PER_SAMPLE = 62_500
REFRESH = 0.05  # seconds
FLOOR = -60.0  # dB below full scale: the bar's left end
WIDTH = 30


def level(chunk: AudioChunk) -> float:
    """RMS in dB of full scale."""
    power = math.fsum(sample * sample for sample in memoryview(chunk)) / len(chunk)
    return max(FLOOR, 10 * math.log10(power)) if power > 0 else FLOOR


def bar(loud: float) -> str:
    return f"|{'#' * round((loud - FLOOR) / -FLOOR * WIDTH):<{WIDTH}}| {loud:5.1f} dB"


def line(text: str) -> None:
    """A line that stays, above the one that is drawn again and again."""
    print(f"\r\033[K{text}" if sys.stdout.isatty() else text, flush=True)


async def levels(audio: AudioStream) -> None:
    next_line = 0.0
    ages: list[float] = []
    likely = 0.0
    while True:
        try:
            chunk = await anext(audio)
        except OverrunError as overrun:
            line(f"{overrun.lost} samples lost")
            continue
        except StopAsyncIteration:
            return
        # Of the newest sample, as of now.
        newest = chunk.time_ns + len(chunk) * NS_PER_SAMPLE
        ages.append((time.monotonic_ns() - newest) / 1e6)
        likely = max(chunk.speech, default=likely)
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + REFRESH
            text = (
                f"{(chunk.position + len(chunk)) / audio.sample_rate:8.2f} s {bar(level(chunk))} "
                f"{likely:4.0%} speech  {sum(ages) / len(ages):5.2f} ms old "
                f"{'gap' if chunk.gap else '   '}"
            )
            ages.clear()
            if sys.stdout.isatty():
                print(f"\r{text}", end="", flush=True)
            else:
                print(text, flush=True)


async def utterances(audio: AudioStream) -> None:
    segments = audio.segments()
    while True:
        try:
            segment = await anext(segments)
        except OverrunError as overrun:
            line(f"{overrun.lost} samples of speech lost")
            continue
        except StopAsyncIteration:
            return
        except V2MError as error:
            line(f"no utterances: {error}")
            return
        line(
            f"{segment.position / 16000:8.2f} s {bar(level(segment))}  "
            f"SPEECH of {segment.duration:.2f} s, until {segment.end / 16000:.2f} s"
        )


async def show(source: str | None) -> None:
    # Small windows: the level of the last 32 ms.
    capture = AudioCapture(buffer_size=512, source=source)
    async with capture.stream(hop="quantum") as audio:
        whose = "a private engine" if audio.private_engine_pid else "the service"
        print(f"{audio.source}, by {whose}; Ctrl-C ends", file=sys.stderr)
        await asyncio.gather(levels(audio), utterances(audio))


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
